"""A Plan is recipe x target x samples, joined and checked; it names every gap at once, before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import msgspec

from edgekit import plugins, strict
from edgekit.device.inventory import Inventory
from edgekit.device.reach import check_device_exists
from edgekit.engine import asked
from edgekit.engine.contract import Backend, Conversion, Refusal
from edgekit.errors import EdgekitError, PlanError, UnsupportedError, UsageError, first_of
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.sniff import kind_of
from edgekit.model import Model, Preprocess, Step
from edgekit.passes.contract import Need, Pass
from edgekit.passes.order import in_vain, out_of_order
from edgekit.passes.synonyms import SYNONYMS
from edgekit.recipe import Budget, Recipe, read_recipe
from edgekit.samples import Description, Samples, preprocess_faults, read_samples
from edgekit.target import Chosen, Runtime, Target, choose, read_target, unsourced

DEFAULT_RECIPE = "static_wi8_ai8"
PREPARATION = ("simplify", "fuse")
PROJECT_FILE = "edgekit.toml"

Settings = dict[str, dict[str, Any]]
P = ParamSpec("P")
R = TypeVar("R")


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``edgekit.toml``: what a build would otherwise be told on the command line, which wins over it.

    Attributes:
        schema: version of this file format.
        model: the source.
        target: one target or several.
        recipe: built-in name or file.
        samples: folder or samples file.
        device: URL or name of the device to measure on.
        out: folder of the results.
        bench: whether latency is measured.
        factory: ``module.py:function`` that makes the module for a PyTorch state dict.
        set: options by step, as ``--set`` gives them.
    """

    schema: Literal[1] = 1
    model: str = ""
    target: str | tuple[str, ...] = ()
    recipe: str = ""
    samples: str = ""
    device: str = ""
    out: str = ""
    bench: bool = True
    factory: str = ""
    set: Settings = {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user wants built, in their words.

    Attributes:
        source: path of the model; of a live one, the name of its class.
        live: a ``keras.Model`` or ``torch.nn.Module`` instead of a file.
        targets: names, aliases, files, each perhaps with ``:RUNTIME``.
        recipe: built-in name or file.
        samples: folder or samples file.
        device: URL or name of the device to measure on; empty for this machine.
        settings: options by step (``quantize``, …), by runtime (``tflite``, …) or by ``ingest``, ``preprocess``, ``io``,
            ``load``, ``budget``.
        trust: open files that may run code without a sandbox.
        factory: ``module.py:function`` for a PyTorch state dict.
        skip_bad_samples: leave unreadable samples out.
        require_full_delegation: refuse engines of which the runtime's delegate leaves operators to its own kernels.
        teachers: models that the source learns from before anything else.
    """

    source: Path
    targets: tuple[str, ...]
    live: Any = None
    recipe: str = DEFAULT_RECIPE
    samples: Path | None = None
    device: str = ""
    settings: Settings = dataclasses.field(default_factory=dict)
    trust: bool = False
    factory: str = ""
    skip_bad_samples: bool = False
    require_full_delegation: bool = False
    teachers: tuple[Path, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedStep:
    """A pass with its options filled in."""

    name: str
    pass_: Pass
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a build will do.

    Attributes:
        request: what it was made from.
        chosen: targets and their runtimes, in the order asked for.
        recipe: as read.
        preparation: steps every build begins with.
        distill: how the model learns from other models before the recipe's steps; None if there are no teachers.
        steps: the recipe's steps.
        samples: None if the user gave none.
        ingest: how the source is read.
        preprocess: what the user said of preprocessing.
        budget: the recipe's, changed by the user.
        load: options of the measuring run.
        names: what aliases became, in words.
        remarks: what a target's facts say of this recipe, in words.
    """

    request: Request
    chosen: tuple[Chosen, ...]
    recipe: Recipe
    preparation: tuple[PlannedStep, ...]
    steps: tuple[PlannedStep, ...]
    samples: Samples | None
    ingest: IngestOptions
    preprocess: Preprocess | None
    budget: Budget
    load: dict[str, Any]
    names: tuple[str, ...]
    remarks: tuple[str, ...]
    distill: PlannedStep | None = None


def parse_settings(texts: Iterable[str]) -> Settings:
    """``step.field=value`` lines as options by step; a value is TOML, or a bare word.

    Raises:
        UsageError: a line has another form.
    """
    settings: Settings = {}
    for text in texts:
        path, equals, value = text.partition("=")
        step, dot, field = path.strip().partition(".")
        if not (equals and dot and step and field):
            raise UsageError(f"--set {text}: not of the form step.field=value", hint="for example --set quantize.observer=minmax")
        settings.setdefault(step, {})[field] = _value(value.strip())
    return settings


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def check(request: Request, *, targets_needed: bool = True) -> Plan:
    """Join and check all that can be checked without opening the model; imports no framework.

    Args:
        request: what the user wants.
        targets_needed: False where the model is only looked at.

    Raises:
        PlanError: every fault at once.
    """
    faults = _Faults()
    if request.live is None and not request.source.exists():
        faults.add(f"{request.source}: no such file")
    chosen = tuple(one for asked in request.targets if (one := faults.catch(choose, asked)))
    if targets_needed and not request.targets:
        faults.add("no target: --target NAME; `edgekit targets list` names them")
    if request.device:
        faults.catch(check_device_exists, request.device)
    recipe = faults.catch(read_recipe, request.recipe) or Recipe(schema=1, name=request.recipe)
    settings = {step: dict(fields) for step, fields in request.settings.items()}
    preparation = tuple(_planned(faults, index=0, name=name, options=settings.pop(name, {})) for name in PREPARATION)
    _metrics_installed(faults, recipe)
    distill = _distill(faults, request, settings)
    steps = _recipe_steps(faults, recipe, settings)
    chosen = tuple({one.key: one for one in reversed(chosen)}.values())[::-1]  # one kind asked for by two names is built once
    chosen = tuple(faults.catch(asked.with_ports, one, settings.get("io", {})) or one for one in chosen)
    for runtime in {one.runtime for one in chosen}:
        over = settings.pop(runtime, {})
        chosen = tuple((faults.catch(asked.with_options, one, over) if one.runtime == runtime else None) or one for one in chosen)
    if request.require_full_delegation:
        chosen = faults.catch(asked.fully_delegated, chosen) or chosen
    ingest = faults.catch(_ingest_options, request, settings.pop("ingest", {})) or IngestOptions()
    preprocess = faults.catch(_preprocess, settings.pop("preprocess", None))
    budget = faults.catch(_budget, recipe.budget, settings.pop("budget", {})) or recipe.budget
    load = settings.pop("load", {})
    dtype = settings.pop("io", {}).get("dtype", "float32")
    known = [*PREPARATION, *(step.name for step in steps if step), "ingest", "preprocess", "budget", "load", "io"]
    for step in settings:
        faults.add(f"--set {step}.…: no such step in this recipe{strict.nearest(step, known)}")
    samples = faults.catch(_samples, request) if request.samples else None
    if samples is not None and preprocess is not None:
        samples = msgspec.structs.replace(samples, preprocess=preprocess)
    good = tuple(step for step in steps if step)
    _needs_met(faults, good, chosen, has_samples=request.samples is not None or _may_be_quantized(request))
    _integers_made(faults, good, chosen, recipe.name, is_quantized=_may_be_quantized(request))
    for one in filter(takes_source, chosen):
        faults.catch(_check_conversion, request, one, good)
    if dtype != "float32" and not any(map(makes_integers, good)):
        faults.add(f"--set io.dtype={dtype}: recipe {recipe.name} makes no integers; static_wi8_ai8 does")
    faults.raise_any(request)
    return Plan(
        request=request,
        chosen=chosen,
        recipe=recipe,
        preparation=tuple(step for step in preparation if step),
        steps=good,
        samples=samples,
        ingest=ingest,
        preprocess=preprocess,
        budget=budget,
        load=load,
        names=_names(chosen),
        remarks=(*_remarks(chosen, recipe.name), *_paid(chosen, good), *_stretched(samples, preprocess)),
        distill=distill,
    )


def check_refusals(plan: Plan, model: Model) -> None:
    """Ask every target's backend about every node of the prepared model.

    Raises:
        UnsupportedError: all refusals of all targets, at once.
    """
    lines: list[str] = []
    for one in plan.chosen:
        lines += [f"{one.key}: {refusal.line()}" for refusal in refusals_of(_before_quantizing(one), model, plan.steps)]
    if any(Need.SAMPLES in step.pass_.needs for step in plan.steps):
        lines += [f"{name}: {_SIZED_BY_NUMBERS}" for name in _sized_by_numbers(model)]
    if lines:
        raise UnsupportedError(
            f"{len(lines)} nodes of {plan.request.source.name} cannot be built for what was asked",
            hint="choose another runtime (--target NAME:RUNTIME), or change the model as each line says",
            refusals=first_of(lines),
        )


_SIZED_BY_NUMBERS = (
    "how large this output is depends on the numbers, so that no quantization can be judged by it; "
    "end the model before what selects, or use a recipe that needs no samples, such as dynamic_wi8_afp32"
)


def _sized_by_numbers(model: Model) -> list[str]:
    from edgekit.graph.onnx_file import load
    from edgekit.graph.shapes import outputs_sized_by_numbers

    if all(isinstance(size, int) for tensor in model.signature.outputs for size in tensor.shape):
        return []
    return outputs_sized_by_numbers(load(model.path).graph)


def _before_quantizing(one: Chosen) -> Chosen:
    """The target with the ports of a float graph: which nodes can be carried does not depend on them."""
    runtimes = tuple(
        msgspec.structs.replace(runtime, options={key: value for key, value in runtime.options.items() if key != "io_dtype"})
        for runtime in one.target.runtimes
    )
    return msgspec.structs.replace(one, target=msgspec.structs.replace(one.target, runtimes=runtimes))


def refusals_of(one: Chosen, model: Model, steps: tuple[PlannedStep, ...] = ()) -> tuple[Refusal, ...]:
    """What the backend of a target says of a model; one that has the source converted is told the recipe's steps."""
    kind = plugins.load("edgekit.backends", one.runtime)
    backend: Backend = kind(conversion=Conversion(steps=asked_steps(steps))) if takes_source(one) else kind()
    return backend.refusals(model, one.target)


_LISTED = "`edgekit schema recipe` lists the options of every step, `edgekit recipes show NAME` a recipe, `edgekit plan --help` the rest"


class _Faults:
    """Collects faults, so that all are said at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.kinds: list[EdgekitError] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def catch(self, make: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """What ``make`` returns; None if it has a fault, which is written down."""
        try:
            return make(*args, **kwargs)
        except EdgekitError as error:
            self.lines.append(error.message)
            self.kinds.append(error)
            return None

    def raise_any(self, request: Request) -> None:
        if not self.lines:
            return
        if len(self.lines) == 1 and self.kinds:
            raise self.kinds[0]
        if len(self.lines) == 1 and request.live is None and not request.source.exists():
            raise UsageError(self.lines[0], hint="check the path of the model")
        hints = [error.hint for error in self.kinds[:1]]
        raise PlanError(self.lines, hint=hints[0] if hints else _LISTED)


def _samples(request: Request) -> Samples | None:
    return read_samples(request.samples, skip_bad=request.skip_bad_samples) if request.samples else None


def _budget(budget: Budget, over: Mapping[str, Any]) -> Budget:
    given = {key: value for key, value in msgspec.structs.asdict(budget).items() if value is not None}
    return strict.convert({**given, **over}, Budget, where="budget")


def _planned(faults: _Faults, *, index: int, name: str, options: dict[str, Any]) -> PlannedStep | None:
    where = f"step {index} ({name})" if index else name
    try:
        kind = plugins.load("edgekit.passes", name)
        pass_ = strict.convert(options, kind, where=where, synonyms=SYNONYMS)
    except UsageError as error:
        message = error.message if where in error.message else f"{where}: {error.message.partition(': ')[2]}"
        _, takes, values = error.hint.partition("it takes ")
        faults.add(f"{message}; {takes}{values}" if takes else message)
        return None
    # Packages that a step needs besides the core are asked for before anything is ingested; not every pass needs any.
    missing = getattr(pass_, "missing", None)
    if missing is not None and (lack := missing()):
        faults.add(f"{where}: {lack}")
    return PlannedStep(name=name, pass_=pass_, options=options)


def _metrics_installed(faults: _Faults, recipe: Recipe) -> None:
    known = plugins.names("edgekit.metrics")
    for name in recipe.metrics:
        if name not in known:
            faults.add(f"metric {name}: not installed{strict.nearest(name, known)}")


def _distill(faults: _Faults, request: Request, settings: Settings) -> PlannedStep | None:
    """The step in which the model learns from teachers, if there are any."""
    if not request.teachers:
        return None
    for teacher in request.teachers:
        if not teacher.exists():
            faults.add(f"{teacher}: no such file")
    if request.samples is None:
        faults.add("distill: needs samples: --samples DIR")
    return _planned(faults, index=0, name="distill", options=settings.pop("distill", {}))


def _recipe_steps(faults: _Faults, recipe: Recipe, settings: Settings) -> list[PlannedStep | None]:
    steps: list[PlannedStep | None] = []
    told: list[tuple[str, dict[str, Any]]] = []
    for index, table in enumerate(recipe.step, start=1):
        options = dict(table)
        name = options.pop("pass", None)
        if not isinstance(name, str):
            faults.add(f"step {index}: has no `pass`")
            told.append(("", {}))
            continue
        options.update(settings.pop(name, {}))
        told.append((name, options))
        steps.append(_planned(faults, index=index, name=name, options=options))
    for line in (*out_of_order([name for name, _ in told]), *in_vain(told)):
        faults.add(line)
    return steps


def _ingest_options(request: Request, given: Mapping[str, Any]) -> IngestOptions:
    data: dict[str, Any] = {"trust": request.trust, "factory": request.factory, **given}
    return strict.convert(data, IngestOptions, where="ingest")


def _preprocess(given: Mapping[str, Any] | None) -> Preprocess | None:
    if given is None:
        return None
    lists = {key: [value] if key in ("mean", "std") and not isinstance(value, list) else value for key, value in given.items()}
    how = strict.convert(lists, Preprocess, where="preprocess")
    faults = preprocess_faults(how)
    if faults:
        raise UsageError("preprocess: " + "; ".join(faults), hint="correct --set preprocess.…; lists are written [a, b, c]")
    return how


def _may_be_quantized(request: Request) -> bool:
    """Whether the source may need no calibration; the step that would calibrate looks closer, and asks for samples itself."""
    from edgekit.graph.quantized import speaks_of_integers

    try:
        return request.live is None and request.source.suffix == ".onnx" and speaks_of_integers(request.source)
    except OSError:
        return False  # ingest says why it cannot be read


def _needs_met(faults: _Faults, steps: tuple[PlannedStep, ...], chosen: tuple[Chosen, ...], *, has_samples: bool) -> None:
    hungry = [f"{index} ({step.name})" for index, step in enumerate(steps, start=1) if Need.SAMPLES in step.pass_.needs]
    if hungry and not has_samples:
        said = f"step {hungry[0]}: needs" if len(hungry) == 1 else f"steps {' and '.join(hungry)}: need"
        schemes = [one.target.runtime(one.runtime).scheme for one in chosen]
        only_integers = any(scheme is not None and scheme.integers_alone for scheme in schemes)
        faults.add(f"{said} samples: --samples DIR" if only_integers else f"{said} samples: --samples DIR, or --recipe fp16")
    for index, step in enumerate(steps, start=1):
        if Need.TEACHERS in step.pass_.needs:
            faults.add(f"step {index} ({step.name}): comes before every recipe: edgekit distill --teacher FILE --student FILE --recipe …")
        for one in chosen:
            scheme = one.target.runtime(one.runtime).scheme
            if takes_source(one):
                continue
            if Need.SCHEME in step.pass_.needs and scheme is None:
                faults.add(f"step {index} ({step.name}): {one.target.name} has no scheme for {one.runtime}")
            if Need.COST in step.pass_.needs and one.builds_on == "device":
                faults.add(f"step {index} ({step.name}): {one.key}: engines are built on the device, so that no latency is measured: of = macs")
            # A pass may say what of its options a scheme has no form for; not every pass has something to ask.
            lacking = getattr(step.pass_, "lacking", None)
            if lacking is not None and scheme is not None and (lack := lacking(scheme)):
                faults.add(f"step {index} ({step.name}): {one.key}: {lack}")


def _integers_made(faults: _Faults, steps: tuple[PlannedStep, ...], chosen: tuple[Chosen, ...], recipe: str, *, is_quantized: bool) -> None:
    """A processor that computes in integers alone has nothing to do for a recipe that makes none."""
    if is_quantized or any(map(makes_integers, steps)):
        return
    for one in chosen:
        scheme = one.target.runtime(one.runtime).scheme
        if scheme is not None and scheme.integers_alone:
            faults.add(f"{one.key} computes in integers alone, and recipe {recipe} makes none between ports: --recipe static_wi8_ai8")


def makes_integers(step: PlannedStep) -> bool:
    """Whether a step stores activations as integers: it goes by a scheme, and by samples for their ranges."""
    return {Need.SCHEME, Need.SAMPLES} <= step.pass_.needs


def _check_conversion(request: Request, one: Chosen, steps: tuple[PlannedStep, ...]) -> None:
    """Whether a backend that has the source itself converted takes this source, and can follow the recipe."""
    backend = plugins.load("edgekit.backends", one.runtime)
    hint = f"--target {one.asked.partition(':')[0]}"
    if request.live is not None:
        raise UsageError(f"{one.key} converts a Keras file, and this is a live model", hint="model.save('net.keras'), and build from that")
    kind = kind_of(request.source).value if request.source.exists() else ""
    if kind and kind not in backend.takes:
        raise UsageError(f"{one.key} converts Keras sources themselves; {request.source} is {kind}", hint=hint)
    if lack := backend().lacking(asked_steps(steps)):
        raise UsageError(f"{one.key}: {lack}", hint=hint)


def asked_steps(steps: tuple[PlannedStep, ...]) -> tuple[Step, ...]:
    """The recipe's steps as plain values, each with all of its options."""
    told = []
    for step in steps:
        held: Any = step.pass_
        told.append(Step(name=step.name, options={field.name: getattr(held, field.name) for field in dataclasses.fields(held)}))
    return tuple(told)


def _names(chosen: tuple[Chosen, ...]) -> tuple[str, ...]:
    renamed = [one for one in chosen if one.asked.partition(":")[0] != one.target.name]
    return tuple(f"{one.asked} is {one.target.name} ({one.runtime})" for one in renamed)


def _remarks(chosen: tuple[Chosen, ...], recipe: str) -> tuple[str, ...]:
    lines = []
    for one in chosen:
        remarks = one.target.runtime(one.runtime).remarks
        lines += [f"{one.key}: {remarks[key]}" for key in ("*", recipe) if key in remarks]
    return tuple(lines)


_TECHNIQUES = {
    "structured": "fewer channels",
    "unstructured": "zeros anywhere",
    "sparse_2_4": "two zeros in every four",
    "codebook": "shared values",
    "low_rank": "products of smaller layers",
    "binary": "weights of one magnitude a channel",
    "binary_activations": "activations that are signs",
}
_COMES_OF = {
    "speed": "make engines of this runtime faster",
    "size": "make engines of this runtime no faster, only smaller once they are compressed (zip)",
    "neither": "make engines of this runtime neither faster nor smaller",
    None: "may or may not make engines of this runtime faster or smaller: nobody has measured it",
}


def _paid(chosen: tuple[Chosen, ...], steps: tuple[PlannedStep, ...]) -> tuple[str, ...]:
    """What each target's runtime turns compression into, before anybody waits for it."""
    lines = []
    for index, step in enumerate(steps, start=1):
        for one, technique in itertools.product(chosen, getattr(step.pass_, "pays_as", ())):
            named = _TECHNIQUES.get(technique, technique.replace("_", " "))
            lines.append(f"{one.key}: step {index} ({step.name}): {named} {_COMES_OF[getattr(runtime_of(one).pays, technique)]}")
    return tuple(lines)


def _stretched(samples: Samples | None, preprocess: Preprocess | None) -> tuple[str, ...]:
    how = preprocess or (samples.preprocess if samples else None)
    if samples is None or samples.kind != "images" or how is None or how.resize_short or how.resize or how.crop:
        return ()
    return ("Pictures are stretched to the input's height and width; preprocess.resize_short and preprocess.crop keep their proportions.",)


def target_faults(file: Path) -> tuple[str, ...]:
    """What is wrong with a target file: its keys and values, runtimes nobody compiles for, facts without a source."""
    try:
        target = read_target(file)
    except UsageError as error:
        return (error.message.removeprefix(f"{file}: "),)
    known = plugins.names("edgekit.backends")
    faults = [f"runtime {one.name}: no backend compiles for it{strict.nearest(one.name, known)}" for one in target.runtimes if one.name not in known]
    if target.name != file.stem:
        faults.append(f"name is {target.name}, the file is {file.name}")
    return (*faults, *unsourced(target))


BELOW = ("boxes", "manifest", "report")
"""Files of the rooms that stand above this one; `edgekit schema` has their schemas from there."""


def schema_of(what: str) -> dict[str, Any]:
    """JSON Schema of a file people write: ``recipe``, ``target``, ``samples``, ``project`` or ``devices``.

    Raises:
        UsageError: there is no such file.
    """
    kinds: dict[str, Any] = {"recipe": Recipe, "target": Target, "samples": Description, "project": Project, "devices": Inventory}
    if what not in kinds:
        raise UsageError(f"{what}: no such schema{strict.nearest(what, [*kinds, *BELOW])}", hint=f"one of {', '.join([*kinds, *BELOW])}")
    schema = msgspec.json.schema(kinds[what])
    if what == "recipe":
        steps = []
        for name in plugins.names("edgekit.passes"):
            _, defs = msgspec.json.schema_components([plugins.load("edgekit.passes", name)], ref_template="#/$defs/{name}")
            fields = next(iter(defs.values()))
            fields["properties"] = {"pass": {"const": name}, **fields.get("properties", {})}
            fields["required"] = ["pass", *fields.get("required", [])]
            fields["additionalProperties"] = False
            steps.append(fields)
        schema["$defs"]["Recipe"]["properties"]["step"]["items"] = {"oneOf": steps}
    return schema


def takes_source(one: Chosen) -> bool:
    """Whether the backend has the source itself converted, instead of the graph that edgekit makes of it."""
    known = one.runtime in plugins.names("edgekit.backends")
    return known and bool(getattr(plugins.load("edgekit.backends", one.runtime), "takes", ()))


def runtime_of(one: Chosen) -> Runtime:
    """The runtime that was chosen for a target."""
    return one.target.runtime(one.runtime)
