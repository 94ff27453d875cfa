"""Quantization-aware training on a few unlabelled samples: fidelity on samples not seen, update after update, and in the engine.

    python tests/benchmarks/learn/qat_curve.py net.onnx samples/ --target x86 [--samples N] [--views 20] [--set epochs=6 …]

``samples/`` is what ``edgekit build --samples`` takes: those that calibrate train, or the first N of them, and those that judge are
the unseen ones. The start is the recipe ``static_wi8_ai8`` with no node kept in float. SQNR is of all outputs against the float model in
ONNX Runtime; the simulation is the torch module, the engine what the target's backend makes, run on this machine. The two are also
compared on so many views of each unseen sample: windows of 60 to 100 % of its sides, drawn at random and brought back to its size.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgekit import plugins
from edgekit.engine.contract import read_engine
from edgekit.graph import onnx_file
from edgekit.graph.run import Runner
from edgekit.model import Model, Store, seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.learn import fit, material_of, teacher_of
from edgekit.passes.learn.qat import Qat
from edgekit.passes.learn.qat.simulated import FakeQuantization, Rates
from edgekit.passes.learn.qat.training import simulated
from edgekit.passes.learn.technique import Technique
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.sensitivity import with_numbers
from edgekit.pipeline.line import ingested, passed, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Chosen, Request, check, runtime_of
from edgekit.samples import Samples
from edgekit.watch import SILENT

Array = NDArray[Any]
Run = Callable[[Array], Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--target", default="x86")
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--looks", type=int, default=5)
    parser.add_argument("--views", type=int, default=0)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--set", nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(1)
    options: dict[str, Any] = {"float_if_free": False, "threads": 1}
    options |= {name: _number(text) for name, text in (one.split("=") for one in given.set)}
    how = Qat(**options)
    plan = check(Request(source=given.model, targets=(given.target,), recipe="static_wi8_ai8", samples=given.photos))
    workshop = Workshop(store=Store(given.store) if given.store else Store(), watcher=SILENT)
    teacher = prepared(plan, ingested(plan, workshop)[0], workshop)
    one, equalize = plan.chosen[0], next(step for step in plan.steps if step.name == "equalize")
    _measure(passed(equalize, teacher, plan, workshop, one=one), teacher, one, plan.samples, how, given, workshop)


def _measure(model: Model, teacher: Model, one: Chosen, samples: Samples, how: Qat, given: argparse.Namespace, workshop: Workshop) -> None:
    few = msgspec.structs.replace(samples, calibrating=samples.calibrating[: given.samples or None])
    proto = onnx_file.infer_shapes(onnx_file.load(model.path))
    quantize = Quantize(float_if_free=how.float_if_free, weight_bits=how.weight_bits)
    found = quantize.find(model, proto, Supplies(samples=samples, scheme=runtime_of(one).scheme, shared=workshop.shared))
    student, technique = simulated(proto, found, runtime_of(one).scheme, Rates(biases=how.bias_rate, ranges=how.range_rate))
    reference = Runner(teacher.path, threads=1)
    name, output = next(value.name for value in proto.graph.input), proto.graph.output[0].name
    unseen = [feed[name] for feed in samples.feeds("judging", model.signature)]
    seen = [feed[name] for feed in itertools.islice(few.feeds("calibrating", model.signature), 50)]
    sets = {"unseen": (unseen, [reference({name: x})[output] for x in unseen]), "seen": (seen, [reference({name: x})[output] for x in seen])}
    before = _engine(with_numbers(proto, found.decision), model, one)
    print(f"{one.key}, {len(few.calibrating)} samples, {how.epochs} epochs of batches of {how.batch}; {len(unseen)} unseen")
    print("start, engine: " + _said({which: (wanted, [before(x) for x in inputs]) for which, (inputs, wanted) in sets.items()}), flush=True)
    curve = Curve(technique, sets, name, output, given.looks)
    began = time.process_time()
    fitted = fit(student, material_of(few, model.signature, [teacher_of(teacher, threads=1)]), how, techniques=[technique, curve])
    print(f"trained in {time.process_time() - began:.0f} s of processor time; {fitted.sentence()}", flush=True)
    after = _engine(with_numbers(proto, technique.decision()), model, one)
    made = {which: [after(x) for x in inputs] for which, (inputs, _) in sets.items()}
    print("kept, engine: " + _said({which: (wanted, made[which]) for which, (_, wanted) in sets.items()}))
    played = {which: [curve.run(x) for x in inputs] for which, (inputs, _) in sets.items()}
    print("kept, simulation: " + _said({which: (wanted, played[which]) for which, (_, wanted) in sets.items()}))
    print("simulation against engine: " + _said({which: (made[which], played[which]) for which in sets}))
    if given.views:
        views = list(_views(unseen, given.views))
        pair = [after(x) for x in views], [curve.run(x) for x in views]
        print(f"simulation against engine, {len(views)} views: " + _said({"unseen": pair}))


class Curve(Technique):
    """Changes nothing, and looks at the student on the way."""

    def __init__(self, technique: FakeQuantization, sets: Any, name: str, output: str, looks: int) -> None:
        super().__init__()
        self._of, self._sets, self._ports, self._looks = [technique], sets, (name, output), looks

    def install(self, graph: Any) -> None:
        self._graph = [graph]

    def run(self, x: Array) -> Array:
        name, output = self._ports
        processor = next(self._of[0].parameters()).device  # the graph itself has none any more
        with torch.no_grad(), processor:
            made = self._graph[0]({name: torch.from_numpy(x).to(processor)}, self._of[0].instead(self._graph[0].constant))
        return np.asarray(made[output].cpu().numpy())

    def after_step(self, moment: Any) -> None:
        if moment.step % max(moment.steps // self._looks, 1) == 0:
            print(f"step {moment.step}: " + _said({"unseen": (self._sets["unseen"][1], list(map(self.run, self._sets["unseen"][0])))}), flush=True)


def _views(inputs: Sequence[Array], each: int) -> Iterator[Array]:
    draw = np.random.default_rng(0)
    for x, _ in itertools.product(inputs, range(each)):
        height, width = (max(int(side * draw.uniform(0.6, 1.0)), 1) for side in x.shape[2:])
        top, left = draw.integers(x.shape[2] - height + 1), draw.integers(x.shape[3] - width + 1)
        window = torch.from_numpy(x[:, :, top : top + height, left : left + width])
        yield torch.nn.functional.interpolate(window, size=x.shape[2:], mode="bicubic", align_corners=False).numpy()


def _engine(quantized: onnx.ModelProto, model: Model, one: Chosen) -> Run:
    folder = Path(tempfile.mkdtemp())
    (folder / "graph").mkdir()
    (folder / "engine").mkdir()
    onnx_file.save(onnx_file.infer_shapes(quantized), folder / "graph")
    sealed = seal_model(folder / "graph", model.signature, ())
    plugins.load("edgekit.backends", one.runtime)().compile(sealed, one.target, None, folder / "engine")
    engine = read_engine(folder / "engine")
    return _opened(folder / "engine" / engine.file, engine)


def _opened(file: Path, engine: Any) -> Run:
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        for key, value in engine.options.get("session_config", {}).items():
            options.add_session_config_entry(key, value)
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    port, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: Array) -> Array:
        interpreter.set_tensor(port["index"], x if tuple(port["shape"]) == x.shape else np.ascontiguousarray(np.moveaxis(x, 1, -1)))
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def _said(sets: dict[str, tuple[Sequence[Array], Sequence[Array]]]) -> str:
    words = []
    for which, (wanted, got) in sets.items():
        one, other = (np.concatenate([value.reshape(1, -1) for value in values]).astype(np.float64) for values in (wanted, got))
        sqnr = 10.0 * np.log10(np.square(one).sum() / np.square(one - other).sum())
        words.append(f"{which} {sqnr:.2f} dB, top-1 {(one.argmax(1) == other.argmax(1)).mean():.1%}")
    return "; ".join(words)


def _number(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else float(text) if text.replace(".", "").replace("e-", "").isdigit() else text


if __name__ == "__main__":
    main()
