from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.graph.run import Runner


@pytest.fixture
def onnx_text() -> Callable[..., onnx.ModelProto]:
    """A model from ONNX text, its free names filled with arrays."""

    def make(text: str, *, opset: int = 21, ir: int = 10, **arrays: Any) -> onnx.ModelProto:
        model = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> {text}')
        for name, array in arrays.items():
            values = np.asarray(array)
            if values.dtype == np.float64:
                values = values.astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return model

    return make


@pytest.fixture
def same_outputs() -> Callable[..., None]:
    """Two models give the same numbers for the same random inputs."""

    def check(before: onnx.ModelProto, after: onnx.ModelProto, rtol: float = 1e-6) -> None:
        rng = np.random.default_rng(0)
        first, second = Runner(before.SerializeToString(), threads=1), Runner(after.SerializeToString(), threads=1)
        feed = {value.name: rng.normal(size=value.shape).astype(np.float32) for value in first.session.get_inputs()}
        expected, found = first(feed), second(feed)
        assert list(expected) == list(found)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=rtol, atol=rtol)

    return check
