"""How much of ONNX's own node tests the TFLite backend carries: ``python tools/onnx_coverage.py FOLDER``.

FOLDER is ``onnx/backend/test/data/node`` of the wheel of onnx 1.21 (``pip install onnx==1.21.0`` into an environment of its
own; later wheels come without it). Taken are the tests of one operator that is listed here and whose inputs and outputs are
float32, int32, int64 or bool. What decides a shape, and the weights of convolutions and recurrent layers, is made constant,
as models have it.

Each is converted as the recipe ``float`` does (ingest, simplify, fuse, backend), run by LiteRT without delegate and with it,
and compared with the outputs beside the test. Each has a process of its own, since LiteRT ends the process on some files.

With ``--peer PYTHON``, that of an environment that onnx2tf is installed in, onnx2tf converts the very same models, and what it
makes is judged alike. It turns the axes of inputs and outputs as it sees fit; so its inputs are tried as they are and with the
channels last, whichever fit, its outputs in every sequence of axes, and one that matches is enough. Element types are its own,
and so are axes of size 1.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import helper, numpy_helper

from edgekit.engine.tflite import TfliteBackend
from edgekit.errors import EdgekitError
from edgekit.ingest.contract import IngestOptions, ingest
from edgekit.passes.contract import Supplies
from edgekit.passes.fuse import Fuse
from edgekit.passes.simplify import Simplify
from edgekit.target import Runtime, Target

REPORT = Path(__file__).resolve().parents[1] / "tests" / "engine" / "tflite" / "COVERAGE.md"
TARGET = Target(schema=1, name="coverage", arch="x86_64", runtimes=(Runtime("tflite", options={"io_layout": "nchw"}),), sources={})
TYPES = frozenset({"float32", "int32", "int64", "bool"})
SECONDS = 120
SECONDS_TO_CLEAN_UP = 5
STAGES = ("converts", "runs", "matches")
RESOLVERS = (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO)
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_NAMES = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat Conv
    ConvTranspose Cos Cosh CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid
    HardSwish Hardmax Identity InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg NonMaxSuppression Not OneHot Or PRelu Pad Pow RMSNormalization
    RNN Reciprocal Relu Reshape Resize Round ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze
    Upsample Where Xor
"""
OPS = frozenset(_NAMES.split()) | {f"Reduce{kind}" for kind in REDUCTIONS}
CONSTANT = {
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (1, 2, 3, 4),
    "LSTM": (1, 2, 3, 4, 7),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "RNN": (1, 2, 3, 4),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **dict.fromkeys((f"Reduce{kind}" for kind in REDUCTIONS), (1,)),
}
"""Places of the inputs that are made constant."""


@dataclass(frozen=True)
class Case:
    """One test: its folder, its operator, how far it came, and why no further."""

    folder: Path
    op: str
    stages: int = 0
    reason: str = ""


def cases(root: Path) -> list[Case]:
    """The tests that are taken, by name."""
    found = []
    for folder in sorted(root.iterdir()):
        proto = onnx.load(folder / "model.onnx")
        nodes = proto.graph.node
        if len(nodes) == 1 and not nodes[0].domain and nodes[0].op_type in OPS and _has_types(proto):
            found.append(Case(folder, nodes[0].op_type))
    return found


def _has_types(proto: onnx.ModelProto) -> bool:
    ports = [*proto.graph.input, *proto.graph.output]
    return all(port.type.HasField("tensor_type") and port.type.tensor_type.elem_type in _NUMBERS for port in ports)


_NUMBERS = {helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in TYPES}


def prepared(folder: Path) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A test's model with its constants in it, what is fed and what shall come out."""
    proto = onnx.load(folder / "model.onnx")
    node, data = proto.graph.node[0], folder / "test_data_set_0"
    arrays = {port.name: _array(data / f"input_{index}.pb") for index, port in enumerate(proto.graph.input)}
    wanted = {port.name: _array(data / f"output_{index}.pb") for index, port in enumerate(proto.graph.output)}
    for place in CONSTANT.get(node.op_type, ()):
        name = node.input[place] if place < len(node.input) else ""
        if name in arrays:
            proto.graph.initializer.append(numpy_helper.from_array(arrays.pop(name), name))
            proto.graph.input.remove(next(port for port in proto.graph.input if port.name == name))
    return proto, arrays, wanted


def _array(file: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(file.read_bytes())
    return numpy_helper.to_array(tensor)


def attempt(case: Case, answer: Connection) -> None:
    """Take one test as far as it goes; each stage that is reached is sent, then why it ends there."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="edgekit-coverage-") as name:
        try:
            proto, feeds, wanted = prepared(case.folder)
            engine = converted(proto, Path(name))
            answer.send("")
            runs = [outputs(engine, feeds, kind) for kind in RESOLVERS]
            answer.send("")
            for found in runs:
                _compare(found, wanted)
            answer.send("")
        except EdgekitError as error:
            refusals = getattr(error, "refusals", ())
            answer.send((refusals[0].split(": ", 1)[-1] if refusals else error.message).replace(f"{name}/source/", ""))
        except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
            answer.send(f"{type(error).__name__}: {error}")


def converted(proto: onnx.ModelProto, folder: Path) -> Path:
    """The engine of a model, as the recipe ``float`` makes it; onnx-simplifier finds nothing in one operator and is left out."""
    for step in ("source", "ingest", "simplify", "fuse", "engine"):
        (folder / step).mkdir()
    onnx.save(proto, folder / "source" / "model.onnx")
    model = ingest(folder / "source" / "model.onnx", options=IngestOptions(layout="nchw"), out=folder / "ingest")
    model = Simplify(onnxsim=False)(model, Supplies(), folder / "simplify")
    model = Fuse()(model, Supplies(), folder / "fuse")
    return folder / "engine" / TfliteBackend().compile(model, TARGET, None, folder / "engine").file


def outputs(engine: Path, feeds: dict[str, np.ndarray], resolver: OpResolverType) -> dict[str, np.ndarray]:
    """What LiteRT makes of the feeds."""
    interpreter = Interpreter(str(engine), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    return dict(runner(**{name: array for name, array in feeds.items() if name in runner.get_input_details()}))


def _compare(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, array in wanted.items():
        if found[name].shape != array.shape:
            raise AssertionError(f"{name} has shape {found[name].shape}, not {array.shape}")
        if not _is_same(found[name], array):
            raise AssertionError(f"{name} is another")


def of_peer(cases: list[Case], python: str, jobs: int) -> tuple[str, list[Case]]:
    """The version of onnx2tf, and the same tests with its results."""
    with tempfile.TemporaryDirectory(prefix="edgekit-coverage-") as name:
        for case in cases:
            folder = Path(name) / case.folder.name
            folder.mkdir()
            onnx.save(prepared(case.folder)[0], folder / "model.onnx")
        converter = [python, str(Path(__file__).with_name("onnx_coverage_peer.py")), name]
        version = subprocess.run(converter, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        with ThreadPoolExecutor(jobs) as pool:
            return version, list(pool.map(lambda case: tried(case, partial(attempt_peer, Path(name))), cases))


def attempt_peer(made: Path, case: Case, answer: Connection) -> None:
    """Take what onnx2tf made of one test as far as it goes, as :func:`attempt` does."""
    warnings.simplefilter("ignore")
    engine, reason = (made / case.folder.name / name for name in ("model.tflite", "reason"))
    if not engine.exists():
        answer.send(reason.read_text(encoding="utf-8") if reason.exists() else "the process died")
        return
    answer.send("")
    try:
        _, feeds, wanted = prepared(case.folder)
        runs = [list(turned_outputs(engine, feeds, list(wanted), kind)) for kind in RESOLVERS]
        answer.send("")
        matches = all(any(_matches_turned(found, wanted) for found in tries) for tries in runs)
        answer.send("" if matches else "its outputs are others, in whatever sequence of axes")
    except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
        answer.send(f"{type(error).__name__}: {error}")


def turned_outputs(engine: Path, feeds: dict[str, np.ndarray], names: list[str], resolver: OpResolverType) -> Iterator[dict[str, np.ndarray]]:
    """What LiteRT makes of the feeds, for every way in which they fit the engine's inputs."""
    interpreter = Interpreter(str(engine), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [port for port in interpreter.get_input_details() if port["name"] in feeds]
    ways = [_fitting(feeds[port["name"]], tuple(port["shape"])) for port in inputs]
    if not all(ways):
        raise AssertionError("no sequence of axes fits its inputs")
    for arrays in itertools.product(*ways):
        for port, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(port["index"], np.ascontiguousarray(array.astype(port["dtype"])))
        interpreter.invoke()
        ports = interpreter.get_output_details()
        by_name = {port["name"]: port for port in ports}
        chosen = [by_name.get(name, port) for name, port in zip(names, ports, strict=True)]
        yield {name: interpreter.get_tensor(port["index"]) for name, port in zip(names, chosen, strict=True)}


def _fitting(array: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """What of an array as it is, with its channels last, and with an axis if it has none, has this shape."""
    ways = [array, np.moveaxis(array, 1, -1)] if array.ndim > 2 else [array] if array.ndim else [array, array[None]]
    return [way for way in ways if way.shape == shape]


def _matches_turned(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    pairs = [(np.squeeze(found[name]), np.squeeze(array)) for name, array in wanted.items()]
    return all(any(_is_same(one.transpose(axes), array) for axes in itertools.permutations(range(one.ndim))) for one, array in pairs)


def _is_same(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-3, atol=1e-5, equal_nan=True)


def tried(case: Case, how: Callable[[Case, Connection], None] = attempt) -> Case:
    """A test with its result, from a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=how, args=(case, theirs))
    process.start()
    theirs.close()
    stages, reason = 0, ""
    while stages < len(STAGES) and not reason:
        try:
            reason = ours.recv() if ours.poll(SECONDS) else f"nothing came in {SECONDS} s"
        except EOFError:
            reason = "the process died"
        stages += not reason
    process.join(SECONDS_TO_CLEAN_UP)
    process.kill()
    process.join()
    return Case(case.folder, case.op, stages, reason)


@dataclass(frozen=True)
class Peer:
    """The results of onnx2tf on the same tests, in the same sequence."""

    version: str
    results: list[Case]


def written(results: list[Case], peer: Peer | None = None) -> str:
    """The report as Markdown."""
    lines = [
        "# ONNX's node tests on the TFLite backend",
        "",
        "Written by `tools/onnx_coverage.py`, which says what is taken and how; not to be edited.",
        "",
        f"{len(results)} tests of {len({case.op for case in results})} operators: {shares(results)}.",
        "",
    ]
    tests, good = Counter(case.op for case in results), _matching(results)
    if peer is None:
        lines += ["| operator | tests | matches |", "|---|---|---|"]
        lines += [f"| {op} | {tests[op]} | {good[op]} |" for op in sorted(tests) if good[op] < tests[op]]
    else:
        others = _matching(peer.results)
        lines += [
            f"onnx2tf {peer.version} on the same models, its inputs and outputs taken in whatever sequence of axes fits: {shares(peer.results)}.",
            "",
            "| operator | tests | matches | of onnx2tf |",
            "|---|---|---|---|",
        ]
        lines += [f"| {op} | {tests[op]} | {good[op]} | {others[op]} |" for op in sorted(tests) if min(good[op], others[op]) < tests[op]]
    complete = sum(good[op] == tests[op] for op in tests)
    lines += ["", f"{complete} operators match in all their tests.", ""]
    lines += ["| test | operator | comes to | because |", "|---|---|---|---|", *_left(results)]
    if peer is not None:
        lines += ["", "## What onnx2tf leaves", "", "| test | operator | comes to | because |", "|---|---|---|---|", *_left(peer.results)]
    return "\n".join(lines) + "\n"


def _matching(results: list[Case]) -> Counter[str]:
    return Counter(case.op for case in results if case.stages == len(STAGES))


def _left(results: list[Case]) -> Iterator[str]:
    for case in results:
        if case.stages < len(STAGES):
            reason = " ".join(case.reason.split()).replace("|", "\\|")[:200]
            yield f"| {case.folder.name} | {case.op} | {('nothing', *STAGES)[case.stages]} | {reason} |"


def shares(results: list[Case]) -> str:
    counts = {stage: sum(case.stages > place for case in results) for place, stage in enumerate(STAGES)}
    return ", ".join(f"{count} ({count / len(results):.1%}) {stage}" for stage, count in counts.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="How much of ONNX's own node tests the TFLite backend carries.")
    parser.add_argument("folder", type=Path, help="onnx/backend/test/data/node of the wheel of onnx 1.21")
    parser.add_argument("--only", default="", help="tests whose name holds this; nothing is written then")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--peer", default="", help="the Python of an environment with onnx2tf, which then converts the same tests")
    options = parser.parse_args()
    chosen = [case for case in cases(options.folder) if options.only in case.folder.name]
    if not chosen:
        print(f"{options.folder}: no test in it", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(tried, chosen))
    peer = Peer(*of_peer(chosen, options.peer, options.jobs)) if options.peer else None
    if options.only:
        print(written(results, peer))
    else:
        REPORT.write_text(written(results, peer), encoding="utf-8")
    print(shares(results))
    if peer is not None:
        print(f"onnx2tf {peer.version}: {shares(peer.results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
