"""Dynamic int8 and integer weights beside float, in ONNX Runtime and TFLite: fidelity, bytes and processor time.

    python tests/benchmarks/recipes_without_samples.py net.onnx samples/
    python tests/benchmarks/recipes_without_samples.py net.onnx samples/ --recipes static_wi8_ai8 static_wi8_ai16 --runtimes tflite

``samples/`` is what ``edgekit build --samples`` takes; those that judge are compared with the float model in ONNX Runtime. All
engines run in one process, one thread, in rounds of random order; the time is the median over rounds of (engine / float
engine of the same runtime), of processor time. TFLite knows no blocks: its engines of few bits have one scale a channel.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import edgekit
from edgekit.engine.contract import Engine, read_engine
from edgekit.graph.onnx_file import load
from edgekit.graph.signature import signature_of
from edgekit.numerics.fidelity import fidelity
from edgekit.samples import read_samples, with_preprocess

Run = Callable[[np.ndarray], np.ndarray]
RECIPES = ("float", "dynamic_wi8_afp32", "weight_only_wi8_afp32", "weight_only_wi4_afp32", "weight_only_wi2_afp32")
FEW_BITS = RECIPES[3:]


def onnx_engine(folder: Path, engine: Engine) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in engine.options.get("session_config", {}).items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(folder / engine.file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def tflite_engine(folder: Path, engine: Engine) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / engine.file), num_threads=1)
    interpreter.allocate_tensors()
    given, got = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: np.ndarray) -> np.ndarray:
        laid = x if tuple(given["shape"]) == x.shape else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        interpreter.set_tensor(given["index"], laid)
        interpreter.invoke()
        return interpreter.get_tensor(got["index"])

    return run


OPENED_BY = {"onnxruntime": onnx_engine, "tflite": tflite_engine}


def built(model: Path, samples: Path, out: Path, recipes: list[str], runtimes: list[str]) -> dict[tuple[str, str], tuple[Engine, Run]]:
    """Every recipe's engines, by runtime and recipe; those of ``float`` in any case."""
    engines = {}
    for runtime in runtimes:
        open_engine = OPENED_BY[runtime]
        for recipe in dict.fromkeys(["float", *recipes]):
            settings = {"quantize": {"block": 0}} if runtime == "tflite" and recipe in FEW_BITS else {}
            folder = out / f"{runtime}-{recipe}"
            report = edgekit.build(model, target=f"x86:{runtime}", recipe=recipe, samples=samples, settings=settings, out=folder, bench=False)
            place = (folder / next(entry.path for entry in report.engines if entry.path)).parent
            engine = read_engine(place)
            engines[runtime, recipe] = engine, open_engine(place, engine)
    return engines


def cpu_rounds(engines: dict[tuple[str, str], Run], inputs: list[np.ndarray], rounds: int) -> dict[tuple[str, str], np.ndarray]:
    """Median processor time of three queries, seconds, by engine and round."""
    generator = np.random.default_rng(0)
    labels = list(engines)
    seen: dict[tuple[str, str], list[float]] = {label: [] for label in labels}
    for turn in range(rounds + 1):
        x = inputs[turn % len(inputs)]
        for index in generator.permutation(len(labels)):
            times = []
            for _ in range(4):
                began = time.process_time()
                engines[labels[index]](x)
                times.append(time.process_time() - began)
            if turn:  # the first round warms up, and so does each first query
                seen[labels[index]].append(float(np.median(times[1:])))
    return {label: np.array(times) for label, times in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--runtimes", nargs="+", choices=OPENED_BY, default=list(OPENED_BY))
    parser.add_argument("--judging", type=int, default=100, help="at most so many samples judge")
    given = parser.parse_args()
    samples = read_samples(given.samples)
    signature = with_preprocess(signature_of(load(given.model)), samples)
    judging = [feed[signature.inputs[0].name] for feed in samples.feeds("judging", signature)][: given.judging]
    with tempfile.TemporaryDirectory() as folder:
        engines = built(given.model, given.samples, Path(folder), given.recipes, given.runtimes)
        reference = [{"y": engines[given.runtimes[0], "float"][1](x)} for x in judging]
        times = cpu_rounds({label: run for label, (_, run) in engines.items()}, judging, given.rounds)
        print(f"{'runtime':13}{'recipe':24}{'precision':20}{'MB':>7}{'SQNR dB':>9}{'agreement':>11}{'CPU ms':>9}{'x float':>9}")
        for (runtime, recipe), (engine, run) in engines.items():
            near = fidelity((wanted, {"y": run(x)}) for wanted, x in zip(reference, judging, strict=True))
            sqnr = "-" if near.sqnr_db is None else f"{near.sqnr_db:.1f}"
            agreement = "-" if near.top1_agreement is None else f"{near.top1_agreement:.1%}"
            seconds = times[runtime, recipe]
            ratio = float(np.median(seconds / times[runtime, "float"]))
            sizes = f"{engine.bytes / 1e6:7.2f}{sqnr:>9}{agreement:>11}{np.median(seconds) * 1e3:9.2f}{ratio:9.2f}"
            print(f"{runtime:13}{recipe:24}{engine.precision:20}{sizes}")


if __name__ == "__main__":
    main()
