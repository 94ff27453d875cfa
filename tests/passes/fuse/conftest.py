from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.graph.edit import Graph
from edgekit.graph.rules import Rule, apply_rules
from edgekit.graph.run import Runner
from edgekit.graph.shapes import infer_shapes

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def _onnx_text(text: str, **arrays: Any) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"{HEADER} {text}")
    for name, array in arrays.items():
        values = np.asarray(array)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return model


def _written_out(model: onnx.ModelProto) -> Any:
    """The outputs as nested formulas of the inputs; constants have no values, inner tensors no names."""
    makers = {name: node for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}

    def formula(name: str) -> Any:
        if not name or name in inputs:
            return name
        if name not in makers:
            return "constant"
        node = makers[name]
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = tuple(sorted((key, tuple(value) if isinstance(value, list) else value) for key, value in attributes.items()))
        return (node.op_type, list(node.output).index(name), plain, *(formula(source) for source in node.input))

    return {value.name: formula(value.name) for value in model.graph.output}, len(model.graph.node)


def _same_outputs(before: onnx.ModelProto, after: onnx.ModelProto, rtol: float) -> None:
    rng = np.random.default_rng(0)
    first, second = Runner(before.SerializeToString(), threads=1), Runner(after.SerializeToString(), threads=1)
    feed = {value.name: rng.normal(0, 2, value.shape).astype(np.float32) for value in first.session.get_inputs()}
    expected, found = first(feed), second(feed)
    assert list(expected) == list(found)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=rtol * float(np.abs(values).max()))


@pytest.fixture
def onnx_text() -> Callable[..., onnx.ModelProto]:
    """A model from ONNX text, its free names filled with arrays."""
    return _onnx_text


@pytest.fixture
def becomes() -> Callable[..., onnx.ModelProto]:
    """Apply rules; the result must have the structure of the text and give the same numbers."""

    def check(before: onnx.ModelProto, after: str, *rules: Rule[Any], rtol: float = 1e-5) -> onnx.ModelProto:
        untouched = before.SerializeToString()
        graph = Graph(infer_shapes(before))
        assert apply_rules(graph, rules), "no rule matched"
        result = infer_shapes(graph.finish())
        assert before.SerializeToString() == untouched
        onnx.checker.check_model(result, full_check=True)
        assert _written_out(result) == _written_out(_onnx_text(after))
        _same_outputs(before, result, rtol)
        return result

    return check


@pytest.fixture
def stays() -> Callable[..., None]:
    """No rule may match."""

    def check(before: onnx.ModelProto, *rules: Rule[Any]) -> None:
        onnx.checker.check_model(before, full_check=True)
        assert apply_rules(Graph(infer_shapes(before)), rules) == {}

    return check


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)
