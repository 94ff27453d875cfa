from __future__ import annotations

import numpy as np
import pytest

from edgekit.samples import Samples, read_samples

TEXT = """net (float[1,3,12,12] x) => (float[1,4] y) { a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a)
    b = Conv<pads=[1,1,1,1], strides=[2,2]>(r, w2, b2) s = Relu(b) c = Conv<pads=[1,1,1,1]>(s, w3, b3) t = Add(c, s) u = Relu(t)
    g = GlobalAveragePool(u) f = Flatten(g) y = Gemm(f, w4, b4) }"""
SIZES = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (24, 16, 3, 3), "b2": (24,), "w3": (24, 24, 3, 3), "b3": (24,), "w4": (24, 4), "b4": (4,)}


@pytest.fixture
def net(proto_of):
    """A convolution, a residual and a dense layer, weights drawn."""
    draw = np.random.default_rng(0)
    weights = {name: (draw.standard_normal(size) / np.sqrt(max(np.prod(size[1:]), 1)) * 1.4).astype(np.float32) for name, size in SIZES.items()}
    return proto_of(TEXT, **weights)


@pytest.fixture
def samples(tmp_path) -> Samples:
    folder = tmp_path / "samples"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for index in range(24):
        np.savez(folder / f"{index:02}.npz", x=draw.standard_normal((1, 3, 12, 12)).astype(np.float32))
    return read_samples(folder)
