"""A Loop that is an LSTM, a GRU or a plain recurrent cell becomes the operator of that name.

TensorFlow's exporter writes Keras's recurrent layers as loops over time steps, in bodies that differ with the layer's
options and with what was folded into them. So a body's form is not compared: from the sizes of the weights it reads follows
which cell it may be, and it is that cell if both compute the same from random sequences and states: ordinary rows, rows a
hundred times as large, which a clip would change, and rows of zeros, which a mask would leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.graph.run import Array, run_nodes

if TYPE_CHECKING:
    import onnx

_KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}
_GATES = {"LSTM": [0, 3, 1, 2], "GRU": [0, 1, 2], "RNN": [0]}
"""Where ONNX's gates (iofc, zrh) lie in Keras's weights (ifco, zrh)."""
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
_PARTS = ("all", "hidden", "cell")
_CLOSE = 1e-4
_LARGE = 100.0
_MOST_BIASES = 4
_COUNT, _GOES_ON, _FIRST_STATE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Cell:
    """Weights of an operator, as ONNX stacks them; ``rb``: bias of the recurrent product."""

    kind: str
    w: Array
    r: Array
    wb: Array
    rb: Array
    after: int

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the node."""
        more = {"linear_before_reset": self.after} if self.kind == "GRU" else {}
        return {"hidden_size": int(self.r.shape[0]), **more}

    def arrays(self) -> dict[str, Array]:
        """W, R and B with one direction in front."""

        def gates(array: Array) -> Array:
            parts = np.split(array, array.shape[-1] // self.r.shape[0], axis=-1)
            return np.concatenate([parts[gate] for gate in _GATES[self.kind]], axis=-1)

        bias = np.concatenate([gates(self.wb), gates(self.rb)])
        arrays = {"W": gates(self.w).T[None], "R": gates(self.r).T[None], "B": bias[None]}
        return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """A Loop and the cell it is.

    Attributes:
        loop: the node.
        cell: what it computes.
        sequence: the tensor it goes through, [steps, batch, numbers].
        starts: initial states, hidden one first.
        ends: names of the Loop's outputs by what they are: ``all``, ``hidden``, ``cell``.
        shape: steps, batch, size of the state.
    """

    loop: Node
    cell: Cell
    sequence: str
    starts: tuple[str, ...]
    ends: dict[str, str]
    shape: tuple[int, int, int]


def match(graph: Graph, node: Node) -> Found | None:
    """A Loop over all rows of one tensor, whose states and weights have the sizes of a cell, and which computes what it does."""
    count, goes_on = graph.constant(node.inputs[_COUNT]), graph.constant(node.inputs[_GOES_ON]) if node.inputs[_GOES_ON] else np.array(True)
    if count is None or goes_on is None or not goes_on.all():
        return None
    body = node.attributes["body"].g
    states = node.inputs[_FIRST_STATE:]
    wide = [name for name in states if _is_state(graph, name)]
    sequence = _sequence(graph, body, int(count))
    kept = [name for name in wide if graph.static_shape(name) == graph.static_shape(wide[0])]
    if sequence is None or not kept:
        return None
    width, (steps, batch, given) = (graph.static_shape(kept[0]) or ())[-1], graph.static_shape(sequence) or (0, 0, 0)
    if graph.static_shape(kept[0]) != (batch, width):
        return None
    constants = _constants(graph, node, body)
    for cell in _candidates(constants, given, width):
        for order in permutations(_changing(node, body, kept), _STATES[cell.kind]):
            shape = (steps, batch, width)
            ends = _compared(graph, node, cell, sequence, order, shape)
            if ends is not None:
                return Found(node, cell, sequence, tuple(node.inputs[_FIRST_STATE + place] for place in order), ends, shape)
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """The operator, its outputs squeezed to the Loop's."""
    loop, cell, (steps, batch, width) = found.loop, found.cell, found.shape
    name = loop.name or loop.outputs[-1]
    weights = [graph.add_constant(array, f"{name}_{key}") for key, array in cell.arrays().items()]
    front, second = graph.add_constant(np.array([0]), f"{name}_front"), graph.add_constant(np.array([1]), f"{name}_direction")
    starts = []
    for start in found.starts:
        lifted = graph.unused_name(f"{start}_lifted")
        graph.add("Unsqueeze", [start, front], lifted, before=loop)
        graph.set_type(lifted, 1, (1, batch, width))
        starts.append(lifted)
    outputs = tuple(graph.unused_name(f"{name}_{part}") for part in _PARTS[: 1 + _STATES[cell.kind]])
    made = graph.add(cell.kind, [found.sequence, *weights, "", *starts], outputs, before=loop, **cell.attributes)
    made.name = loop.name or made.name
    for output, shape in zip(outputs, ((steps, 1, batch, width), *[(1, batch, width)] * 2), strict=False):
        graph.set_type(output, 1, shape)
    graph.remove(loop)
    for part, output in zip(_PARTS, outputs, strict=False):
        if part in found.ends:
            graph.add("Squeeze", [output, second if part == "all" else front], found.ends[part], before=loop)


def _is_state(graph: Graph, name: str) -> bool:
    shape = graph.static_shape(name)
    return shape is not None and len(shape) == 2 and graph.elem_type(name) == 1


def _sequence(graph: Graph, body: onnx.GraphProto, count: int) -> str | None:
    """The tensor around the Loop that its body gathers one row of."""
    names: list[str] = [node.input[0] for node in body.node if node.op_type == "Gather"]
    for name in names:
        shape = graph.static_shape(name)
        if shape is not None and len(shape) == 3 and shape[0] == count and graph.elem_type(name) == 1:
            return name
    return None


def _constants(graph: Graph, loop: Node, body: onnx.GraphProto) -> list[Array]:
    """Floating point constants of the body: its own, those around it, and states that stay what they are."""
    import onnx

    names = {name for name in loop.captured() if graph.is_constant(name)}
    names |= {name for place, name in enumerate(loop.inputs[_FIRST_STATE:]) if graph.is_constant(name) and _stays(body, place)}
    found = [graph.constant(name) for name in sorted(names)]
    found += [onnx.numpy_helper.to_array(stored) for stored in body.initializer]
    found += [
        onnx.numpy_helper.to_array(node.attribute[0].t) for node in body.node if node.op_type == "Constant" and node.attribute[0].name == "value"
    ]
    return [array for array in found if array is not None and array.dtype == np.float32]


def _stays(body: onnx.GraphProto, place: int) -> bool:
    given, made = body.input[_FIRST_STATE + place].name, body.output[1 + place].name
    origin = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    return bool(origin.get(made, made) == given)


def _changing(loop: Node, body: onnx.GraphProto, names: list[str]) -> list[int]:
    """Places of the states that the body computes anew."""
    return [place for place, name in enumerate(loop.inputs[_FIRST_STATE:]) if name in names and not _stays(body, place)]


def _candidates(constants: list[Array], given: int, width: int) -> Iterator[Cell]:
    """Cells that weights of these sizes can belong to."""
    for gates, kind in _KINDS.items():
        wide = gates * width
        kernels = [array for array in constants if array.shape == (given, wide)]
        products = [array for array in constants if array.shape == (width, wide)]
        biases = [np.zeros(wide, np.float32)]
        for array in constants:
            if array.size in (wide, 2 * wide) and array.shape[-1] == wide:
                biases += list(array.reshape(-1, wide))
        if len(biases) > _MOST_BIASES:
            continue
        pairs = [(w, r) for w in kernels for r in products if w is not r]
        for w, r in pairs:
            for wb in reversed(biases):
                for rb in biases if kind == "GRU" else biases[:1]:
                    for after in (1, 0) if kind == "GRU" else (0,):
                        yield Cell(kind, w, r, wb, rb, after)


def _compared(graph: Graph, loop: Node, cell: Cell, sequence: str, order: tuple[int, ...], shape: tuple[int, int, int]) -> dict[str, str] | None:
    """Names of the Loop's outputs by what the operator calls them, if all that are used are its own."""
    _, batch, width = shape
    random = np.random.default_rng(0)
    states = [random.normal(0, 0.5, (batch, width)).astype(np.float32) for _ in order]
    used = [name for name in loop.outputs if name and (graph.users(name) or name in graph.pinned)]
    ends: dict[str, str] = {}
    for rows in _probes(random.normal(0, 1, graph.static_shape(sequence)).astype(np.float32)):
        expected = _run_operator(cell, rows, states)
        try:
            found = _run_loop(graph, loop, sequence, rows, dict(zip(order, states, strict=True)), used)
        except (ValueError, SourceError):
            return None
        ends = ends or _matched(expected, found)
        if len(ends) != len(used) or not all(_near(expected[part], found[name]) for part, name in ends.items()):
            return None
    return ends


def _probes(rows: Array) -> Iterator[Array]:
    """Rows as they come, large ones, and some and all of them zeros."""
    yield rows
    yield rows * np.float32(_LARGE)
    some = rows.copy()
    some[::2] = 0
    yield some
    yield np.zeros_like(rows)


def _matched(expected: dict[str, Array], found: dict[str, Array]) -> dict[str, str]:
    ends: dict[str, str] = {}
    for name, values in found.items():
        part = next((key for key, wanted in expected.items() if wanted.shape == values.shape and _near(wanted, values)), None)
        if part is not None:
            ends[part] = name
    return ends


def _near(wanted: Array, found: Array) -> bool:
    return wanted.shape == found.shape and bool(np.abs(wanted - found).max() <= _CLOSE * max(1.0, float(np.abs(wanted).max())))


def _run_operator(cell: Cell, rows: Array, states: list[Array]) -> dict[str, Array]:
    names = _PARTS[: 1 + len(states)]
    feed = {"X": rows, **{f"S{place}": state[None] for place, state in enumerate(states)}}
    from onnx import helper

    inputs = ["X", "W", "R", "B", "", *(name for name in feed if name != "X")]
    node = helper.make_node(cell.kind, inputs, list(names), **cell.attributes)
    values = run_nodes([node], cell.arrays(), names, feed)
    return {"all": values["all"][:, 0], **{name: values[name][0] for name in names[1:]}}


def _run_loop(graph: Graph, loop: Node, sequence: str, rows: Array, states: dict[int, Array], used: list[str]) -> dict[str, Array]:
    feed, weights = {sequence: rows}, {}
    proto = loop.proto()
    for place, state in states.items():
        name = f"edgekit_state_{place}"
        proto.input[_FIRST_STATE + place] = name
        feed[name] = state
    for name in {*proto.input, *loop.captured()} - feed.keys() - {""}:
        constant = graph.constant(name)
        if constant is None:
            raise ValueError(name)
        weights[name] = constant
    return run_nodes([proto], weights, used, feed)


RULE: Rule[Found] = Rule("recurrent", ("Loop",), match, rewrite)
