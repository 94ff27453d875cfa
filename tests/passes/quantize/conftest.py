from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize

UNEVEN = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w)
    h = HardSwish(a)
    b = Conv(h, v)
    r = Relu(b)
    y = Conv(r, u)
}"""
"""Between its first two convolutions the first channel is a thousand times the others, and counts no more than they do."""


@pytest.fixture
def weights_of_uneven():
    """The first channel that ``w`` makes is a thousand times the others."""
    draw = np.random.default_rng(5)
    w, v, u = (draw.normal(size=(4, 4, 1, 1)).astype(np.float32) for _ in range(3))
    w[0] *= 1000.0
    v[:, 0] /= 1000.0
    return {"w": w, "v": v, "u": u}


@pytest.fixture
def pictures_of_noise():
    """Eight of four channels, of which seven calibrate."""
    draw = np.random.default_rng(6)
    return [draw.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(8)]


@pytest.fixture
def uneven(model_of, samples_of, pictures_of_noise, weights_of_uneven):
    """A Model with a tensor that no scale fits, and its samples."""
    return model_of(UNEVEN, **weights_of_uneven), samples_of(x=pictures_of_noise)


@pytest.fixture
def quantized(tmp_path):
    """Quantize a Model; its graph and what was done."""

    def make(model, scheme, samples, **options):
        out = Path(tmp_path / f"made{len(list(tmp_path.iterdir()))}")
        out.mkdir()
        found = Quantize(**options)(model, Supplies(samples=samples, scheme=scheme), out)
        return onnx.load(found.path), found.history[-1].did

    return make


@pytest.fixture
def sqnr_of():
    """SQNR of a graph's only output against another's on some pictures, decibels, as ONNX's own reference computes both."""

    def of(wanted, got, feeds):
        before, after = ReferenceEvaluator(wanted), ReferenceEvaluator(got)
        pairs = [(before.run(None, feed)[0].astype(np.float64), after.run(None, feed)[0]) for feed in feeds]
        noise = sum(np.square(one - other).sum() for one, other in pairs)
        return 10.0 * np.log10(sum(np.square(one).sum() for one, _ in pairs) / noise)

    return of
