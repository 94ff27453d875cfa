"""Weights of 4 bits for a small network of Fashion-MNIST: without training, and trained on a few hundred pictures without labels.

    python tests/benchmarks/learn/qat_fashion.py [--float net.onnx] [--pictures 600] [--epochs 10] [--all]

The network is trained on labels first, or read from ``--float``, where it is left for the next time. The scheme is that of
raspberry-pi-5 in LiteRT, where matrix products have 4 bits and convolutions 8; ``--all`` gives convolutions 4 bits, too. Accuracy is of the
10,000 test pictures, as LiteRT's engine computes them; beside it, how many of them the torch module puts into the same class.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from fashion import accuracy, material, network, pictures

from edgekit.engine.contract import read_engine
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph import onnx_file
from edgekit.graph.open_batch import with_open_batch
from edgekit.graph.signature import signature_of
from edgekit.graph.trainable import trainable, trained
from edgekit.model import Model, seal_model
from edgekit.passes.contract import Pass, Supplies
from edgekit.passes.learn import TrainOptions, fit
from edgekit.passes.learn.qat import Qat
from edgekit.passes.quantize import Quantize
from edgekit.samples import read_samples
from edgekit.target import choose

BAD: dict[str, Any] = {"rounding": "nearest", "observer": "minmax", "correct_bias": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--float", type=Path)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="", help="part of a line's name; all lines if left out")
    given = parser.parse_args()
    proto = _float(given.float)
    inputs, labels = pictures("t10k")
    work = Path(tempfile.mkdtemp())
    (work / "float").mkdir()
    onnx_file.save(proto, work / "float")
    model = seal_model(work / "float", signature_of(proto), ())
    supplies = _supplies(work, given)
    print(f"float: {accuracy(proto, inputs, labels):.2%}", flush=True)
    common: dict[str, Any] = {"weight_bits": 4, "float_if_free": False}
    training: dict[str, Any] = {"epochs": given.epochs, "batch": 32, "threads": 1, "rate": 5e-3, "range_rate": 0.5}
    passes: dict[str, Pass] = {
        "nearest, minmax": Quantize(**common, **BAD),
        "nearest, minmax, trained": Qat(**common, **BAD, **training),
        "compensated, mse": Quantize(**common),
        "compensated, mse, trained": Qat(**common, **training),
    }
    for at, (name, pass_) in enumerate(passes.items()):
        if given.only not in name:
            continue
        out = work / f"made{at}"
        out.mkdir()
        print(f"{name}: {_judged(pass_(model, supplies, out), inputs, labels, work / f'engine{at}')}", flush=True)


def _float(kept: Path | None) -> onnx.ModelProto:
    if kept is not None and kept.exists():
        return onnx_file.infer_shapes(onnx_file.load(kept))
    inputs, labels = pictures("train")
    proto = network(16, 64, 0)
    fitted = fit(proto, material(proto, inputs, labels), TrainOptions(epochs=4, batch=128, rate=2e-3, held_out=0.0, threads=1))
    proto = trained(proto, fitted.values)
    if kept is not None:
        kept.write_bytes(proto.SerializeToString())
    return onnx_file.infer_shapes(proto)


def _supplies(work: Path, given: argparse.Namespace) -> Supplies:
    folder = work / "samples"
    folder.mkdir()
    inputs, _ = pictures("train", given.pictures + 1)
    for at, x in enumerate(inputs):
        np.savez(folder / f"{at:05}.npz", x=x)
    (folder / "samples.toml").write_text(f'schema = 1\nname = "fashion"\nkind = "arrays"\ncalibrate = {given.pictures}\n')
    scheme = choose("raspberry-pi-5:tflite").target.runtime("tflite").scheme
    if given.all and scheme is not None:
        scheme = msgspec.structs.replace(scheme, low_bit_static_ops=("Conv", "Gemm", "MatMul"))
    return Supplies(samples=read_samples(folder), scheme=scheme)


def _judged(quantized: Model, inputs: np.ndarray, labels: np.ndarray, out: Path) -> str:
    import torch
    from ai_edge_litert.interpreter import Interpreter

    out.mkdir()
    TfliteBackend().compile(quantized, choose("raspberry-pi-5:tflite").target, None, out)
    interpreter = Interpreter(model_path=str(out / read_engine(out).file), num_threads=1)
    interpreter.allocate_tensors()
    port, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for x in inputs:
        interpreter.set_tensor(port["index"], x.reshape(port["shape"]))
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(result["index"]).argmax()))
    module = trainable(with_open_batch(onnx_file.infer_shapes(onnx_file.load(quantized.path))))
    simulated: list[int] = []
    with torch.no_grad():
        for at in range(0, len(inputs), 100):
            (made,) = module({"x": torch.from_numpy(inputs[at : at + 100, 0])}).values()
            simulated += made.argmax(1).tolist()
    size = (out / read_engine(out).file).stat().st_size
    same = np.mean(np.array(found) == simulated)
    return f"{np.mean(np.array(found) == labels):.2%} in the engine of {size} bytes; the simulation agrees on {same:.2%}"


if __name__ == "__main__":
    main()
