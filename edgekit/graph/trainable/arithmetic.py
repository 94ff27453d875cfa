"""Number by number: sums, powers, comparisons, and products of matrices."""

from __future__ import annotations

from functools import reduce

import torch

from edgekit.graph.trainable.call import Call, Torch


def add(call: Call, a: Torch, b: Torch) -> Torch:
    """Add."""
    return a + b


def sub(call: Call, a: Torch, b: Torch) -> Torch:
    """Sub."""
    return a - b


def mul(call: Call, a: Torch, b: Torch) -> Torch:
    """Mul."""
    return a * b


def div(call: Call, a: Torch, b: Torch) -> Torch:
    """Div; integers are divided towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(call: Call, a: Torch, b: Torch) -> Torch:
    """Pow, in the type of the base."""
    return torch.pow(a, b).to(a.dtype)


def sqrt(call: Call, x: Torch) -> Torch:
    """Sqrt."""
    return torch.sqrt(x)


def reciprocal(call: Call, x: Torch) -> Torch:
    """Reciprocal."""
    return torch.reciprocal(x)


def neg(call: Call, x: Torch) -> Torch:
    """Neg."""
    return -x


def absolute(call: Call, x: Torch) -> Torch:
    """Abs."""
    return torch.abs(x)


def sign(call: Call, x: Torch) -> Torch:
    """Sign; where products alone read it, gradients pass straight through as far as 1, or none would ever pass.

    Source:
        Hubara et al., "Binarized Neural Networks", NeurIPS 2016, eq. 4.
    """
    if not call.is_straight:
        return torch.sign(x)
    through = x.clamp(-1.0, 1.0)
    return torch.sign(x).detach() + (through - through.detach())


def exp(call: Call, x: Torch) -> Torch:
    """Exp."""
    return torch.exp(x)


def log(call: Call, x: Torch) -> Torch:
    """Log."""
    return torch.log(x)


def erf(call: Call, x: Torch) -> Torch:
    """Erf."""
    return torch.erf(x)


def sin(call: Call, x: Torch) -> Torch:
    """Sin."""
    return torch.sin(x)


def cos(call: Call, x: Torch) -> Torch:
    """Cos."""
    return torch.cos(x)


def floor(call: Call, x: Torch) -> Torch:
    """Floor."""
    return torch.floor(x)


def ceil(call: Call, x: Torch) -> Torch:
    """Ceil."""
    return torch.ceil(x)


def nearest(call: Call, x: Torch) -> Torch:
    """Round, halves to even."""
    return torch.round(x)


def largest(call: Call, *xs: Torch) -> Torch:
    """Max of any number of tensors."""
    return reduce(torch.maximum, xs)


def smallest(call: Call, *xs: Torch) -> Torch:
    """Min of any number of tensors."""
    return reduce(torch.minimum, xs)


def total(call: Call, *xs: Torch) -> Torch:
    """Sum of any number of tensors."""
    return sum(xs[1:], xs[0])


def mean(call: Call, *xs: Torch) -> Torch:
    """Mean of any number of tensors."""
    return sum(xs[1:], xs[0]) / len(xs)


def equal(call: Call, a: Torch, b: Torch) -> Torch:
    """Equal."""
    return a == b


def greater(call: Call, a: Torch, b: Torch) -> Torch:
    """Greater."""
    return a > b


def greater_or_equal(call: Call, a: Torch, b: Torch) -> Torch:
    """GreaterOrEqual."""
    return a >= b


def less(call: Call, a: Torch, b: Torch) -> Torch:
    """Less."""
    return a < b


def less_or_equal(call: Call, a: Torch, b: Torch) -> Torch:
    """LessOrEqual."""
    return a <= b


def logical_not(call: Call, x: Torch) -> Torch:
    """Not."""
    return torch.logical_not(x)


def logical_and(call: Call, a: Torch, b: Torch) -> Torch:
    """And."""
    return torch.logical_and(a, b)


def logical_or(call: Call, a: Torch, b: Torch) -> Torch:
    """Or."""
    return torch.logical_or(a, b)


def where(call: Call, condition: Torch, a: Torch, b: Torch) -> Torch:
    """Where."""
    return torch.where(condition, a, b)


def matmul(call: Call, a: Torch, b: Torch) -> Torch:
    """MatMul."""
    return torch.matmul(a, b)


def gemm(call: Call, a: Torch, b: Torch, c: Torch = None) -> Torch:
    """Gemm."""
    left = a.transpose(0, 1) if call.get("transA", 0) else a
    right = b.transpose(0, 1) if call.get("transB", 0) else b
    product = torch.matmul(left, right) * call.get("alpha", 1.0)
    return product if c is None else product + c * call.get("beta", 1.0)


def einsum(call: Call, *xs: Torch) -> Torch:
    """Einsum."""
    return torch.einsum(call.get("equation").replace(" ", ""), *xs)
