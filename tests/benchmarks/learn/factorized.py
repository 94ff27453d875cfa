"""Multiply-adds and measured latency of a network whose layers became products of smaller ones, and how near it is before any training.

python tests/benchmarks/learn/factorized.py NET.onnx|.pt2|.keras [--samples DIR] [--ratios 0.25,0.5] [--method auto] [--runs 20]

Processor time of one thread as a multiple of that of the network as it was, median over runs in turn, in ONNX Runtime and LiteRT, both in
float. SQNR and agreement are of samples that judge; networks with drawn weights have no samples worth looking at.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from pays import engine, in_onnxruntime, in_tflite, timed

from edgekit.graph.inspect import layers, totals
from edgekit.graph.run import Runner
from edgekit.ingest.contract import IngestOptions, ingest
from edgekit.model import Model
from edgekit.passes.compress.factorize import Factorize
from edgekit.passes.contract import Supplies
from edgekit.passes.fuse import Fuse
from edgekit.passes.simplify import Simplify
from edgekit.samples import Samples, read_samples, with_preprocess

JUDGED = 60


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("net", type=Path)
    asked.add_argument("--samples", type=Path)
    asked.add_argument("--ratios", default="0.25,0.5")
    asked.add_argument("--method", default="auto")
    asked.add_argument("--runs", type=int, default=20)
    told = asked.parse_args()
    samples = read_samples(told.samples) if told.samples else None
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        models = {"as it was": prepared(told.net, samples, where)}
        for ratio in map(float, told.ratios.split(",")):
            (where / f"{ratio}").mkdir()
            models[f"{ratio:g}"] = Factorize(ratio=ratio, method=told.method)(models["as it was"], Supplies(samples=samples), where / f"{ratio}")
        took = {}
        for runtime, opened in (("onnxruntime", in_onnxruntime), ("tflite", in_tflite)):
            engines = {name: opened(engine(runtime, model, where / f"{runtime}-{name}")) for name, model in models.items()}
            took[runtime] = timed(engines, told.runs)
        for name, model in models.items():
            counted = totals(layers(onnx.load(model.path)))
            said = {f"time_{runtime}": round(times[name] / times["as it was"], 2) for runtime, times in took.items()}
            said |= {f"ms_{runtime}": round(times[name] * 1000 / 3, 2) for runtime, times in took.items()}
            forms = model.history[-1].did.get("forms", {})
            near = nearness(models["as it was"], model, samples) if samples is not None else {}
            print(json.dumps({"ratio": name, "macs": counted.macs, "parameters": counted.parameters, "forms": forms, **said, **near}), flush=True)


def prepared(net: Path, samples: Samples | None, where: Path) -> Model:
    for name in ("source", "simplified", "fused"):
        (where / name).mkdir()
    model = ingest(net, options=IngestOptions(trust=True), out=where / "source")
    model = Fuse()(Simplify()(model, Supplies(), where / "simplified"), Supplies(), where / "fused")
    if samples is None:
        return model
    import msgspec

    return msgspec.structs.replace(model, signature=with_preprocess(model.signature, samples))


def nearness(before: Model, after: Model, samples: Samples) -> dict[str, float | None]:
    runs, made = (Runner(before.path), Runner(after.path)), ([], [])
    for feed in itertools.islice(samples.feeds("judging", before.signature), JUDGED):
        for run, held in zip(runs, made, strict=True):
            held.append(next(iter(run(feed).values())).reshape(-1))
    old, new = (np.stack(one) for one in made)
    noise, power = (float(np.square(one, dtype=np.float64).sum()) for one in (old - new, old))
    near = round(10.0 * np.log10(power / noise), 1) if noise else None
    return {"sqnr_db": near, "agreement": round(float(np.mean(old.argmax(1) == new.argmax(1))), 3)}


if __name__ == "__main__":
    main()
