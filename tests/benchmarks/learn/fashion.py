"""Fashion-MNIST (Debian's package dataset-fashion-mnist, MIT) as arrays, and small networks for it as ONNX graphs with drawn weights."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx

from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.run import Runner
from edgekit.graph.signature import signature_of
from edgekit.passes.learn import Material

FOLDER = Path("/usr/share/datasets/fashion-mnist")
MEAN, STD = 72.94, 90.02
"""Of the training pictures' pixels."""

TEXT = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,1,28,28] x) => (float[1,10] y) {
    c0 = Conv<pads=[1,1,1,1]>(x, w0, b0)  r0 = Relu(c0)  p0 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r0)
    c1 = Conv<pads=[1,1,1,1]>(p0, w1, b1)  r1 = Relu(c1)  p1 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r1)
    f = Flatten(p1)  d2 = Gemm(f, w2, b2)  r2 = Relu(d2)  l = Gemm(r2, w3, b3)  y = Softmax(l) }"""


def pictures(part: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Normalized pictures, shape (samples, 1, 1, 28, 28), and labels of ``train`` or ``t10k``, the first so many."""
    with gzip.open(FOLDER / f"{part}-images-idx3-ubyte.gz") as stream:
        pixels = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 1, 1, 28, 28)[:count]
    with gzip.open(FOLDER / f"{part}-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read(), np.uint8, offset=8)[:count]
    return ((pixels - np.float32(MEAN)) / np.float32(STD)).astype(np.float32), labels.astype(np.int64)


def network(channels: int, hidden: int, seed: int) -> onnx.ModelProto:
    """Two convolutions of ``channels`` and twice as many, a dense layer of ``hidden``, ten classes; weights as He et al. draw them."""
    drawn = np.random.default_rng(seed)
    shapes = {"w0": (channels, 1, 3, 3), "w1": (2 * channels, channels, 3, 3), "w2": (2 * channels * 49, hidden), "w3": (hidden, 10)}
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in shapes.items():
        inputs = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        weight = drawn.normal(size=shape) * np.sqrt(2.0 / inputs)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), name))
        bias = np.zeros(shape[0] if len(shape) == 4 else shape[1], np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(bias, name.replace("w", "b")))
    return infer_shapes(proto)


def parameters(proto: onnx.ModelProto) -> int:
    """Numbers in constants."""
    return sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)


def material(proto: onnx.ModelProto, inputs: np.ndarray, labels: np.ndarray, teachers: tuple = ()) -> Material:
    """What such a network learns from."""
    return Material({"x": inputs}, labels, signature_of(proto), teachers)


def accuracy(proto: onnx.ModelProto, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures whose class is right, 0 to 1, in ONNX Runtime."""
    run = Runner(proto.SerializeToString(), threads=1)
    return float(np.mean([run({"x": x})["y"].argmax() == label for x, label in zip(inputs, labels, strict=True)]))
