"""int8 engines side by side: edgekit's against ``onnxruntime.quantization.quantize_static`` and engines you bring.

    python tests/benchmarks/int8_against_peers.py net.onnx samples/ [label=peer.onnx label=peer.tflite …]

``samples/`` is what ``edgekit build --samples`` takes; the same samples calibrate edgekit and ONNX Runtime (QDQ, per channel,
MinMax, uint8 activations), the others judge all engines against the float model. All engines run in one process, one thread,
in rounds of random order; the speed is the median over rounds of (float / engine), of the runtime's processor time. A peer's
.tflite must take NHWC if the model takes NCHW; its ports may be integers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np

import edgekit
from edgekit.engine.contract import read_engine
from edgekit.graph.onnx_file import load
from edgekit.graph.signature import signature_of
from edgekit.numerics.fidelity import fidelity
from edgekit.samples import read_samples, with_preprocess

Run = Callable[[np.ndarray], np.ndarray]


def onnx_engine(path: Path, config: dict[str, str] = MappingProxyType({})) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: np.ndarray) -> np.ndarray:
        began = time.process_time()
        made = session.run(None, {name: x})[0]
        run.took = time.process_time() - began
        return made

    return run


def tflite_engine(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    given, got = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: np.ndarray) -> np.ndarray:
        laid = x if tuple(given["shape"]) == x.shape else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        if given["dtype"] != np.float32:
            scale, zero_point = given["quantization"]
            limits = np.iinfo(given["dtype"])
            laid = np.clip(np.rint(laid / scale) + zero_point, limits.min, limits.max).astype(given["dtype"])
        interpreter.set_tensor(given["index"], laid)
        began = time.process_time()
        interpreter.invoke()
        run.took = time.process_time() - began
        made = interpreter.get_tensor(got["index"])
        if made.dtype != np.float32:
            scale, zero_point = got["quantization"]
            made = ((made.astype(np.float32) - zero_point) * scale).astype(np.float32)
        return made

    return run


def onnxruntime_int8(model: Path, name: str, calibrating: list[np.ndarray], out: Path) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibrating)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.left, None)
            return None if x is None else {name: x}

    prepared = out / "prepared.onnx"
    quant_pre_process(str(model), str(prepared))
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(prepared), str(out / "ort.onnx"), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return out / "ort.onnx"


def cpu_rounds(engines: dict[str, Run], inputs: list[np.ndarray], rounds: int) -> dict[str, np.ndarray]:
    """Median processor time of three queries, seconds, by engine and round."""
    generator = np.random.default_rng(0)
    seen: dict[str, list[float]] = {label: [] for label in engines}
    for turn in range(rounds + 1):
        x = inputs[turn % len(inputs)]
        for label in generator.permutation(list(engines)):
            engines[label](x)
            times = []
            for _ in range(3):
                engines[label](x)
                times.append(engines[label].took)  # the runtime alone: integer ports are converted outside of it
            if turn:  # the first round warms up
                seen[label].append(float(np.median(times)))
    return {label: np.array(times) for label, times in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("peers", nargs="*", metavar="label=engine")
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    samples = read_samples(given.samples)
    signature = with_preprocess(signature_of(load(given.model)), samples)
    name = signature.inputs[0].name
    parts = {part: [feed[name] for feed in samples.feeds(part, signature)] for part in ("calibrating", "judging")}
    with tempfile.TemporaryDirectory() as folder:
        report = edgekit.build(given.model, target=["x86", "rpi5"], samples=given.samples, out=folder, bench=False)
        paths = {f"edgekit {entry.runtime}": Path(folder, entry.path) for entry in report.engines}
        paths["onnxruntime quantize_static"] = onnxruntime_int8(given.model, name, parts["calibrating"], Path(folder))
        paths |= {label: Path(path) for label, _, path in (peer.partition("=") for peer in given.peers)}
        engines = {"float onnxruntime": onnx_engine(given.model)}
        recorded = {Path(folder, entry.path): read_engine(Path(folder, entry.path).parent).options for entry in report.engines}
        for label, path in paths.items():
            opened = recorded.get(path, {}).get("session_config", {})
            engines[label] = tflite_engine(path) if path.suffix == ".tflite" else onnx_engine(path, opened)
        reference = [{"y": engines["float onnxruntime"](x)} for x in parts["judging"]]
        times = cpu_rounds(engines, parts["judging"], given.rounds)
        print(f"{'engine':32}{'SQNR dB':>9}{'agreement':>11}{'CPU ms':>9}{'x float':>9}")
        for label, engine in engines.items():
            near = fidelity((wanted, {"y": engine(x)}) for wanted, x in zip(reference, parts["judging"], strict=True))
            sqnr = "-" if near.sqnr_db is None else f"{near.sqnr_db:.2f}"
            agreement = "-" if near.top1_agreement is None else f"{near.top1_agreement:.1%}"
            ratio = float(np.median(times["float onnxruntime"] / times[label]))
            print(f"{label:32}{sqnr:>9}{agreement:>11}{np.median(times[label]) * 1e3:9.2f}{ratio:9.2f}")


if __name__ == "__main__":
    main()
