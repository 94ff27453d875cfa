"""Products of matrices and tensors: Gemm, MatMul of vectors, Einsum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.normal.parts import Parts

_MOST_BATCH_AXES = 2
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _gemm(node: Node, graph: Graph) -> list[Node] | Fault:
    """Factors go into constants; a bias that is no constant row into an Add; a second matrix that is computed into a MatMul."""
    parts = Parts(node, graph)
    if not graph.is_constant(node.inputs[1]) or graph.is_constant(node.inputs[0]):
        return _product(parts)
    for index, attribute in ((1, "alpha"), (2, "beta")):
        factor = node.attrs.get(attribute, 1.0)
        if factor != 1.0 and index < len(node.inputs) and graph.is_constant(node.inputs[index]):
            node.inputs[index] = parts.constant(graph.constants[node.inputs[index]].real() * factor)
            node.attrs[attribute] = 1.0
    if len(node.inputs) < 3 or not node.inputs[2]:
        node.attrs["beta"] = 1.0
        return [node]
    bias, columns = node.inputs[2], parts.shape(node.outputs[0])[-1]
    is_row = graph.is_constant(bias) and (prod(parts.shape(bias)) == 1 or (prod(parts.shape(bias)), parts.shape(bias)[-1]) == (columns, columns))
    if is_row:
        return [node]
    shifted = bias if node.attrs.get("beta", 1.0) == 1.0 else parts.add("Mul", bias, node.attrs["beta"])
    attrs = {**node.attrs, "beta": 1.0}
    product = parts.add("Gemm", *node.inputs[:2], shape=parts.shape(node.outputs[0]), **attrs)
    parts.add("Add", product, shifted, into=0)
    return parts.nodes


def _product(parts: Parts) -> list[Node]:
    node = parts.node
    sides = [parts.transpose(name, (1, 0)) if node.attrs.get(key) else name for name, key in zip(node.inputs, ("transA", "transB"), strict=False)]
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    shape = parts.shape(node.outputs[0])
    is_last = alpha == 1.0 and not bias
    found = parts.add("MatMul", *sides, into=0 if is_last else None, shape=shape)
    if alpha != 1.0:
        found = parts.add("Mul", found, alpha, into=None if bias else 0)
    if bias:
        parts.add("Add", found, bias if beta == 1.0 else parts.add("Mul", bias, beta), into=0)
    return parts.nodes


def _matmul(node: Node, graph: Graph) -> list[Node] | Fault:
    """Vectors are matrices of one row or one column."""
    ranks = [len(graph.shape(name)) for name in node.inputs[:2]]
    if min(ranks) > 1:
        return [node]
    parts = Parts(node, graph)
    left, right = node.inputs[:2]
    left = parts.reshape(left, (1, *parts.shape(left))) if ranks[0] == 1 else left
    right = parts.reshape(right, (*parts.shape(right), 1)) if ranks[1] == 1 else right
    batch = np.broadcast_shapes(parts.shape(left)[:-2], parts.shape(right)[:-2])
    product = parts.add("MatMul", left, right, shape=(*batch, parts.shape(left)[-2], parts.shape(right)[-1]))
    parts.reshape(product, parts.shape(node.outputs[0]), into=0)
    return parts.nodes


def _einsum(node: Node, graph: Graph) -> list[Node] | Fault:
    """One pair after another: what both share and the result keeps is the batch, what it does not keep is summed over."""
    parts = Parts(node, graph)
    terms, result = _terms(node, [len(graph.shape(name)) for name in node.inputs])
    sizes = {letter: size for name, term in zip(node.inputs, terms, strict=True) for letter, size in zip(term, graph.shape(name), strict=True)}
    if any(
        sizes[letter] != size for name, term in zip(node.inputs, terms, strict=True) for letter, size in zip(term, graph.shape(name), strict=True)
    ):
        return Fault("it broadcasts an axis of size 1", "Expand it before")
    operands = [_diagonal(parts, name, term) for name, term in zip(node.inputs, terms, strict=True)]
    name, term = operands[0]
    for place, (other, letters) in enumerate(operands[1:], 1):
        kept = set(result).union(*(later for _, later in operands[place + 1 :]))
        name, term = _pair(parts, (name, term), (other, letters), kept)
    name, term = _summed(parts, name, term, set(result))
    parts.transpose(name, [term.index(letter) for letter in result], into=0)
    return parts.nodes


def _terms(node: Node, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result; those of an ellipsis are capital."""
    equation = node.attrs["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    free = [letter for letter in _LETTERS if letter not in equation]
    terms, most = [], 0
    for term, rank in zip(left.split(","), ranks, strict=True):
        hidden = rank - len(term.replace("...", ""))
        most = max(most, hidden)
        terms.append(term.replace("...", "".join(free[len(free) - hidden :]) if hidden else ""))
    rest = "".join(free[len(free) - most :]) if most else ""
    if not arrow:
        letters = "".join(terms)
        right = "..." * ("..." in left) + "".join(sorted(one for one in set(letters) if letters.count(one) == 1 and one not in rest))
    return terms, right.replace("...", rest)


def _diagonal(parts: Parts, name: str, term: str) -> tuple[str, str]:
    """An operand in which every letter stands once."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            shape = parts.shape(name)
            eye = np.eye(shape[first]).reshape([shape[first] if axis in (first, second) else 1 for axis in range(len(shape))])
            name = parts.reduce("ReduceSum", parts.add("Mul", name, parts.constant(eye)), [second], keepdims=False)
            term = term[:second] + term[second + 1 :]
    return name, term


def _summed(parts: Parts, name: str, term: str, kept: set[str]) -> tuple[str, str]:
    axes = [axis for axis, letter in enumerate(term) if letter not in kept]
    if not axes:
        return name, term
    return parts.reduce("ReduceSum", name, axes, keepdims=False), "".join(letter for letter in term if letter in kept)


def _pair(parts: Parts, one: tuple[str, str], other: tuple[str, str], kept: set[str]) -> tuple[str, str]:
    """The product of two operands, without what nobody asks for any more."""
    a, left = _summed(parts, *one, kept | set(other[1]))
    b, right = _summed(parts, *other, kept | set(left))
    shared = [letter for letter in left if letter in right]
    batch, inner = [one for one in shared if one in kept], [one for one in shared if one not in kept]
    rows, columns = [one for one in left if one not in right], [one for one in right if one not in left]
    sizes = {letter: size for name, term in ((a, left), (b, right)) for letter, size in zip(term, parts.shape(name), strict=True)}
    a = parts.transpose(a, [left.index(letter) for letter in (*batch, *rows, *inner)])
    b = parts.transpose(b, [right.index(letter) for letter in (*batch, *inner, *columns)])
    whole = [sizes[letter] for letter in (*batch, *rows, *columns)]
    term = "".join((*batch, *rows, *columns))
    if not inner:
        a = _reshaped(parts, a, [*(sizes[one] for one in (*batch, *rows)), *(1,) * len(columns)])
        b = _reshaped(parts, b, [*(sizes[one] for one in batch), *(1,) * len(rows), *(sizes[one] for one in columns)])
        return parts.add("Mul", a, b), term
    outer = [sizes[one] for one in batch] if len(batch) <= _MOST_BATCH_AXES else [prod(sizes[one] for one in batch)]
    height, depth, width = (prod(sizes[one] for one in letters) for letters in (rows, inner, columns))
    a, b = _reshaped(parts, a, [*outer, height, depth]), _reshaped(parts, b, [*outer, depth, width])
    product = parts.add("MatMul", a, b, shape=[*outer, height, width])
    return _reshaped(parts, product, whole), term


def _reshaped(parts: Parts, name: str, sizes: Sequence[int]) -> str:
    return name if parts.shape(name) == tuple(sizes) else parts.reshape(name, sizes)


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
