"""LSTM, GRU and RNN, step by step; shape (steps, batch, inputs) in, (steps, directions, batch, width) out.

Source:
    ONNX's Operators.md, the equations of each; gates lie in the weights in the order that is written there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgekit.graph.trainable.call import Call, Torch

_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_LENGTHS, _PEEPHOLES = 4, 7
"""Places of inputs."""


@dataclass(frozen=True, slots=True)
class _Direction:
    """The weights of one direction.

    Attributes:
        given: what the input adds to every gate, bias included. Shape (steps, batch, gates x width).
        recurrent: shape (gates x width, width).
        bias: added to what ``recurrent`` makes. Shape (gates x width,).
        width: of the state.
    """

    given: Torch
    recurrent: Torch
    bias: Torch
    width: int

    def gates(self, at: int, hidden: Torch) -> list[Torch]:
        """Every gate's sum at one step."""
        both: list[Torch] = (self.given[at] + hidden @ self.recurrent.T + self.bias).split(self.width, dim=1)
        return both


State = tuple[Torch, ...]
Step = Callable[[_Direction, int, State], State]


def lstm(  # noqa: PLR0913 - ONNX's inputs
    call: Call,
    x: Torch,
    weight: Torch,
    recurrent: Torch,
    bias: Torch = None,
    lengths: Torch = None,
    hidden: Torch = None,
    cell: Torch = None,
    peepholes: Torch = None,
) -> tuple[Torch, ...]:
    """LSTM."""
    return _run(call, x, (weight, recurrent, bias), lengths, (hidden, cell), _lstm_step)


def gru(  # noqa: PLR0913 - ONNX's inputs
    call: Call, x: Torch, weight: Torch, recurrent: Torch, bias: Torch = None, lengths: Torch = None, hidden: Torch = None
) -> tuple[Torch, ...]:
    """GRU."""
    return _run(call, x, (weight, recurrent, bias), lengths, (hidden,), _gru_step if call.get("linear_before_reset", 0) else _early_gru_step)


def rnn(  # noqa: PLR0913 - ONNX's inputs
    call: Call, x: Torch, weight: Torch, recurrent: Torch, bias: Torch = None, lengths: Torch = None, hidden: Torch = None
) -> tuple[Torch, ...]:
    """RNN."""
    return _run(call, x, (weight, recurrent, bias), lengths, (hidden,), _rnn_step)


def refused_recurrent(call: Call) -> str:
    """Why a recurrent layer has no counterpart; "" if it has."""
    directions = 2 if call.get("direction") == "bidirectional" else 1
    if call.get("layout", 0):
        return "its batch lies before its steps"
    if call.get("clip") is not None or call.get("input_forget", 0):
        return "it clips its sums or couples its gates"
    if tuple(call.get("activations") or _USUAL[call.op] * directions) != _USUAL[call.op] * directions:
        return f"its functions are not {', '.join(_USUAL[call.op])}"
    return "it has peepholes" if len(call.types) > _PEEPHOLES and call.types[_PEEPHOLES] else ""


def _lstm_step(one: _Direction, at: int, state: State) -> State:
    into, out, forget, new = one.gates(at, state[0])
    cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(into) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell


def _gru_step(one: _Direction, at: int, state: State) -> State:
    """With what the state makes multiplied by the reset."""
    update, reset, _ = map(torch.sigmoid, one.gates(at, state[0]))
    last = slice(2 * one.width, None)
    new = torch.tanh(one.given[at][:, last] + reset * (state[0] @ one.recurrent[last].T + one.bias[last]))
    return ((1.0 - update) * new + update * state[0],)


def _early_gru_step(one: _Direction, at: int, state: State) -> State:
    """With the state itself multiplied by the reset."""
    update, reset, _ = map(torch.sigmoid, one.gates(at, state[0]))
    last = slice(2 * one.width, None)
    new = torch.tanh(one.given[at][:, last] + (reset * state[0]) @ one.recurrent[last].T + one.bias[last])
    return ((1.0 - update) * new + update * state[0],)


def _rnn_step(one: _Direction, at: int, state: State) -> State:
    return (torch.tanh(one.gates(at, state[0])[0]),)


def _run(call: Call, x: Torch, weights: tuple[Torch, Torch, Torch], lengths: Torch, start: State, step: Step) -> tuple[Torch, ...]:
    if lengths is not None and bool((lengths != x.shape[0]).any()):
        raise ValueError("its sequences differ in length, and each is computed to the end here")
    width = int(weights[1].shape[2])
    sequences, ends = [], []
    for number in range(weights[0].shape[0]):
        one = _direction(x, weights, number, width)
        state = tuple(x.new_zeros(x.shape[1], width) if values is None else values[number] for values in start)
        is_backward = number == 1 or call.get("direction") == "reverse"
        made: list[Torch] = []
        for at in reversed(range(x.shape[0])) if is_backward else range(x.shape[0]):
            state = step(one, at, state)
            made.append(state[0])
        sequences.append(torch.stack(made[::-1] if is_backward else made))
        ends.append(state)
    return torch.stack(sequences, dim=1), *(torch.stack(values) for values in zip(*ends, strict=True))


def _direction(x: Torch, weights: tuple[Torch, Torch, Torch], number: int, width: int) -> _Direction:
    weight, recurrent, bias = weights
    rows = recurrent.shape[1]
    given = x @ weight[number].T
    if bias is None:
        return _Direction(given, recurrent[number], x.new_zeros(rows), width)
    return _Direction(given + bias[number, :rows], recurrent[number], bias[number, rows:], width)
