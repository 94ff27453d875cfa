"""Poolings over one axis go to the board as poolings over two."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.graph.run import Runner


@pytest.mark.parametrize(
    ("pool", "length"),
    [
        ("MaxPool<kernel_shape = [3], strides = [2], pads = [1, 0]>", 4),
        ("AveragePool<kernel_shape = [2], strides = [2], ceil_mode = 1>", 5),
        ("AveragePool<kernel_shape = [3], pads = [1, 1], count_include_pad = 1>", 9),
    ],
)
def test_a_pooling_over_one_axis_computes_the_same_over_two(package, model, pool, length):
    text = f"net (float[1,2,9] x) => (float[1,2,{length}] y) {{ [pool] y = {pool}(x) }}"
    x = np.random.default_rng(0).normal(size=(1, 2, 9)).astype(np.float32)

    folder = package(text, "jetson-orin-nano-jp62")
    proto = onnx.load(folder / "model.onnx")

    assert [node.op_type for node in proto.graph.node] == ["Unsqueeze", pool.partition("<")[0], "Squeeze"]
    np.testing.assert_allclose(Runner(folder / "model.onnx")({"x": x})["y"], Runner(model(text).path)({"x": x})["y"], rtol=1e-6)
