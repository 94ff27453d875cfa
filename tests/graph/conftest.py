from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest


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
