import numpy as np
import onnx
import pytest

from edgekit.graph.structure import structures
from edgekit.graph.trainable import trainable
from edgekit.graph.view import View
from edgekit.passes.contract import Supplies
from edgekit.passes.learn.qat.simulated import FakeQuantization, Rates, Start
from edgekit.passes.learn.student import Student
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.sensitivity import with_numbers

torch = pytest.importorskip("torch")

BRANCHES = """net (float[1,4,8,8] x) => (float[1,5] y, float[1,4,16,16] z) {
    a = Conv<pads=[1,1,1,1]>(x, w0, b0)  r = Relu(a)
    d = Conv<pads=[1,1,1,1], group=4>(r, w1)  e = Add(d, r)  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(e)
    c = Concat<axis=1>(p, p2)  p2 = Conv<strides=[2,2]>(r, w2)  s = Mul(c, k)
    z = ConvTranspose<strides=[4,4], group=2>(s, w3, b3)
    f = Reshape(s, sizes)  g = Gemm<alpha=0.5, transB=1>(f, w4, b4)  m = MatMul(g, w5)  y = Add(m, b5)
}"""


def weights_of_branches():
    draw = np.random.default_rng(3)
    shapes = {"w0": (4, 4, 3, 3), "b0": 4, "w1": (4, 1, 3, 3), "w2": (4, 4, 1, 1), "k": (1, 8, 1, 1), "w3": (8, 2, 4, 4), "b3": 4}
    shapes |= {"w4": (6, 128), "b4": 6, "w5": (6, 5), "b5": 5}
    found = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**found, "sizes": np.array([1, 128], np.int64)}


@pytest.fixture
def branches(model_of, samples_of):
    """A model in which operators share scales, add, join, and are bare of a bias; and its samples."""
    text = BRANCHES.replace(
        "c = Concat<axis=1>(p, p2)  p2 = Conv<strides=[2,2]>(r, w2)", "p2 = Conv<strides=[2,2]>(r, w2)  c = Concat<axis=1>(p, p2)"
    )
    draw = np.random.default_rng(4)
    return model_of(text, **weights_of_branches()), samples_of(x=[draw.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(9)])


class Simulation:
    """A quantized graph with fake quantization installed, and what it was made from."""

    def __init__(self, model, scheme, samples, **options):
        self.proto = onnx.shape_inference.infer_shapes(onnx.load(model.path))
        quantize = Quantize(**{"float_if_free": False, **options})
        self.decision = quantize.find(model, self.proto, Supplies(samples=samples, scheme=scheme)).decision
        quantized = onnx.ModelProto()
        quantized.CopyFrom(self.proto)
        start = Start(View(self.proto), self.decision, apply(quantized, self.decision), structures(self.proto))
        self.technique = FakeQuantization(start, Rates(biases=1.0, ranges=0.1))
        self.student = Student(trainable(quantized), [self.technique])

    def __call__(self, **feed):
        """Outputs of one sample."""
        with torch.no_grad():
            return [value.numpy() for value in self.student({name: torch.from_numpy(value)[None] for name, value in feed.items()}).values()]

    def move(self, seed, *, weights=0.6, biases=3.0, ranges=0.05):
        """As an optimizer would, at random."""
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for group, far in zip(self.technique.groups(), (weights, biases, ranges), strict=True):
                for one in group.parameters:
                    one += far * torch.randn(one.shape, generator=draw)

    def written(self):
        """The quantized graph with the numbers as they are now."""
        return with_numbers(self.proto, self.technique.decision())


@pytest.fixture
def simulation():
    return Simulation
