"""Engines on emulated ARM. Everything here is skipped where the userland has not been made: ``make arm``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.device import Device, open_device
from edgekit.errors import UnreachableError
from edgekit.model import Store

REQUIRED = "EDGEKIT_ARM_TESTS"  # set to "required" where a missing userland must not go unnoticed


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.arm)


def opened(url: str) -> Device:
    try:
        return open_device(url)
    except UnreachableError as error:
        if os.environ.get(REQUIRED) == "required":
            raise
        pytest.skip(f"{error.message}; {error.hint}")


@pytest.fixture(scope="session")
def device_of():
    """``device_of("emulated:aarch64")``: an emulated device, the same for all tests."""
    devices: dict[str, Device] = {}

    def find(url: str) -> Device:
        if url not in devices:
            devices[url] = opened(url)
        return devices[url]

    yield find
    for device in devices.values():
        device.close()


@pytest.fixture(scope="session")
def here():
    """This machine as a device."""
    device = open_device("local")
    yield device
    device.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def arrays(tmp_path_factory) -> Path:
    """Forty samples of one input ``image``, numbers between -1 and 1."""
    folder = tmp_path_factory.mktemp("arrays")
    for index in range(40):
        np.savez(folder / f"{index}.npz", image=np.random.default_rng(index).uniform(-1, 1, (3, 16, 16)).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def net(tmp_path_factory) -> Path:
    """Convolutions (one depthwise), an Add across them, ReLU6, global pooling, a dense layer and Softmax over a 3x16x16 picture."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    weights = {
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(0, 0.1, 8).astype(np.float32),
        "w2": rng.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32),
        "w3": rng.normal(0, 0.4, (8, 8, 1, 1)).astype(np.float32),
        "dense": rng.normal(0, 0.5, (8, 10)).astype(np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], "relu6"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", pads=[1, 1, 1, 1], group=8),
        helper.make_node("Relu", ["c2"], ["r2"], "relu"),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], "pointwise"),
        helper.make_node("Add", ["c3", "r1"], ["a"], "residual"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "dense"], ["d"], "dense"),
        helper.make_node("Softmax", ["d"], ["scores"], "softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
