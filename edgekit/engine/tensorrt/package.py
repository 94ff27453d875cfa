"""The package for the board: graph, build plan, builder script, trtexec command, instructions."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import edgekit.run
from edgekit.engine.contract import Engine, Port, Refusal, port_of, read_engine, seal_engine
from edgekit.engine.tensorrt.check import refusal, refusals_of
from edgekit.engine.tensorrt.dla import has_dla, predict
from edgekit.engine.tensorrt.implicit import CACHE_FILE, calibration_cache, to_implicit
from edgekit.engine.tensorrt.opset import lower, set_opset
from edgekit.engine.tensorrt.plan import BuildPlan, Precision, flags_of, open_dimensions, profiles_of, typing_of, workspace_mib
from edgekit.engine.tensorrt.pooling import widen_pools
from edgekit.engine.tensorrt.preflight import Preflight, preflight, refusals
from edgekit.engine.tensorrt.rules import TensorrtOptions, Version, has_int64, options_of, releases, version_of
from edgekit.engine.tensorrt.signed import to_signed
from edgekit.engine.tensorrt.sparsity import sparse_nodes
from edgekit.engine.tensorrt.trtexec import build_options, shell_script, time_options
from edgekit.errors import StoreError, UnsupportedError, UsageError
from edgekit.graph import onnx_file
from edgekit.graph.edit import Graph
from edgekit.graph.inspect import layers
from edgekit.model import Model, Tensor, file_sha256
from edgekit.target import Runtime, Target

if TYPE_CHECKING:
    import onnx

MODEL_FILE, PLAN_FILE, SCRIPT_FILE, SHELL_FILE, README_FILE = (
    "model.onnx",
    "build-plan.json",
    "build_engine.py",
    "build_with_trtexec.sh",
    "README.txt",
)
ON_THE_DEVICE = (f"python3 {SCRIPT_FILE} --check", f"python3 {SCRIPT_FILE}")
BESIDE = (
    "board.py",
    "cuda_memory.py",
    "jetson.py",
    "plan_header.py",
    "tensorrt_config.py",
    "tensorrt_run.py",
    "trtexec_output.py",
    "trtexec_path.py",
    "trtexec_query.py",
)
"""Modules of the room that travels which the builder script imports from its own folder."""
STORE_OPSET = 21
RTX = "tensorrt-rtx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A graph on its way to the board, and what stands against it.

    Attributes:
        graph: in the opset of the target's release.
        opset: that opset.
        release: of TensorRT.
        options: of the target file.
        inputs, outputs: the engine's ports.
        refusals: empty if the package can be written.
    """

    graph: Graph
    opset: int
    release: Version
    options: TensorrtOptions
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    refusals: tuple[Refusal, ...]

    def written(self) -> onnx.ModelProto:
        """The graph as a file of its opset, types inferred."""
        proto = self.graph.finish()
        set_opset(proto, self.opset)
        return onnx_file.infer_shapes(proto)


def prepare(model: Model, target: Target, runtime_name: str = "tensorrt") -> Prepared:
    """Check a Model against a target's release and bring it to the opset that release reads.

    Args:
        model: as the store keeps it.
        target: that has the runtime.
        runtime_name: ``tensorrt``, or ``tensorrt-rtx``, which goes by the rules of the TensorRT release that it is made from.

    Raises:
        UsageError: the target's options or versions cannot be read.
        SourceError: the Model's file cannot be read.
    """
    runtime = target.runtime(runtime_name)
    release = version_of(releases().rtx.rules if runtime_name == RTX else runtime.version)
    options = options_of(runtime.options, where=f"{target.name}: runtimes.options")
    opset = min(runtime.max_opset, STORE_OPSET)
    graph = Graph(onnx_file.load(model.path))
    to_signed(graph)
    widen_pools(graph)
    found = {one.node: one for one in refusals_of(graph, release)}
    advice = f"this release of TensorRT reads opset {opset}: export the model without it"
    for node, reason in lower(graph, opset).items():
        found.setdefault(node.name, refusal(graph, node, reason, advice))
    inputs = tuple(_port(tensor, release) for tensor in model.signature.inputs)
    return Prepared(
        graph=graph,
        opset=opset,
        release=release,
        options=options,
        inputs=inputs,
        outputs=tuple(_port(tensor, release) for tensor in model.signature.outputs),
        refusals=(*found.values(), *_unknown_sizes(inputs, options)),
    )


def _port(tensor: Tensor, release: Version) -> Port:
    """Releases before 10 hand int64 over as int32."""
    port = port_of(tensor)
    return msgspec.structs.replace(port, dtype="int32") if port.dtype == "int64" and not has_int64(release) else port


def _unknown_sizes(inputs: tuple[Port, ...], options: TensorrtOptions) -> list[Refusal]:
    return [
        Refusal(
            node=", ".join(ports),
            op="input",
            shapes=size,
            reason="this size is open, and TensorRT must know the least, the usual and the largest it will be",
            remedy=f"pin it with --shape, or give [runtimes.options.shapes] {size} = [1, 1, 8] in the target file",
        )
        for size, ports in open_dimensions(inputs).items()
        if size not in options.shapes
    ]


def write_package(model: Model, target: Target, out: Path) -> Engine:
    """Write everything the board needs into ``out``.

    Raises:
        UnsupportedError: a node cannot be carried.
    """
    ready = prepare(model, target)
    refuse(ready.refusals, target.name)
    core = dla_core(ready, target)
    precision = precision_of(ready.written())
    placement = predict(ready.graph, {row.name: row.macs for row in layers(ready.written())}) if core >= 0 else None
    scales = to_implicit(ready.graph) if core >= 0 and precision == "int8" else {}
    proto = ready.written()
    onnx_file.save(proto, out)
    if scales:
        (out / CACHE_FILE).write_bytes(calibration_cache(scales, target.runtime("tensorrt").version))
    plan = _plan(ready, precision, core, target, out)
    found = preflight(proto, plan.tensorrt, capability=plan.compute_capability, profiles=plan.profiles)
    if plan.typing == "strong":
        refuse(refusals(found), target.name)
    _write_files(plan, out)
    engine = _engine(plan, ready, target, found, out)
    if placement is not None:
        dla = {"said": placement.sentence(), "fallbacks": [one.line() for one in placement.fallbacks]}
        engine = msgspec.structs.replace(engine, details={**engine.details, "dla": dla})
    return seal_engine(out, engine)


def repack(built: Path, out: Path) -> Engine:
    """Write the package again that a board built an engine of; the code in it is that of this edgekit.

    Args:
        built: folder of the engine, see :func:`edgekit.engine.tensorrt.on_board.build_on`.
        out: folder for the package.

    Raises:
        StoreError: the graph does not lie beside the engine.
    """
    plan = msgspec.json.decode((built / PLAN_FILE).read_bytes(), type=BuildPlan)
    for name in plan.made_of:
        if (built / name).exists():
            shutil.copyfile(built / name, out / name)
    lacking = [name for name in (plan.model, plan.calibration) if name and not (out / name).exists()]
    if lacking or file_sha256(out / plan.model) != plan.model_sha256:
        raise StoreError(f"{built}: {', '.join(lacking) or plan.model} is not what the engine was built of", hint="build it again")
    _write_files(plan, out)
    engine = read_engine(built)
    details = {key: value for key, value in engine.details.items() if key not in ("built_on", "placement", "dla")}
    dla = {key: value for key, value in engine.details.items() if key == "dla"}  # last, as in a package that was never built
    engine = msgspec.structs.replace(
        engine,
        file=plan.model,
        status="not built: needs the device",
        bytes=(out / plan.model).stat().st_size,
        sha256=plan.model_sha256,
        options={},
        details={**details, "on_the_device": list(ON_THE_DEVICE), **dla},
    )
    return seal_engine(out, engine)


def refuse(found: tuple[Refusal, ...], target: str) -> None:
    """End a build with all that stands against it, if anything does.

    Raises:
        UnsupportedError: something does.
    """
    if found:
        lines = [one.line() for one in found]
        raise UnsupportedError(f"TensorRT of {target} cannot carry this model", hint="each line says what can be done", refusals=lines)


def told(found: Preflight) -> dict[str, object]:
    """A preflight as a report shows it: counts, and every node that NVIDIA's parser did not prove with its reason."""
    nodes = {f"{one.node} ({one.op})": f"{one.label}: {one.reason}" for one in found.open_nodes() if one.reason}
    counts = {str(label): count for label, count in found.count().items()}
    return {"said": found.sentence(), **counts, **({"nodes": nodes} if nodes else {}), **found.memory}


def _plan(ready: Prepared, precision: Precision, core: int, target: Target, out: Path) -> BuildPlan:
    runtime: Runtime = target.runtime("tensorrt")
    typing = typing_of(ready.release, precision, ready.options)
    sparse, _ = sparse_nodes(ready.graph)
    plan = BuildPlan(
        schema=1,
        target=target.name,
        tensorrt=runtime.version,
        compute_capability=str(target.facts.get("compute_capability", "")),
        model=MODEL_FILE,
        model_sha256=file_sha256(out / MODEL_FILE),
        precision=precision,
        typing=typing,
        flags=flags_of(precision, typing, ready.options),
        workspace_mib=workspace_mib(target, ready.options),
        optimization_level=ready.options.optimization_level,
        profiles=profiles_of(ready.inputs, ready.options),
        inputs=ready.inputs,
        outputs=ready.outputs,
        dla_core=core,
        calibration=CACHE_FILE if (out / CACHE_FILE).exists() else "",
        sparsity=bool(sparse) and ready.options.sparsity == "auto",
    )
    return msgspec.structs.replace(plan, trtexec={"build": tuple(build_options(plan)), "time": tuple(time_options(plan))})


def dla_core(ready: Prepared, target: Target) -> int:
    """The DLA core asked for; -1 for none.

    Raises:
        UsageError: the board has none of that number, or its TensorRT builds for no DLA.
    """
    core, cores = ready.options.dla_core, int(target.facts.get("dla_cores", 0))
    if core < 0:
        return -1
    reason = "" if core < cores else f"has {cores} of them" if cores else "has no DLA"
    if not reason and not has_dla(ready.release):
        reason = f"has TensorRT {target.runtime('tensorrt').version}, which builds for no DLA"
    if reason:
        hint = "leave it out, or choose a board with a DLA and TensorRT up to 10.7: Orin NX or AGX Orin with JetPack 5 or 6"
        raise UsageError(f"tensorrt.dla_core = {core}: {target.name} {reason}", hint=hint)
    return core


def precision_of(proto: onnx.ModelProto) -> Precision:
    """int8 if the graph is quantized, bfloat16 if it makes such numbers, float16 if it holds such weights, float32 otherwise."""
    import onnx

    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        return "int8"
    made = {attribute.i for node in proto.graph.node if node.op_type == "Cast" for attribute in node.attribute if attribute.name == "to"}
    if onnx.TensorProto.BFLOAT16 in made:
        return "bfloat16"
    return "float16" if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer) else "float32"


def _write_files(plan: BuildPlan, out: Path) -> None:
    (out / PLAN_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1))
    shutil.copyfile(Path(__file__).with_name(SCRIPT_FILE), out / SCRIPT_FILE)
    for name in BESIDE:
        shutil.copyfile(Path(edgekit.run.__file__).with_name(name), out / name)
    (out / SHELL_FILE).write_text(shell_script(plan), encoding="utf-8")
    (out / SHELL_FILE).chmod(0o755)
    (out / README_FILE).write_text(instructions(plan), encoding="utf-8")


def instructions(plan: BuildPlan) -> str:
    """What to type on the board."""
    timing = " ".join(time_options(plan))
    return f"""Package for {plan.target}, TensorRT {plan.tensorrt}, {plan.precision}. There is no engine in it yet:
TensorRT builds engines on the machine that runs them.

Copy this folder to the board, go into it, and type:

  python3 {SCRIPT_FILE} --check
      compares this board's TensorRT and GPU with the plan; builds nothing.

  python3 {SCRIPT_FILE}
      builds {plan.engine}; build-result.json says what came out, build.log what TensorRT said,
      layers.json what it made of each layer. A second build begins with the timing cache of the first.

  python3 {SCRIPT_FILE} --run-only
      asks whether the engine belongs to this board, times it, and profiles its layers into profile.json.

  /usr/src/tensorrt/bin/trtexec {timing}
      runs the engine and writes every time it measured to times.json.

{SHELL_FILE} builds with trtexec instead of Python.
"""


def _engine(plan: BuildPlan, ready: Prepared, target: Target, found: Preflight, out: Path) -> Engine:
    return Engine(
        file=MODEL_FILE,
        target=target.name,
        runtime="tensorrt",
        precision=plan.precision,
        status="not built: needs the device",
        inputs=plan.inputs,
        outputs=plan.outputs,
        bytes=(out / MODEL_FILE).stat().st_size,
        sha256=plan.model_sha256,
        details={
            "tensorrt": plan.tensorrt,
            "opset": ready.opset,
            "typing": plan.typing,
            "flags": list(plan.flags),
            "workspace_mib": plan.workspace_mib,
            "sparsity": plan.sparsity,
            "dla_core": plan.dla_core,
            "operators": ready.graph.count(),
            "preflight": told(found),
            "on_the_device": list(ON_THE_DEVICE),
        },
    )
