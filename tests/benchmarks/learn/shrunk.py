"""What clustering, factorizing and ternary weights cost a small network, and how small its engines become.

python tests/benchmarks/learn/shrunk.py [--only cluster,ternary] [--train 60000] [--tune 12000] [--epochs 5] [--float net.onnx]

The network is trained on labels first (or read from ``--float``, where it is left for the next time). Each technique is a step of its own,
followed by ``finetune``, whose teacher is the float network, on the first ``--tune`` training pictures and their labels; then by
``quantize``, and by LiteRT's engine. Accuracy is of the 10,000 test pictures, seen by nobody before. Sizes are of the engine's file as it
is, and after DEFLATE at level 9 (what zip makes of it).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from fashion import accuracy, material, network, pictures

from edgekit.engine.tflite import TfliteBackend
from edgekit.graph import onnx_file
from edgekit.graph.inspect import layers, totals
from edgekit.graph.signature import signature_of
from edgekit.graph.trainable import trained
from edgekit.model import Model, seal_model
from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.compress.factorize import Factorize
from edgekit.passes.contract import Pass, Supplies
from edgekit.passes.learn import TrainOptions, fit
from edgekit.passes.learn.finetune import Finetune
from edgekit.passes.quantize import Quantize
from edgekit.samples import Samples, read_samples
from edgekit.target import Chosen, choose

TARGET: Chosen = choose("raspberry-pi-5:tflite")
TUNING = {"rate": 5e-4, "batch": 64, "held_out": 0.1, "threads": 1, "labels": 0.3}
STEPS: dict[str, list[Pass]] = {
    "nothing": [],
    "cluster": [Cluster(bits=4, scope="layer")],
    "cluster_scaled": [Cluster(bits=4, scope="scaled")],
    "cluster_2_bits": [Cluster(bits=2, scope="scaled")],
    "ternary": [Binarize(kind="ternary")],
    "ternary_learned": [Binarize(kind="ternary", train=True, epochs=4, **{**TUNING, "rate": 1e-3})],
    "binary_learned": [Binarize(kind="binary", train=True, epochs=4, **{**TUNING, "rate": 1e-3})],
    "activations": [Binarize(kind="binary", activations=True)],
    "activations_learned": [Binarize(kind="binary", activations=True, train=True, epochs=12, **{**TUNING, "rate": 1e-3})],
    "svd_dense": [Factorize(ops=("Gemm",), of="parameters", ratio=0.5, multiple_of=4)],
    "lu_dense": [Factorize(ops=("Gemm",), of="parameters", ratio=0.5, multiple_of=4, method="lu")],
    "convolutions": [Factorize(ops=("Conv",), of="macs", ratio=0.5, multiple_of=4)],
    "separable": [Factorize(ops=("Conv",), of="macs", ratio=0.5, method="separable")],
}


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--only", default=",".join(STEPS))
    asked.add_argument("--train", type=int, default=60000)
    asked.add_argument("--tune", type=int, default=12000)
    asked.add_argument("--epochs", type=int, default=5)
    asked.add_argument("--tune-epochs", type=int, default=4)
    asked.add_argument("--float", type=Path)
    told = asked.parse_args()
    judged = pictures("t10k")
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        before = sealed(_float(told), where / "float")
        samples = _samples(where / "samples", told.tune)
        reference = _measured("float", before, judged, where / "float-engine")
        for name in told.only.split(","):
            _one(name, before, Supplies(samples=samples, teacher=before), judged, where / name, told.tune_epochs, reference)


def _one(name: str, model: Model, supplies: Supplies, judged, where: Path, epochs: int, reference: dict) -> None:
    began = time.process_time()
    for at, step in enumerate(STEPS[name]):
        model = _done(step, model, supplies, where / f"{at}")
    if STEPS[name]:
        said = {"compressed_accuracy": accuracy(onnx.load(model.path), *judged)}
        if not getattr(STEPS[name][-1], "train", False):
            model = _done(Finetune(epochs=epochs, **TUNING), model, supplies, where / "tuned")
            said["tuned_accuracy"] = accuracy(onnx.load(model.path), *judged)
    else:
        said = {}
    counted = totals(layers(onnx.load(model.path)))
    said |= {"parameters": counted.parameters, "macs": counted.macs}
    said |= {f"float_{key}": value for key, value in _sizes(model, where / "float-engine").items()}
    scheme = TARGET.target.runtime("tflite").scheme
    integer = _done(Quantize(), model, Supplies(samples=_few(supplies.samples), scheme=scheme), where / "int8")
    said |= _measured(name, integer, judged, where / "int8-engine")
    say(**said, smaller=round(reference["compressed"] / said["compressed"], 2), cpu_s=round(time.process_time() - began, 1))


def _measured(name: str, model: Model, judged, where: Path) -> dict:
    found = {"what": name, "accuracy": accuracy(onnx.load(model.path), *judged), **_sizes(model, where)}
    if name == "float":
        counted = totals(layers(onnx.load(model.path)))
        say(**found, parameters=counted.parameters, macs=counted.macs)
    return found


def _sizes(model: Model, where: Path) -> dict[str, int]:
    where.mkdir(parents=True)
    TfliteBackend().compile(model, TARGET.target, None, where)
    content = next(where.rglob("*.tflite")).read_bytes()
    return {"bytes": len(content), "compressed": len(zlib.compress(content, 9))}


def _done(step: Pass, model: Model, supplies: Supplies, where: Path) -> Model:
    where.mkdir(parents=True)
    return step(model, supplies, where)


def _few(samples: Samples) -> Samples:
    import msgspec

    return msgspec.structs.replace(samples, calibrating=samples.calibrating[:200])


def _float(told) -> onnx.ModelProto:
    if told.float is not None and told.float.exists():
        return onnx_file.load(told.float)
    proto = network(16, 100, 0)
    options = TrainOptions(rate=2e-3, batch=64, held_out=0.05, threads=1, epochs=told.epochs, average="ema", decay=0.998)
    made = trained(proto, fit(proto, material(proto, *pictures("train", told.train)), options).values)
    if told.float is not None:
        onnx.save(made, told.float)
    return made


def sealed(proto: onnx.ModelProto, folder: Path) -> Model:
    folder.mkdir(parents=True)
    onnx_file.save(onnx_file.infer_shapes(proto), folder)
    return seal_model(folder, signature_of(proto), ())


def _samples(folder: Path, count: int) -> Samples:
    folder.mkdir()
    inputs, labels = pictures("train", count)
    for at, one in enumerate(inputs):
        np.savez(folder / f"{at:05}.npz", x=one)
    (folder / "labels.csv").write_text("file,class_index\n" + "".join(f"{at:05}.npz,{label}\n" for at, label in enumerate(labels)))
    (folder / "samples.toml").write_text(f'schema = 1\nname = "fashion"\nkind = "arrays"\ncalibrate = {count - 1}\n')
    return read_samples(folder)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
