"""A piece of graph read as a polynomial, so that a formula is found however its factors were ordered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

Powers = tuple[int, ...]
Terms = dict[Powers, float]

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Pow")
_MOST_NODES = 12
_HIGHEST_POWER = 6


@dataclass(slots=True)
class Expansion:
    """A polynomial in some tensors.

    Attributes:
        terms: coefficient by the power of each tensor.
        nodes: the nodes that compute it.
    """

    terms: Terms
    nodes: set[Node] = field(default_factory=set)

    def is_close_to(self, formula: Terms, *, rtol: float = 1e-5) -> bool:
        """Whether it has these terms and no others."""
        if self.terms.keys() != formula.keys():
            return False
        return all(abs(self.terms[powers] - value) <= rtol * abs(value) for powers, value in formula.items())


def expand(graph: Graph, name: str, variables: Sequence[str]) -> Expansion | None:
    """Read what makes ``name`` as a polynomial in ``variables``.

    Returns:
        None if something else goes into it, or it takes more than a dozen nodes.
    """
    found = Expansion({})
    terms = _terms(graph, name, variables, found.nodes)
    if terms is None:
        return None
    found.terms = {powers: value for powers, value in terms.items() if value}
    return found


def _terms(graph: Graph, name: str, variables: Sequence[str], nodes: set[Node]) -> Terms | None:
    if name in variables:
        return {tuple(int(variable == name) for variable in variables): 1.0}
    none: Powers = (0,) * len(variables)
    constant = graph.scalar(name)
    if constant is not None:
        return {none: constant} if (graph.rank(name) or 0) == 0 or _is_small(graph, name, variables) else None
    maker = graph.maker(name, *ARITHMETIC)
    if maker is None or len(nodes) >= _MOST_NODES:
        return None
    nodes.add(maker)
    parts = [_terms(graph, source, variables, nodes) for source in maker.inputs]
    first, second = parts[0], parts[-1]
    if first is None or second is None:
        return None
    return _combined(maker.op, first, second, none)


def _is_small(graph: Graph, name: str, variables: Sequence[str]) -> bool:
    """Whether a constant of one element has no more axes than the tensors, so that it gives them none."""
    ranks = [graph.rank(variable) for variable in variables]
    return any(rank is not None and rank >= (graph.rank(name) or 0) for rank in ranks)


def _combined(op: str, first: Terms, second: Terms, none: Powers) -> Terms | None:
    if op == "Neg":
        return {powers: -value for powers, value in first.items()}
    if op in ("Add", "Sub"):
        sign = 1.0 if op == "Add" else -1.0
        return {powers: first.get(powers, 0.0) + sign * second.get(powers, 0.0) for powers in {**first, **second}}
    if op == "Mul":
        return _product(first, second)
    divisor = second.get(none, 0.0)
    if second.keys() != {none} or divisor == 0:
        return None
    if op == "Div":
        return {powers: value / divisor for powers, value in first.items()}
    return _power(first, divisor, none)


def _power(base: Terms, exponent: float, none: Powers) -> Terms | None:
    if exponent not in range(1, _HIGHEST_POWER):
        return None
    result: Terms | None = {none: 1.0}
    for _ in range(int(exponent)):
        result = _product(result, base) if result is not None else None
    return result


def _product(first: Terms, second: Terms) -> Terms | None:
    result: Terms = {}
    for one, a in first.items():
        for other, b in second.items():
            powers = tuple(i + j for i, j in zip(one, other, strict=True))
            if sum(powers) > _HIGHEST_POWER:
                return None
            result[powers] = result.get(powers, 0.0) + a * b
    return result


def tensors_below(graph: Graph, name: str, *, depth: int = 6) -> Iterator[str]:
    """A tensor and those that arithmetic makes it of, nearest first, constants left out."""
    level, seen = [name], {name}
    for _ in range(depth):
        yield from level
        following: list[str] = []
        for source in level:
            maker = graph.maker(source, *ARITHMETIC)
            for tensor in maker.inputs if maker else ():
                if tensor not in seen and not graph.is_constant(tensor):
                    seen.add(tensor)
                    following.append(tensor)
        level = following


def tensors_above(graph: Graph, name: str, *, depth: int = 4) -> Iterator[str]:
    """Tensors that arithmetic makes of one, nearest first."""
    level = [name]
    for _ in range(depth):
        level = [user.outputs[0] for source in level for user in graph.users(source) if user.op in ARITHMETIC]
        level = list(dict.fromkeys(level))
        yield from level


@dataclass(frozen=True, slots=True)
class Formula:
    """Nodes that compute a function of one tensor.

    Attributes:
        source: that tensor.
        output: what they make.
        nodes: in the order of the graph; nobody else sees anything between.
    """

    source: str
    output: str
    nodes: list[Node]


def find_formula(graph: Graph, inner: Node, argument: Terms, outer: Terms) -> Formula | None:
    """Look around a node f for ``outer(x, f(argument(x)))``.

    Args:
        graph: the graph.
        inner: the node f, its argument the first input.
        argument: terms by the power of x.
        outer: terms by the powers of x and of f.
    """
    made = inner.outputs[0]
    for source in tensors_below(graph, inner.inputs[0]):
        below = expand(graph, inner.inputs[0], [source])
        if below is None or not below.is_close_to(argument):
            continue
        for output in tensors_above(graph, made):
            above = expand(graph, output, [source, made])
            if above is not None and above.is_close_to(outer):
                nodes = below.nodes | above.nodes | {inner}
                return Formula(source, output, graph.in_order(nodes)) if graph.is_closed(nodes, output) else None
    return None


def scaled(terms: Mapping[Powers, float], factor: float) -> Terms:
    """The polynomial times a number."""
    return {powers: value * factor for powers, value in terms.items()}
