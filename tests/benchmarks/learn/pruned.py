"""Half the multiply-adds of a small network for Fashion-MNIST pruned away, and of the same by torch-pruning.

python tests/benchmarks/learn/pruned.py [--net cnn|resnet20|keras] [--train 12000] [--epochs 4] [--tune 4] [--of macs|latency] [--peer]

A network is trained on labels first. It is pruned at once, by what its outputs lose to first order, and learns again from what it
was and from the labels; the peer (``pip install torch-pruning``, 1.6.1) prunes the same weights by its group norms or its
first-order importance to the same multiply-adds, and learns by the same trainer with the same options. The test pictures judge,
of which nothing was seen before. Latency: medians of interleaved runs of one thread, of the engines that edgekit compiles.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from fashion import accuracy, material, network, pictures

from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph.inspect import layers, totals
from edgekit.graph.onnx_file import infer_shapes, save
from edgekit.graph.signature import signature_of
from edgekit.graph.trainable import trained
from edgekit.model import Model, Store, seal_model
from edgekit.passes.compress.prune import Prune
from edgekit.passes.contract import Supplies
from edgekit.passes.learn import Teacher, TrainOptions, fit
from edgekit.pipeline.line import ingested, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Request, check
from edgekit.samples import Samples, read_samples
from edgekit.target import choose
from edgekit.watch import SILENT

TARGET = choose("x86").target


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--net", choices=["cnn", "resnet20", "keras"], default="cnn")
    asked.add_argument("--base", type=Path, help="a trained network, instead of training one")
    asked.add_argument("--train", type=int, default=12000)
    asked.add_argument("--epochs", type=int, default=4)
    asked.add_argument("--tune", type=int, default=4)
    asked.add_argument("--ratio", type=float, default=0.5)
    asked.add_argument("--of", choices=["macs", "latency"], default="macs")
    asked.add_argument("--importance", default="taylor")
    asked.add_argument("--steps", type=int, default=1)
    asked.add_argument("--peer", action="store_true")
    asked.add_argument("--judge", type=int, default=10000)
    told = asked.parse_args()
    seen, judged = pictures("train", told.train), pictures("t10k", told.judge)
    base = infer_shapes(onnx.load(told.base)) if told.base else _drawn(told.net)
    shape = [dim.dim_value for dim in base.graph.input[0].type.tensor_type.shape.dim]  # Keras has the one channel last
    seen, judged = ((pixels.reshape(-1, *shape), labels) for pixels, labels in (seen, judged))
    if told.base is None:
        base = trained_on(base, seen, told.epochs)
        onnx.save(base, f"{told.net}.onnx")
    graphs = {"float": base}
    options = {"ratio": told.ratio, "of": told.of, "importance": told.importance, "steps": told.steps}
    graphs["pruned"] = pruned_by_pass(base, seen, options)
    if told.peer:
        graphs |= {f"torch-pruning, {name}": made for name, made in _by_peer(base, totals(layers(graphs["pruned"])).macs, seen).items()}
    for name in list(graphs)[1:]:
        began = time.monotonic()
        graphs[name + ", tuned"] = tuned_from(graphs[name], base, seen, told.tune)
        print(f"{name}: tuned in {time.monotonic() - began:.0f} s", flush=True)
    speeds = latencies_ms(graphs)
    for name, proto in graphs.items():
        total = totals(layers(proto))
        share = accuracy(proto, *judged)
        timed = " ".join(f"{runtime} {speeds[runtime][name]:.3f} ms ({speeds[runtime]['float'] / speeds[runtime][name]:.2f}x)" for runtime in speeds)
        print(f"{name:34} {100 * share:6.2f} %  {total.macs / 1e6:6.2f} M macs {total.parameters / 1e3:7.1f} k parameters  {timed}", flush=True)


def _drawn(kind: str) -> onnx.ModelProto:
    if kind == "cnn":
        return network(32, 64, 0)
    return resnet20() if kind == "resnet20" else of_keras()


def trained_on(proto: onnx.ModelProto, seen: tuple[np.ndarray, np.ndarray], epochs: int) -> onnx.ModelProto:
    options = TrainOptions(epochs=epochs, batch=64, rate=2e-3, labels=1.0, held_out=0.1, threads=1)
    return trained(proto, fit(proto, material(proto, *seen), options).values)


def tuned_from(proto: onnx.ModelProto, base: onnx.ModelProto, seen: tuple[np.ndarray, np.ndarray], epochs: int) -> onnx.ModelProto:
    teacher = Teacher(infer_shapes(base), signature_of(base), has_labels=True)
    options = TrainOptions(epochs=epochs, batch=64, rate=1e-3, labels=0.5, held_out=0.1, threads=1)
    return trained(proto, fit(proto, material(proto, *seen, (teacher,)), options).values)


def pruned_by_pass(base: onnx.ModelProto, seen: tuple[np.ndarray, np.ndarray], options: dict) -> onnx.ModelProto:
    """By the pass itself, on the first of the training pictures."""
    samples = _written(seen)
    model = _sealed(base)
    out = Path(tempfile.mkdtemp())
    cost = None
    if options["of"] == "latency":
        cost = _cost_ms
    runtime = TARGET.runtime("onnxruntime")
    supplies = Supplies(samples=samples, channel_multiple=runtime.channel_multiple, teacher=model, cost=cost)
    began = time.monotonic()
    made = Prune(**options)(model, supplies, out)
    kept = ", ".join(f"{one['node']} {one['channels']} → {one['kept']}" for one in made.history[-1].did["groups"])
    print(f"pruned in {time.monotonic() - began:.0f} s: {kept}", flush=True)
    return infer_shapes(onnx.load(made.path))


def _written(seen: tuple[np.ndarray, np.ndarray], count: int = 256) -> Samples:
    folder = Path(tempfile.mkdtemp())
    for index in range(count):
        np.savez(folder / f"{index:04}.npz", x=seen[0][index])
    (folder / "samples.toml").write_text(f'schema = 1\nname = "fashion"\nkind = "arrays"\ncalibrate = {count - 16}\n')
    return read_samples(folder)


def _sealed(proto: onnx.ModelProto) -> Model:
    folder = Path(tempfile.mkdtemp())
    save(proto, folder)
    return seal_model(folder, signature_of(proto), ())


# --- latency


def _runners(proto: onnx.ModelProto) -> dict:
    """A call of one query, by runtime, in the engines that edgekit compiles."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    folders = {backend.runtime: Path(tempfile.mkdtemp()) for backend in (OnnxRuntimeBackend, TfliteBackend)}
    for backend in (OnnxRuntimeBackend, TfliteBackend):
        backend().compile(_sealed(proto), TARGET, None, folders[backend.runtime])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(folders["onnxruntime"] / "model.onnx", options)
    feed = {one.name: np.random.default_rng(0).standard_normal(one.shape).astype(np.float32) for one in session.get_inputs()}
    interpreter = Interpreter(str(folders["tflite"] / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    for one in interpreter.get_input_details():
        interpreter.set_tensor(one["index"], np.random.default_rng(0).standard_normal(one["shape"]).astype(np.float32))
    return {"onnxruntime": lambda: session.run(None, feed), "tflite": interpreter.invoke}


def latencies_ms(graphs: dict, queries: int = 300) -> dict:
    calls = {name: _runners(proto) for name, proto in graphs.items()}
    found = {}
    for runtime in ("onnxruntime", "tflite"):
        times = {name: [] for name in graphs}
        for turn in range(queries + 10):
            for name, call in calls.items():
                began = time.process_time_ns()
                call[runtime]()
                if turn >= 10:
                    times[name].append(time.process_time_ns() - began)
        found[runtime] = {name: float(np.median(taken)) / 1e6 for name, taken in times.items()}
    return found


def _cost_ms(model: Model) -> float:
    call = _runners(infer_shapes(onnx.load(model.path)))["onnxruntime"]
    for _ in range(20):
        call()
    times = []
    for _ in range(200):
        began = time.process_time_ns()
        call()
        times.append(time.process_time_ns() - began)
    return float(np.median(times)) / 1e6


# --- networks


def resnet20() -> onnx.ModelProto:
    """The shape of He et al.'s ResNet-20 for CIFAR-10, on 28 x 28 pictures of one channel, projections where the size changes."""
    draw = np.random.default_rng(0)
    lines, weights = [], {}

    def conv(source: str, name: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        weights[f"{name}_w"] = draw.normal(size=(outputs, inputs, kernel, kernel)) * np.sqrt(2.0 / (inputs * kernel * kernel)) * 0.7
        weights[f"{name}_b"] = np.zeros(outputs)
        pad = kernel // 2
        lines.append(f"{name} = Conv<pads=[{pad},{pad},{pad},{pad}], strides=[{stride},{stride}]>({source}, {name}_w, {name}_b)")
        return name

    def relu(source: str) -> str:
        lines.append(f"{source}_r = Relu({source})")
        return f"{source}_r"

    at, channels = relu(conv("x", "stem", 1, 16, 3, 1)), 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            inner = relu(conv(at, f"{name}c1", channels, width, 3, stride))
            inner = conv(inner, f"{name}c2", width, width, 3, 1)
            skip = conv(at, f"{name}p", channels, width, 1, stride) if channels != width else at
            lines.append(f"{name} = Add({inner}, {skip})")
            at, channels = relu(name), width
    weights |= {"fc_w": draw.normal(size=(64, 10)) * 0.1, "fc_b": np.zeros(10)}
    lines.append(f"g = GlobalAveragePool({at}) f = Flatten(g) l = Gemm(f, fc_w, fc_b) y = Softmax(l)")
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net (float[1,1,28,28] x) => (float[1,10] y) {' + " ".join(lines) + "}")
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items())
    for node in proto.graph.node:
        node.name = node.output[0]
    return infer_shapes(proto)


def of_keras(seed: int = 0) -> onnx.ModelProto:
    """The small network as Keras draws it, through edgekit's own frontend, simplified and fused."""
    return _ingested(Request(source=Path("keras.Model"), live=_keras(seed), targets=("x86",), recipe="float"))


def of_torch(seed: int = 0) -> onnx.ModelProto:
    """The same in PyTorch, with the very weights that Keras drew, through edgekit's own frontend, simplified and fused."""
    import torch
    from torch import nn

    held = [value for layer in _keras(seed).layers for value in layer.get_weights()]
    module = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 49, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1)),
    )
    held[4] = held[4].reshape(7, 7, 64, 64).transpose(2, 0, 1, 3).reshape(64 * 49, 64)  # torch flattens channels first
    for layer, weight, bias in zip((0, 3, 7, 9), held[::2], held[1::2], strict=True):
        turned = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        module[layer].weight.data = torch.from_numpy(np.ascontiguousarray(turned))
        module[layer].bias.data = torch.from_numpy(bias)
    file = Path(tempfile.mkdtemp()) / "net.pt2"
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 1, 28, 28),)), file)
    return _ingested(Request(source=file, targets=("x86",), recipe="float"))


def _keras(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    part = [keras.layers.Input((28, 28, 1), batch_size=1)]
    for channels in (32, 64):
        part += [keras.layers.Conv2D(channels, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
    part += [keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    return keras.Sequential(part)


def _ingested(request: Request) -> onnx.ModelProto:
    plan = check(request)
    workshop = Workshop(store=Store(Path(tempfile.mkdtemp())), watcher=SILENT)
    model, _ = ingested(plan, workshop)
    proto = onnx.load(prepared(plan, model, workshop).path)
    names = {proto.graph.input[0].name: "x", proto.graph.output[0].name: "y"}
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names[value.name]
    for node in proto.graph.node:
        for held in (node.input, node.output):
            held[:] = [names.get(name, name) for name in held]
    return infer_shapes(proto)


# --- the peer


def _by_peer(base: onnx.ModelProto, macs: int, seen: tuple[np.ndarray, np.ndarray]) -> dict[str, onnx.ModelProto]:
    """The small network by torch-pruning to as many multiply-adds at most, by two of its importances."""
    import torch
    import torch_pruning
    from torch import nn

    def module() -> nn.Module:
        values = {tensor.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(tensor))) for tensor in base.graph.initializer}
        made = nn.Sequential(
            *(nn.Conv2d(1, len(values["w0"]), 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(len(values["w0"]), len(values["w1"]), 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(*values["w2"].shape), nn.ReLU(), nn.Linear(*values["w3"].shape)),
        )
        for layer, number in zip((0, 3, 7, 9), range(4), strict=True):
            weight = values[f"w{number}"]
            made[layer].weight.data = weight if weight.ndim == 4 else weight.T.contiguous()
            made[layer].bias.data = values[f"b{number}"]
        return made.eval()

    found = {}
    pictures_seen, labels = torch.from_numpy(seen[0][:240, 0]), torch.from_numpy(seen[1][:240])
    for name, importance in {
        "group norms": torch_pruning.importance.GroupMagnitudeImportance(),
        "taylor": torch_pruning.importance.GroupTaylorImportance(),
    }.items():
        for share in np.arange(0.02, 0.9, 0.01):
            net = module()
            if name == "taylor":
                nn.functional.cross_entropy(net(pictures_seen), labels).backward()
            pruner = torch_pruning.pruner.BasePruner(
                net, pictures_seen[:1], importance=importance, pruning_ratio=float(share), global_pruning=True, round_to=8, ignored_layers=[net[9]]
            )
            pruner.step()
            proto = _of_torch(net)
            if totals(layers(proto)).macs <= macs:
                found[name] = proto
                break
    return found


def _of_torch(net: object) -> onnx.ModelProto:
    proto = network(net[0].out_channels, net[7].out_features, 0)  # type: ignore[index]
    values = {}
    for layer, number in zip((0, 3, 7, 9), range(4), strict=True):
        weight = net[layer].weight.detach().numpy()  # type: ignore[index]
        values[f"w{number}"] = weight if weight.ndim == 4 else weight.T
        values[f"b{number}"] = net[layer].bias.detach().numpy()  # type: ignore[index]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items())
    del proto.graph.value_info[:]
    return infer_shapes(proto)


if __name__ == "__main__":
    main()
