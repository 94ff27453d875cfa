"""How much of ONNX's own node tests the TFLite backend carries: ``python tools/onnx_coverage.py FOLDER``.

FOLDER is ``onnx/backend/test/data/node`` of the wheel of onnx 1.21 (``pip install onnx==1.21.0`` into an environment of its
own; later wheels come without it). Taken are the tests of one operator that is listed here and whose inputs and outputs are
float32, int32, int64 or bool. What decides a shape, and the weights of convolutions and recurrent layers, is made constant,
as models have it.

Each is converted as the recipe ``float`` does (ingest, simplify, fuse, backend), run by LiteRT without delegate and with it,
and compared with the outputs beside the test. Each has a process of its own, since LiteRT ends the process on some files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
STAGES = ("converts", "runs", "matches")
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
            runs = [outputs(engine, feeds, kind) for kind in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO)]
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
        if not np.allclose(found[name], array, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise AssertionError(f"{name} is another")


def tried(case: Case) -> Case:
    """A test with its result, from a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(case, theirs))
    process.start()
    theirs.close()
    stages, reason = 0, ""
    while stages < len(STAGES) and not reason:
        try:
            reason = ours.recv() if ours.poll(SECONDS) else f"nothing came in {SECONDS} s"
        except EOFError:
            reason = "the process died"
        stages += not reason
    process.kill()
    process.join()
    return Case(case.folder, case.op, stages, reason)


def written(results: list[Case]) -> str:
    """The report as Markdown."""
    lines = [
        "# ONNX's node tests on the TFLite backend",
        "",
        "Written by `tools/onnx_coverage.py`, which says what is taken and how; not to be edited.",
        "",
        f"{len(results)} tests of {len({case.op for case in results})} operators: {shares(results)}.",
        "",
        "| operator | tests | matches |",
        "|---|---|---|",
    ]
    tests = Counter(case.op for case in results)
    good = Counter(case.op for case in results if case.stages == len(STAGES))
    lines += [f"| {op} | {tests[op]} | {good[op]} |" for op in sorted(tests) if good[op] < tests[op]]
    lines += ["", f"The other {sum(good[op] == tests[op] for op in tests)} operators match in all their tests.", ""]
    lines += ["| test | operator | comes to | because |", "|---|---|---|---|"]
    for case in results:
        if case.stages < len(STAGES):
            reason = " ".join(case.reason.split()).replace("|", "\\|")[:200]
            lines.append(f"| {case.folder.name} | {case.op} | {('nothing', *STAGES)[case.stages]} | {reason} |")
    return "\n".join(lines) + "\n"


def shares(results: list[Case]) -> str:
    counts = {stage: sum(case.stages > place for case in results) for place, stage in enumerate(STAGES)}
    return ", ".join(f"{count} ({count / len(results):.1%}) {stage}" for stage, count in counts.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="How much of ONNX's own node tests the TFLite backend carries.")
    parser.add_argument("folder", type=Path, help="onnx/backend/test/data/node of the wheel of onnx 1.21")
    parser.add_argument("--only", default="", help="tests whose name holds this; nothing is written then")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [case for case in cases(options.folder) if options.only in case.folder.name]
    if not chosen:
        print(f"{options.folder}: no test in it", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(tried, chosen))
    if options.only:
        print(written(results))
    else:
        REPORT.write_text(written(results), encoding="utf-8")
    print(shares(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
