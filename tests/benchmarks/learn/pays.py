"""What runtimes make of shared values, of low rank, of ternary and binary weights, and of activations that are signs: time and bytes of
four convolutions of 64 channels (3 x 3, 28 x 28).

python tests/benchmarks/learn/pays.py [--runs 60]

Processor time of one thread as a multiple of that of the float network as it was, median over runs in turn; bytes of the engine as it is,
and after DEFLATE at level 9. Last, what Vela expects of an Ethos-U55 (if ethos-u-vela is installed), with weights as integers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from edgekit.engine.contract import Engine
from edgekit.engine.ethos_u import EthosUBackend
from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.compress.factorize import Factorize
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.quantize import Quantize
from edgekit.samples import Samples, read_samples
from edgekit.target import choose

CHANNELS, SIZE, LAYERS = 64, 28, 4
STEPS = {
    "codebook": Cluster(bits=4),
    "low_rank": Factorize(method="spatial", ratio=0.5),
    "binary": Binarize(kind="ternary", keep_ends=False),
    "binary_weights": Binarize(kind="binary", keep_ends=False),
    "binary_activations": Binarize(kind="binary", keep_ends=False, activations=True),
}


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--runs", type=int, default=60)
    told = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        models, held = {"dense": network(where / "dense")}, samples(where / "samples")
        for name, step in STEPS.items():
            (where / name).mkdir()
            models[name] = step(models["dense"], Supplies(samples=held if Need.SAMPLES in step.needs else None), where / name)
        for runtime, opened in (("onnxruntime", in_onnxruntime), ("tflite", in_tflite)):
            engines = {name: engine(runtime, model, where / f"{runtime}-{name}") for name, model in models.items()}
            took = timed({name: opened(path) for name, path in engines.items()}, told.runs)
            for name, path in engines.items():
                say(runtime, name, path, time=round(took[name] / took["dense"], 2), base=engines["dense"])
        if importlib.util.find_spec("ethosu") is not None:
            on_ethos_u(models, held, where)


def network(folder: Path) -> Model:
    drawn = np.random.default_rng(0)
    body = " ".join(f"c{at} = Conv<pads = [1, 1, 1, 1]>({f'r{at - 1}' if at else 'x'}, w{at}, b{at}) r{at} = Relu(c{at})" for at in range(LAYERS))
    shape = f"float[1,{CHANNELS},{SIZE},{SIZE}]"
    last = f"r{LAYERS - 1}"
    body = body.replace(f"{last} =", "y =")
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> net ({shape} x) => ({shape} y) {{ {body} }}')
    for at in range(LAYERS):
        weight = (drawn.normal(size=(CHANNELS, CHANNELS, 3, 3)) * np.sqrt(2 / (9 * CHANNELS))).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, f"w{at}"))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(drawn.normal(size=CHANNELS).astype(np.float32) / 10, f"b{at}"))
    folder.mkdir()
    onnx_file.save(onnx_file.infer_shapes(proto), folder)
    return seal_model(folder, signature_of(proto), ())


def engine(runtime: str, model: Model, where: Path) -> Path:
    where.mkdir()
    backend = OnnxRuntimeBackend() if runtime == "onnxruntime" else TfliteBackend()
    made = backend.compile(model, choose("x86-64").target, None, where)
    return where / made.file


def in_onnxruntime(path: Path) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    x = np.random.default_rng(1).normal(size=port.shape).astype(np.float32)
    return lambda: session.run(None, {port.name: x})


def in_tflite(path: Path) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    interpreter.set_tensor(port["index"], np.random.default_rng(1).normal(size=port["shape"]).astype(np.float32))
    return interpreter.invoke


def timed(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(runs):
        for name, call in calls.items():
            began = time.process_time()
            for _ in range(3):
                call()
            found[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in found.items()}


def on_ethos_u(models: dict[str, Model], held: Samples, where: Path) -> None:
    target = choose("ethos-u55-128").target
    base = None
    for name, model in models.items():
        integer, out = where / f"u55-int8-{name}", where / f"u55-{name}"
        integer.mkdir()
        out.mkdir()
        quantized = Quantize()(model, Supplies(samples=held, scheme=target.runtime("ethos-u").scheme), integer)
        made = EthosUBackend().compile(quantized, target, None, out)
        base = base or out / made.file
        say("ethos-u", name, out / made.file, **_expected(made), base=base)


def _expected(made: Engine) -> dict[str, int]:
    return {} if made.npu is None else {"cycles": made.npu.total_cycles, "encoded_weight_bytes": made.npu.encoded_weight_bytes}


def samples(folder: Path) -> Samples:
    folder.mkdir()
    for at in range(9):
        np.savez(folder / f"{at}.npz", x=np.random.default_rng(at).normal(size=(1, CHANNELS, SIZE, SIZE)).astype(np.float32))
    (folder / "samples.toml").write_text('schema = 1\nname = "drawn"\nkind = "arrays"\ncalibrate = 8\n')
    return read_samples(folder)


def say(runtime: str, name: str, path: Path, *, base: Path, **more: object) -> None:
    sizes = [(len(content), len(zlib.compress(content, 9))) for content in (one.read_bytes() for one in (path, base))]
    ratios = {"bytes": round(sizes[0][0] / sizes[1][0], 2), "compressed": round(sizes[0][1] / sizes[1][1], 2)}
    print(json.dumps({"runtime": runtime, "what": name, **more, **ratios}), flush=True)


if __name__ == "__main__":
    main()
