"""Targets: kinds of device, as facts with sources, one TOML file each."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgekit import plugins, strict
from edgekit.errors import UsageError
from edgekit.run.state import read_features

Activation = Literal["uint8", "int8", "int8 symmetric", "int16 symmetric"]
Weight = Literal["int8 symmetric per-channel", "int8 symmetric per-tensor"]


class Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a runtime wants numbers stored as integers; read by the quantizer alone.

    Attributes:
        activations: integer type of what flows between nodes.
        weights: integer type and granularity of constants.
        bias: ``int32`` with the scale input x weight, or left ``float32``.
        integer_ops: ONNX ops that the runtime computes in integers.
        same_scale_ops: of these, ops whose output must have the scale and zero point of their input.
        shared_input_ops: of these, ops all of whose inputs and output share one scale and zero point.
        fixed_output: ops whose output scale and zero point the runtime prescribes, such as
            ``{Softmax = [0.00390625, -128]}``; of ops that are no integer_ops, where they stand between integers.
        residual: which inputs of a residual Add get Q/DQ: ``both``, or the ``skip`` branch alone so that Conv + Add fuse.
        float_output_ops: of these, ops that need not make integers: where no other integer op reads what they make, that
            gets no Q/DQ, and what is no convolution or matrix product stays float.
        reduce_range: 7-bit weights, for processors whose int8 products saturate (x86 without VNNI).
        float16: what the recipe ``fp16`` makes: float16 ``weights`` with a Cast, or a whole float16 ``graph``.
        float_rest: what the parts of a graph of int8 that stay float compute in, where the runtime takes formats from the graph.
        dynamic_ops: ops that the runtime computes faster than in float when int8 weights meet activations that it rounds
            to 8 bits within the product; of convolutions those in one group.
        weight_only_ops: ops that it computes in float with weights stored as integers.
        low_bit_ops: of these, ops whose weights may have 4 or 2 bits; the others' have 8.
        blocked_ops: of these, ops whose weights may have a scale for each block of inputs, not only for each channel.
        low_bit_static_ops: of integer_ops, products of whose static int8 the weights may have 4 bits; the others' have 8.
        int16_activations: the scheme of what the runtime computes with activations of 16 bits; absent if nothing.
        bfloat16: whether it computes a whole graph in bfloat16, and gains by it.
        lacks: why it has no form for ``int16_activations``, ``low_bit_static_ops`` or ``bfloat16``, in words.
        integers_alone: whether float is not computed where integers are, but on a far slower processor beside it: no node then
            stays float for a budget, and a recipe must make integers.
        fixed_point_sums: whether it adds stored numbers with multipliers that are integers, so that training for it does the same.
        speedup: how many times as fast as in float the runtime computes an op in integers, for a search that keeps nodes in
            float; of convolutions ``Conv``, and apart from these ``depthwise Conv`` and ``first Conv``, which reads four
            channels at most. What is not named is taken for so fast that all of float's time is saved.
    """

    activations: Activation = "int8"
    weights: Weight = "int8 symmetric per-channel"
    bias: Literal["int32", "float32"] = "int32"
    integer_ops: tuple[str, ...] = ()
    same_scale_ops: tuple[str, ...] = ()
    shared_input_ops: tuple[str, ...] = ()
    fixed_output: dict[str, tuple[float, int]] = {}
    residual: Literal["both", "skip"] = "both"
    float_output_ops: tuple[str, ...] = ()
    reduce_range: bool = False
    float16: Literal["weights", "graph"] = "weights"
    float_rest: Literal["float32", "float16"] = "float32"
    dynamic_ops: tuple[str, ...] = ()
    weight_only_ops: tuple[str, ...] = ()
    low_bit_ops: tuple[str, ...] = ()
    blocked_ops: tuple[str, ...] = ()
    low_bit_static_ops: tuple[str, ...] = ()
    int16_activations: Scheme | None = None
    bfloat16: bool = False
    lacks: dict[Literal["int16_activations", "low_bit_static_ops", "bfloat16"], str] = {}
    integers_alone: bool = False
    fixed_point_sums: bool = False
    speedup: dict[str, float] = {}

    @property
    def in_eight_bits(self) -> Scheme:
        """The same without weights of fewer than 8 bits between integers."""
        return msgspec.structs.replace(self, low_bit_static_ops=())


Pay = Literal["speed", "size", "neither"]


class Pays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a runtime turns each technique of compression into: speed, a smaller engine once it is compressed (zip), or neither.

    Attributes:
        structured: fewer channels.
        unstructured: weights that are zero here and there.
        sparse_2_4: two zeros in every four weights along the input channels.
        codebook: weights that share a few values.
        low_rank: layers as products of smaller ones.
        binary: weights of one magnitude a channel, with or without zeros.
        binary_activations: activations that are signs, besides; kernels that count bits would make speed of them.
    """

    structured: Pay | None = None
    unstructured: Pay | None = None
    sparse_2_4: Pay | None = None
    codebook: Pay | None = None
    low_rank: Pay | None = None
    binary: Pay | None = None
    binary_activations: Pay | None = None


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime of a target: what it can execute, and how it wants it.

    Attributes:
        name: the backend that compiles for it, such as ``tflite``.
        version: the version these facts hold for.
        max_opset: newest ONNX opset the runtime's converter reads.
        dtypes: number formats it executes, such as ``int8``.
        scheme: the quantization scheme; absent where nothing is quantized.
        options: fields of the backend's own options.
        remarks: what a plan should tell the user, by recipe or ``*``.
        builds_on: where its engines are built, if not where the target's others are.
        pays: what comes of each technique of compression; None where nobody knows.
        channel_multiple: numbers of channels that fill the kernels of its convolutions and products are multiples of it.
    """

    name: str
    version: str = ""
    max_opset: int = 21
    dtypes: tuple[str, ...] = ("float32",)
    scheme: Scheme | None = None
    options: dict[str, Any] = {}
    remarks: dict[str, str] = {}
    builds_on: Literal["", "host", "device"] = ""
    pays: Pays = Pays()
    channel_multiple: int = 1


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of device.

    Attributes:
        schema: version of this file format.
        name: the file's name without ``.toml``.
        title: what people call it.
        arch: ``x86_64``, ``aarch64`` or ``armv7l``, as ``uname -m`` says; of a microcontroller ``armv8.1-m.main``, as compilers say.
        runtimes: the first is built unless another is named.
        cpu: core and count, in words.
        features: processor features kernels depend on, as Linux names them.
        ram_mib: memory of the board.
        builds_on: ``host``, or ``device`` where engines can only be built on the device itself.
        facts: anything else a backend of this target needs (compute capability, JetPack, DLA cores, …).
        sources: where each fact comes from, by the fact's name.
        aliases: other names of this target.
    """

    schema: Literal[1]
    name: str
    arch: Literal["x86_64", "aarch64", "armv7l", "armv8.1-m.main"]
    runtimes: tuple[Runtime, ...]
    sources: dict[str, str]
    title: str = ""
    cpu: str = ""
    features: tuple[str, ...] = ()
    ram_mib: int | None = None
    builds_on: Literal["host", "device"] = "host"
    facts: dict[str, Any] = {}
    aliases: tuple[str, ...] = ()

    def runtime(self, name: str) -> Runtime:
        """The runtime of that name, or the one that runs its engines: see :func:`runs_in`.

        Raises:
            UsageError: the target does not run it.
        """
        for runtime in self.runtimes:
            if runtime.name == name:
                return runtime
        for runtime in self.runtimes:
            if runtime.name == runs_in(name) and name in plugins.names("edgekit.backends"):
                remarks = {about: text for about, text in runtime.remarks.items() if about == "*"}
                return msgspec.structs.replace(runtime, name=name, scheme=None, options={}, remarks=remarks)
        runs = ", ".join(runtime.name for runtime in self.runtimes)
        raise UsageError(f"{self.name} does not run {name}; it runs {runs}", hint=f"--target {self.name}:{self.runtimes[0].name}")


_COMPILED_BY = ("-tensorflow",)


def runs_in(runtime: str) -> str:
    """The runtime that opens an engine: its name without that of somebody else who compiled it, as of ``tflite-tensorflow``."""
    return next((runtime.removesuffix(by) for by in _COMPILED_BY if runtime.endswith(by)), runtime)


def unsourced(target: Target) -> tuple[str, ...]:
    """Facts of a target that have no source, and sources that belong to no fact; one line each.

    A source's key is the fact's name; of a runtime's facts ``RUNTIME.version``, ``.max_opset``, ``.dtypes``, ``.scheme``,
    ``.remarks``, ``.options``, ``.channel_multiple``, ``.pays``; of one field of a scheme ``RUNTIME.scheme.FIELD``, of pays alike.
    """
    facts = ["arch", *(name for name in ("cpu", "features", "ram_mib") if getattr(target, name)), *target.facts]
    if target.builds_on == "device":
        facts.append("builds_on")
    single: list[str] = []
    for runtime in target.runtimes:
        held = [name for name in ("version", "dtypes", "scheme", "remarks", "options") if getattr(runtime, name)]
        held += ["pays"] if runtime.pays != Pays() else []
        held += ["channel_multiple"] if runtime.channel_multiple != 1 else []
        facts += [f"{runtime.name}.{name}" for name in ("max_opset", *held)]
        single += [f"{runtime.name}.pays.{name}" for name in runtime.pays.__struct_fields__ if getattr(runtime.pays, name)]
        if runtime.scheme is not None:
            single += [f"{runtime.name}.scheme.{name}" for name in runtime.scheme.__struct_fields__]
            facts += [
                f"{runtime.name}.scheme.{name}" for name in ("reduce_range", "integers_alone", "fixed_point_sums") if getattr(runtime.scheme, name)
            ]
    missing = [f"{fact}: no source" for fact in facts if not target.sources.get(fact, "").strip()]
    return (*missing, *(f"sources: {key} is no fact of {target.name}" for key in target.sources if key not in {*facts, *single}))


def data_folders(kind: Literal["targets", "calibration"]) -> Iterator[Path]:
    """Where files of this kind are looked for: ``$EDGEKIT_TARGETS`` (targets only), ``./targets``, the wheel, the checkout."""
    named = os.environ.get("EDGEKIT_TARGETS")
    if named and kind == "targets":
        yield Path(named)
    yield Path.cwd() / kind
    package = Path(__file__).resolve().parent
    yield package / "_data" / kind
    yield package.parent / kind


def target_files() -> dict[str, Path]:
    """Every target file that can be found, by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in data_folders("targets"):
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``: tables merge, runtimes merge by name and keep the order of ``over``, all else is replaced."""
    result = dict(base)
    for key, value in over.items():
        if key == "runtimes":
            known = {runtime.get("name"): runtime for runtime in base.get("runtimes", [])}
            result[key] = [_merged(known.get(item.get("name"), {}), item) for item in value]
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            result[key] = _merged(base[key], value)
        else:
            result[key] = value
    return result


def read_target(path: Path) -> Target:
    """Read one target file; ``extends`` names another in the same folder, one level deep.

    Raises:
        UsageError: it cannot be read, extends what extends, or has an unknown key.
    """
    data = strict.read_toml(path)
    base_name = data.pop("extends", None)
    if base_name is not None:
        base_path = path.with_name(f"{base_name}.toml")
        base = strict.read_toml(base_path)
        if "extends" in base:
            raise UsageError(f"{path}: extends {base_name}, which extends another", hint="one level only: extend its base instead")
        base.pop("aliases", None)
        data = _merged(base, data)
    return strict.convert(data, Target, where=str(path))


def cpu_features() -> frozenset[str]:
    """Features of this machine's processor as ``/proc/cpuinfo`` names them; empty where there is none."""
    return frozenset(read_features())


def host_target(arch: str, features: frozenset[str]) -> str:
    """The target that ``host`` and ``x86`` stand for.

    Args:
        arch: as ``uname -m`` says.
        features: from :func:`cpu_features`.
    """
    if arch == "x86_64":
        if "avx512_vnni" in features or "avx_vnni" in features:
            return "x86-64-vnni"
        return "x86-64-avx2" if "avx2" in features else "x86-64"
    return "aarch64"


class Chosen(msgspec.Struct, frozen=True):
    """A target and a runtime of it, with what the user called it."""

    asked: str
    target: Target
    runtime: str

    @property
    def builds_on(self) -> Literal["host", "device"]:
        """Where its engine is built."""
        return self.target.runtime(self.runtime).builds_on or self.target.builds_on

    @property
    def key(self) -> str:
        """``TARGET-RUNTIME``: names this engine's folder and report entry."""
        return f"{self.target.name}-{self.runtime}"


def choose(asked: str) -> Chosen:
    """The target that a name, alias or file stands for; ``NAME:RUNTIME`` chooses the runtime.

    Raises:
        UsageError: there is no such target, or it does not run that runtime.
    """
    name, _, runtime = asked.partition(":")
    if name.endswith(".toml"):
        target = read_target(Path(name))
    else:
        files = target_files()
        aliases = _aliases(files)
        real = aliases.get(name, name)
        if real not in files:
            close = strict.nearest(name, [*files, *aliases])
            raise UsageError(f"{name}: no such target{close}", hint="`edgekit targets list` names them all")
        target = read_target(files[real])
    chosen = target.runtime(runtime).name if runtime else target.runtimes[0].name
    return Chosen(asked=asked, target=target, runtime=chosen)


def alias_names() -> tuple[str, ...]:
    """Every alias of every target that can be found."""
    return tuple(_aliases(target_files()))


def _aliases(files: Mapping[str, Path]) -> dict[str, str]:
    host = host_target(os.uname().machine, cpu_features())
    aliases = {"host": host, "x86": host if host.startswith("x86") else "x86-64-avx2"}
    for name, path in files.items():
        for alias in _aliases_in(path, path.stat().st_mtime_ns):
            aliases.setdefault(alias, name)
    return aliases


@functools.cache
def _aliases_in(path: Path, changed_ns: int) -> tuple[str, ...]:
    """The aliases a target file states; read again when it has changed."""
    return tuple(strict.read_toml(path).get("aliases", ()))
