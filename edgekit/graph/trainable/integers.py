"""Products and sums of stored numbers as engines compute them: integers, multiplied once and rounded once.

DequantizeLinear, Conv and QuantizeLinear, each rounded in float for itself, now and then put a sum that lies near a half on its other
side. Every integer that differs moves some in the layers after it, until a deep network differs as much as its quantization does.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper

from edgekit.graph.trainable import arithmetic, window
from edgekit.graph.trainable.call import Call, Line, Torch
from edgekit.graph.trainable.fake import LIMITS, kind_of

_PRODUCTS: dict[str, Callable[..., Torch]] = {"Conv": window.conv, "Gemm": arithmetic.gemm}
_PREFIX = "QLinear"
_BYTES = frozenset({TensorProto.UINT8, TensorProto.INT8})
"""With more bits, sums are no longer exact in float."""

_MULTIPLIER_BITS = 20

Constants = Mapping[str, TensorProto]


def integer_product(call: Call, *stored: Torch) -> Torch:
    """A Conv or Gemm of integers, to integers, with the bounds of an activation after it.

    Engines multiply the sum with ``x_scale * w_scale / y_scale``, a float, and round halves to even. Gradients are those of the
    float formula, with rounding that lets them pass.

    Args:
        call: the float node's, with the ends of the grid that its output is rounded to.
        stored: integers, scale and zero point of the input, and of the weight; the bias as integers; scale and zero point of the
            output; the activation's bounds as real numbers. None for what is left out.

    Source:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
        eq. 4 and section 2.4.
    """
    x, x_scale, x_zero, weight, w_scale, w_zero, bias, y_scale, y_zero, least, most = stored
    product = call.op.removeprefix(_PREFIX)
    terms = [_centered(x, x_zero, x_scale), _centered(weight, w_zero, x_scale, _channels(product, call))]
    sums = _PRODUCTS[product](call, *terms, None if bias is None else bias.to(x_scale.dtype))
    multiplier = x_scale * w_scale / y_scale
    if multiplier.numel() == 1:
        multiplier = multiplier.reshape(())
    elif product == "Conv":
        multiplier = multiplier.reshape(-1, *[1] * (sums.ndim - 2))
    zero = _zero(y_zero, y_scale)
    made: Torch = _Requantize.apply(sums, multiplier, zero, call.get("low"), call.get("high"))
    return _bounded(call, made, y_scale, zero, least, most)


def fixed_point_sum(call: Call, *stored: Torch) -> Torch:
    """An Add of integers, to integers, as XNNPACK has it: multipliers of 21 bits, and halves rounded up.

    Args:
        call: the float node's, with the ends of the grid that its output is rounded to.
        stored: integers, scale and zero point of each input; scale and zero point of the output; the activation's bounds as real
            numbers. None for what is left out.

    Source:
        github.com/google/XNNPACK, src/microparams-init.c, ``xnn_init_qs8_add_minmax_scalar_params``.
    """
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, least, most = stored
    terms, ratios = (_centered(a, a_zero, a_scale), _centered(b, b_zero, b_scale)), (a_scale / y_scale, b_scale / y_scale)
    zero = _zero(y_zero, y_scale)
    real = terms[0] * ratios[0].reshape(()) + terms[1] * ratios[1].reshape(()) + zero
    with torch.no_grad():
        _, exponent = torch.frexp(torch.maximum(*ratios).double())  # of a mantissa below 1
        unit = torch.pow(2.0, _MULTIPLIER_BITS + 1 - exponent)
        sums = sum(term.double() * torch.round(ratio.double() * unit).reshape(()) for term, ratio in zip(terms, ratios, strict=True))
        integers = (torch.floor(sums / unit.reshape(()) + 0.5) + zero).to(real.dtype)
    made = torch.clamp(real + (integers - real).detach(), call.get("low"), call.get("high"))
    return _bounded(call, made, y_scale, zero, least, most)


INTEGER_FUNCTIONS: dict[str, Callable[..., Torch]] = {**{_PREFIX + op: integer_product for op in _PRODUCTS}, _PREFIX + "Add": fixed_point_sum}
"""What computes the lines that :func:`in_integers` makes."""


def in_integers(lines: Sequence[Line], wanted: Collection[str], constants: Constants, *, has_fixed_point_sums: bool) -> list[Line]:
    """The same lines with each product between stored numbers in one, and without those that nobody reads any more.

    Args:
        lines: in order.
        wanted: tensors that are to be had, or replaced.
        constants: every constant; scales of biases are those of their products, or these stay in float.
        has_fixed_point_sums: whether sums of stored numbers are :func:`fixed_point_sum`, or in float as the lines say.
    """
    joining = _Joining(lines, wanted, constants, has_fixed_point_sums)
    made = [joining.joined(line) or line for line in lines]
    read = Counter(name for line in made for name in line.reads) + Counter(wanted)
    kept: list[Line] = []
    for line in reversed(made):
        if any(read[name] for name in line.makes if name):
            kept.append(line)
        else:
            read.subtract(line.reads)
    return kept[::-1]


class _Joining:
    """Finds what engines compute at once."""

    def __init__(self, lines: Sequence[Line], wanted: Collection[str], constants: Constants, has_fixed_point_sums: bool) -> None:
        self._makers = {name: line for line in lines for name in line.makes if name and name not in wanted}
        self._read = Counter(name for line in lines for name in line.reads)
        self._constants = constants
        self._has_fixed_point_sums = has_fixed_point_sums

    def joined(self, store: Line) -> Line | None:
        """One line for a QuantizeLinear and what makes its input; None where that is computed in float."""
        if not self._is_stored(store, "QuantizeLinear"):
            return None
        made, bounds, is_rectified = self._alone(store.read(0)), ("", ""), False
        if made is not None and made.call.op in ("Relu", "Clip"):
            bounds, is_rectified = (made.read(1), made.read(2)), made.call.op == "Relu"
            made = self._alone(made.read(0))
        if made is None:
            return None
        stored = self._product(made) if made.call.op in _PRODUCTS else self._sum(made)
        if stored is None:
            return None
        low, high = LIMITS[kind_of(store.call)]
        more = {"low": low, "high": high, "is_rectified": is_rectified}
        call = dataclasses.replace(made.call, op=_PREFIX + made.call.op, attributes={**made.call.attributes, **more})
        return Line(call, (*stored, store.read(1), store.read(2), *bounds), store.makes)

    def _product(self, line: Line) -> list[str] | None:
        """What a product reads as stored numbers: input, weight, bias; None where one of them is none."""
        if {line.call.get("alpha", 1.0), line.call.get("beta", 1.0)} != {1.0}:
            return None
        x, weight, bias = (self._makers.get(line.read(at)) for at in range(3))
        if x is None or weight is None or not self._is_stored(x, "DequantizeLinear") or not self._is_weight(weight, line.call):
            return None
        if line.read(2) and (bias is None or not self._is_bias(bias, x, weight)):
            return None
        return [*(one.read(at) for one in (x, weight) for at in range(3)), "" if bias is None else bias.read(0)]

    def _sum(self, line: Line) -> list[str] | None:
        """What a sum reads as stored numbers, where those are what it adds."""
        read = [self._makers.get(name) for name in line.reads]
        stored = [one for one in read if one is not None and self._is_stored(one, "DequantizeLinear")]
        if line.call.op != "Add" or not self._has_fixed_point_sums or len(stored) < len(read):
            return None
        return [one.read(at) for one in stored for at in range(3)]

    def _alone(self, tensor: str) -> Line | None:
        """What makes a tensor that nobody else reads."""
        return self._makers.get(tensor) if self._read[tensor] == 1 else None

    def _is_stored(self, line: Line, op: str) -> bool:
        """Whether a line stores a tensor in bytes, or reads one so, by one scale."""
        kind = kind_of(line.call)
        if op == "DequantizeLinear" and not kind and line.read(0) in self._makers:
            kind = kind_of(self._makers[line.read(0)].call)
        return line.call.op == op and kind in _BYTES and self._scales(line) == 1

    def _is_weight(self, line: Line, product: Call) -> bool:
        """Whether a line reads a constant that has one scale, or one of each output channel."""
        if line.call.op != "DequantizeLinear" or line.read(0) not in self._constants or line.call.get("block_size", 0):
            return False
        sizes, channels = self._constants[line.read(0)].dims, _channels(product.op, product)
        return self._scales(line) == 1 or (line.call.get("axis", 1) % len(sizes) == channels and self._scales(line) == sizes[channels])

    def _is_bias(self, line: Line, x: Line, weight: Line) -> bool:
        """Whether a line reads integers that count what the products of two others count."""
        if line.call.op != "DequantizeLinear" or line.read(2) or not self._scales(line):
            return False
        own, of_x, of_weight = (numpy_helper.to_array(self._constants[one.read(1)]).reshape(-1) for one in (line, x, weight))
        return own.shape == of_weight.shape and np.allclose(own, of_x * of_weight, rtol=1e-5, atol=0.0)

    def _scales(self, line: Line) -> int:
        """How many scales it has; 0 where they are no constant."""
        return math.prod(self._constants[line.read(1)].dims) if line.read(1) in self._constants else 0


class _Requantize(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """Integers of a grid from sums of products of integers."""

    @staticmethod
    def forward(context: Any, sums: Torch, multiplier: Torch, zero: Torch, low: int, high: int) -> Torch:
        steps = sums.round().mul_(multiplier)  # rounded, as some kernels transform their operands
        outside = (steps < low - zero) | (steps > high - zero)
        context.save_for_backward(sums, multiplier, zero, outside)
        return steps.round_().add_(zero).clamp_(low, high)

    @staticmethod
    def backward(context: Any, slope: Torch) -> tuple[Torch | None, ...]:
        sums, multiplier, zero, outside = context.saved_tensors
        passed = slope.masked_fill(outside, 0.0)
        of_multiplier = (passed * sums).sum_to_size(multiplier.shape) if context.needs_input_grad[1] else None
        return passed * multiplier, of_multiplier, passed.sum_to_size(zero.shape) if context.needs_input_grad[2] else None, None, None


def _bounded(call: Call, integers: Torch, scale: Torch, zero: Torch, least: Torch, most: Torch) -> Torch:
    """Integers between the bounds of an activation, which are stored as other numbers are."""
    if call.get("is_rectified"):
        least = torch.zeros_like(scale)
    if least is not None and (bound := _stored(least, scale, zero)) > call.get("low"):
        integers = torch.where(integers < bound, bound, integers)
    if most is not None and (bound := _stored(most, scale, zero)) < call.get("high"):
        integers = torch.where(integers > bound, bound, integers)
    return integers


def _zero(zero: Torch, scale: Torch) -> Torch:
    """A zero point as a float; 0 where it is left out."""
    return (torch.zeros_like(scale) if zero is None else zero.to(scale.dtype)).reshape(())


def _channels(product: str, call: Call) -> int:
    """The axis of a weight along which its output channels lie."""
    return 0 if product == "Conv" or call.get("transB", 0) else 1


def _centered(integers: Torch, zero: Torch, scale: Torch, axis: int = 0) -> Torch:
    """Integers around 0, in float; the zero point is one, or one of each channel along an axis."""
    real = integers.to(scale.dtype)
    if zero is None:
        return real
    zero = zero.to(scale.dtype)
    return real - (zero.reshape(()) if zero.numel() == 1 else zero.reshape([-1 if at == axis else 1 for at in range(real.ndim)]))


def _stored(real: Torch, scale: Torch, zero: Torch) -> Torch:
    """The integer that a real number is stored as; gradients pass."""
    ratio = (real / scale).reshape(())
    return ratio + (ratio.round() - ratio).detach() + zero
