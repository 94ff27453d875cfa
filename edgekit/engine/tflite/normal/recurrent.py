"""LSTM, GRU and RNN, written out step by step.

TFLite's own LSTM keeps its state in variables from one inference to the next and has neither peepholes by direction nor
GRU's gates; short sequences cost little more as plain operators, which XNNPACK computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.normal.parts import Parts

_MOST_STEPS = 256
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_FUNCTIONS = frozenset({"Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"})
_ATTRIBUTES = frozenset({"direction", "hidden_size", "layout", "linear_before_reset", "activations", "input_forget"})
State = tuple[str, ...]


@dataclass(frozen=True)
class _Direction:
    """One direction: its constants, what is added to every step, its functions."""

    kind: str
    width: int
    recurrent: Array
    recurrent_bias: Array
    peepholes: Array | None
    functions: tuple[str, ...]
    resets_after: bool
    couples: bool


def _unrolled(node: Node, graph: Graph) -> list[Node] | Fault:
    fault = _fault(node, graph)
    if fault is not None:
        return fault
    parts = Parts(node, graph)
    width, count = node.attrs["hidden_size"], 2 if node.attrs.get("direction") == "bidirectional" else 1
    sequences: list[list[str]] = []
    ends: list[State] = []
    for number in range(count):
        backward = number == 1 or node.attrs.get("direction") == "reverse"
        direction = _direction(node, graph, number)
        hidden, end = _run(parts, direction, _inputs(parts, direction, number, backward), _start(parts, number, width))
        sequences.append(hidden[::-1] if backward else hidden)
        ends.append(end)
    _write(parts, sequences, ends, width)
    return parts.nodes


def _fault(node: Node, graph: Graph) -> Fault | None:
    steps = graph.shape(node.inputs[0])[0]
    names = (*node.inputs, *("",) * 8)
    lengths = graph.constants.get(names[4])
    functions = node.attrs.get("activations") or ()
    if node.attrs.get("layout"):
        return Fault("its batch comes before its steps", "use layout=0 and Transpose")
    if any(name and not graph.is_constant(name) for name in (*names[1:4], names[7])):
        return Fault("its weights are computed", "make them constants")
    if names[4] and (lengths is None or bool((lengths.stored != steps).any())):
        return Fault("its sequences are of several lengths", "feed sequences of one length and leave sequence_lens out")
    if steps > _MOST_STEPS:
        return Fault(f"it has {steps} steps, and {_MOST_STEPS} are written out at most", "feed the sequence in shorter pieces")
    if set(node.attrs) - _ATTRIBUTES or any(_named(one) not in _FUNCTIONS for one in functions):
        return Fault("it clips, or has activations with numbers of their own", "use the activations it has by default")
    return None


def _named(function: str | bytes) -> str:
    return (function.decode() if isinstance(function, bytes) else function).capitalize()


def _direction(node: Node, graph: Graph, number: int) -> _Direction:
    names = (*node.inputs, *("",) * 8)
    width, gates = node.attrs["hidden_size"], _GATES[node.op]
    bias = graph.constants[names[3]].real()[number] if names[3] else np.zeros(2 * gates * width, np.float32)
    default = _DEFAULTS[node.op]
    given = tuple(_named(one) for one in node.attrs.get("activations") or ()) or default * 2
    return _Direction(
        kind=node.op,
        width=width,
        recurrent=graph.constants[names[2]].real()[number].T,
        recurrent_bias=bias[gates * width :],
        peepholes=graph.constants[names[7]].real()[number] if names[7] else None,
        functions=given[number * len(default) : (number + 1) * len(default)],
        resets_after=bool(node.attrs.get("linear_before_reset")),
        couples=bool(node.attrs.get("input_forget")),
    )


def _inputs(parts: Parts, direction: _Direction, number: int, backward: bool) -> list[tuple[str, ...]]:
    """What the input adds in each step, in the order of the steps: to all gates, or of a GRU to its two and to the new state.

    Biases that may go there are in it.
    """
    node, graph = parts.node, parts.graph
    steps, batch, _ = parts.shape(node.inputs[0])
    weights = graph.constants[node.inputs[1]].real()[number]
    columns = weights.shape[0]
    bias = graph.constants[node.inputs[3]].real()[number][:columns] if len(node.inputs) > 3 and node.inputs[3] else np.zeros(columns)
    early = direction.recurrent_bias.copy()
    if direction.kind == "GRU" and direction.resets_after:
        early[2 * direction.width :] = 0
    rows = parts.reshape(node.inputs[0], (steps * batch, parts.shape(node.inputs[0])[2]))
    shifted = parts.add("Add", _through(parts, rows, parts.constant(weights.T)), parts.constant(bias + early))
    groups = parts.split(shifted, 1, [2 * direction.width, direction.width]) if direction.kind == "GRU" else [shifted]
    found = list(zip(*(parts.split(group, 0, [batch] * steps) for group in groups), strict=True))
    return found[::-1] if backward else found


def _start(parts: Parts, number: int, width: int) -> State:
    """The state before the first step: what is given, or zeros."""
    node = parts.node
    batch = parts.shape(node.inputs[0])[1]
    names = (*node.inputs, *("",) * 8)
    found = []
    for name in names[5:7] if node.op == "LSTM" else names[5:6]:
        if name:
            one = (
                parts.take(name, np.array(number), 0)
                if not parts.graph.is_constant(name)
                else parts.constant(parts.graph.constants[name].real()[number])
            )
            found.append(one)
        else:
            found.append(parts.constant(np.zeros((batch, width))))
    return tuple(found)


def _run(parts: Parts, direction: _Direction, inputs: list[tuple[str, ...]], state: State) -> tuple[list[str], State]:
    cells: dict[str, Callable[..., State]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
    step = cells[direction.kind]
    recurrent = parts.constant(direction.recurrent)
    hidden = []
    for given in inputs:
        state = step(parts, direction, recurrent, *given, state)
        hidden.append(state[0])
    return hidden, state


def _through(parts: Parts, hidden: str, weights: str) -> str:
    """The product of the last hidden state; a constant one is multiplied at once."""
    graph = parts.graph
    if graph.is_constant(hidden):
        return parts.constant(graph.constants[hidden].real() @ graph.constants[weights].real())
    return parts.add("MatMul", hidden, weights, shape=(parts.shape(hidden)[0], parts.shape(weights)[1]))


def _rnn(parts: Parts, direction: _Direction, recurrent: str, given: str, state: State) -> State:
    total = parts.add("Add", given, _through(parts, state[0], recurrent))
    return (parts.add(direction.functions[0], total),)


def _lstm(parts: Parts, direction: _Direction, recurrent: str, given: str, state: State) -> State:
    hidden, cell = state
    total = parts.add("Add", given, _through(parts, hidden, recurrent))
    gates = parts.split(total, 1, [direction.width] * 4)
    holes = np.split(direction.peepholes, 3) if direction.peepholes is not None else [None] * 3
    gate, inner, outer = direction.functions
    entering = parts.add(gate, _peeped(parts, gates[0], cell, holes[0]))
    kept = (
        parts.add("Sub", 1.0, entering, shape=parts.shape(entering))
        if direction.couples
        else parts.add(gate, _peeped(parts, gates[2], cell, holes[2]))
    )
    cell = parts.add("Add", parts.add("Mul", kept, cell), parts.add("Mul", entering, parts.add(inner, gates[3])))
    leaving = parts.add(gate, _peeped(parts, gates[1], cell, holes[1]))
    return parts.add("Mul", leaving, parts.add(outer, cell)), cell


def _peeped(parts: Parts, gate: str, cell: str, hole: Array | None) -> str:
    return gate if hole is None else parts.add("Add", gate, parts.add("Mul", cell, parts.constant(hole)))


def _gru(parts: Parts, direction: _Direction, recurrent: str, into_gates: str, given_new: str, state: State) -> State:
    (hidden,) = state
    width = direction.width
    gate, inner = direction.functions
    weights = parts.graph.constants[recurrent].real()
    first, last = parts.constant(weights[:, : 2 * width]), parts.constant(weights[:, 2 * width :])
    gates = parts.add(gate, parts.add("Add", into_gates, _through(parts, hidden, first)))
    update, reset = parts.split(gates, 1, [width, width])
    if direction.resets_after:
        product = parts.add("Add", _through(parts, hidden, last), parts.constant(direction.recurrent_bias[2 * width :]))
        recalled = parts.add("Mul", reset, product)
    else:
        recalled = _through(parts, parts.add("Mul", reset, hidden), last)
    new = parts.add(inner, parts.add("Add", given_new, recalled))
    change = parts.add("Mul", update, parts.add("Sub", hidden, new))
    return (parts.add("Add", new, change),)


def _write(parts: Parts, sequences: list[list[str]], ends: list[State], width: int) -> None:
    """The outputs: all hidden states, the last one, and an LSTM's last cell."""
    node = parts.node
    batch = parts.shape(node.inputs[0])[1]
    outputs = (*node.outputs, "", "")
    if outputs[0]:
        rows = [parts.concat(hidden, 0) for hidden in sequences]
        alone = len(rows) == 1
        sizes = (len(sequences[0]), 1, batch, width)
        several = [parts.reshape(one, sizes, into=0 if alone else None) for one in rows]
        if not alone:
            parts.concat(several, 1, into=0)
    for place in (1, 2):
        if outputs[place]:
            parts.concat([parts.reshape(end[place - 1], (1, batch, width)) for end in ends], 0, into=place)


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = dict.fromkeys(_GATES, _unrolled)
