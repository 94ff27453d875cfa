"""Where: which nodes compute in integers, which tensors are stored so, and which of these share one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View, attributes
from edgekit.graph.weighted import ACTIVATIONS, Weighted, is_inside, weighted_nodes
from edgekit.passes.quantize.before_signs import before_signs
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx

Edge = tuple[str, int]
"""A node's name and the place of one of its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What will be integer; plain values, decided from the graph and the scheme alone.

    Attributes:
        weighted: nodes whose weights are stored as integers, by name.
        integer: names of all nodes that compute in integers.
        left_float: nodes that compute in float, with the reason.
        tensors: what is stored as integers, each with the tensor that names its group: one scale, one zero point.
        sources: for each group, the tensors whose values decide its range.
        fixed: scale and zero point that the runtime prescribes, by group.
        bare: edges that read the unquantized tensor all the same.
        converted: edges that read it converted to the scale of another group, which is named.
    """

    weighted: dict[str, Weighted]
    integer: tuple[str, ...]
    left_float: dict[str, str]
    tensors: dict[str, str]
    sources: dict[str, tuple[str, ...]]
    fixed: dict[str, tuple[float, int]]
    bare: frozenset[Edge]
    converted: dict[Edge, str]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A node with what its runtime computes along with it: a bias's Add, an activation."""

    node: onnx.NodeProto
    reads: tuple[Edge, ...]
    output: str


def place(view: View, scheme: Scheme, keep_float: Mapping[str, str] = MappingProxyType({})) -> Placement:
    """Decide what is integer in a graph under a scheme.

    Args:
        view: the graph.
        scheme: the integers that the runtime wants.
        keep_float: names of nodes that are to compute in float all the same, each with the reason; what is computed along
            with one, such as the Add of its bias, goes with it.
    """
    weighted = weighted_nodes(view)
    units, left_float = _units(view, scheme, weighted, {**before_signs(view, scheme), **keep_float})
    copies = frozenset(scheme.same_scale_ops) | frozenset(scheme.shared_input_ops)
    movers = [unit for unit in units if unit.node.op_type in copies]
    computing = _read_as_integers([unit for unit in units if unit.node.op_type not in copies], movers, scheme)
    bare = _bare_edges(view, computing, weighted) if scheme.residual == "skip" else frozenset()
    wanted = _wanted(computing, bare, scheme)
    copying = _copies_among(movers, wanted)
    groups = _Groups()
    for node in view.nodes:
        if node.op_type in scheme.fixed_output and wanted.issuperset((node.input[0], node.output[0])):
            groups.fixed[node.output[0]] = scheme.fixed_output[node.op_type]
    converted = _join(groups, copying, scheme)
    members = {tensor: groups.of(tensor) for tensor in sorted(wanted)}
    names = {unit.node.name for unit in computing + copying}
    bare |= _float_to_float(view, [*computing, *copying], members)
    return Placement(
        weighted={name: one for name, one in weighted.items() if name in names},
        integer=tuple(unit.node.name for unit in units if unit.node.name in names),
        left_float=left_float,
        tensors=members,
        sources=_sources(members, copying, converted),
        fixed={groups.of(tensor): value for tensor, value in groups.fixed.items()},
        bare=bare,
        converted={edge: groups.of(tensor) for edge, (_, tensor) in converted.items()},
    )


def _float_to_float(view: View, integer: list[_Unit], members: dict[str, str]) -> frozenset[Edge]:
    """Edges between two nodes that compute in float: what others read as integers they read as it was made."""
    made = {unit.output for unit in integer} | {name for unit in integer for name in _made(unit)}
    names = {unit.node.name for unit in integer}
    float_made = [tensor for tensor in members if tensor not in made and tensor not in view.outputs and tensor not in view.constants]
    return frozenset((node.name, at) for tensor in float_made for node, at in view.readers(tensor) if node.name not in names)


def _units(view: View, scheme: Scheme, weighted: dict[str, Weighted], keep_float: Mapping[str, str]) -> tuple[list[_Unit], dict[str, str]]:
    copies = frozenset(scheme.same_scale_ops) | frozenset(scheme.shared_input_ops)
    units: list[_Unit] = []
    left_float: dict[str, str] = {}
    absorbed: set[str] = set()
    for node in view.nodes:
        if node.op_type not in scheme.integer_ops or node.name in absorbed:
            continue
        places = (0,) if node.name in weighted else view.data_inputs(node)
        if not all(view.is_float(node.input[at]) for at in places) or not view.is_float(node.output[0]) or is_inside(view, node.input[0]):
            continue
        ends_here = node.op_type in copies or node.op_type in scheme.fixed_output
        tail = [] if ends_here else _tail(view, node, weighted.get(node.name))
        reason = keep_float.get(node.name) or _reason_for_float(view, node, weighted)
        along = [one.name for one in tail] if node.name in keep_float or not reason else []
        absorbed.update(along)
        if reason:
            left_float |= dict.fromkeys([node.name, *along], reason)
            continue
        output = (tail or [node])[-1].output[0]
        units.append(_Unit(node=node, reads=tuple((node.name, at) for at in places), output=output))
    others = [node for node in view.nodes if node.op_type not in scheme.integer_ops and node.name not in absorbed and view.is_float(node.output[0])]
    left_float |= {node.name: f"{node.op_type} is not computed in integers by this runtime" for node in others}
    return units, left_float


def _reason_for_float(view: View, node: onnx.NodeProto, weighted: dict[str, Weighted]) -> str:
    """Why a node stays float although its operator need not; "" if it need not."""
    if node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.name not in weighted:
        return "its weights or its bias are not constant, or of a form that has no integer kernel"
    if all(node.input[at] in view.constants for at in view.data_inputs(node)):
        return "all of its inputs are constant"
    has = attributes(node)
    if node.op_type == "AveragePool" and has.get("ceil_mode", 0) and has.get("count_include_pad", 0):
        return "it counts padding and rounds its size up, which ONNX Runtime's integer kernel averages wrongly"
    if node.op_type == "Pad":
        mode = has.get("mode", b"constant")
        value = node.input[2] if len(node.input) > 2 else ""
        if mode == b"constant" and value and not (value in view.constants and view.value(value).item() == 0.0):
            return "it pads with another value than 0"
    return ""


def _tail(view: View, node: onnx.NodeProto, weighted: Weighted | None) -> list[onnx.NodeProto]:
    """What the runtime computes along with a node: the Add of its bias, an activation."""
    tail = []
    if weighted is not None and weighted.bias_adder is not None:
        adder = view.only_reader(node.output[0])
        if adder is not None:
            tail.append(adder)
    reader = view.only_reader((tail or [node])[-1].output[0])
    return [*tail, reader] if reader is not None and reader.op_type in ACTIVATIONS else tail


def _read_as_integers(computing: list[_Unit], movers: list[_Unit], scheme: Scheme) -> list[_Unit]:
    """The nodes that compute in integers, without those that gain nothing by it because what they make is read in float."""
    while True:
        read = {unit.node.input[at] for unit in computing for _, at in unit.reads}
        for mover in reversed(movers):
            if not read.isdisjoint(_made(mover)):
                read.update(mover.node.input[at] for _, at in mover.reads)
        kept = [
            unit for unit in computing if unit.node.op_type not in scheme.float_output_ops or unit.node.op_type in PRODUCTS or unit.output in read
        ]
        if len(kept) == len(computing):
            return kept
        computing = kept


def _bare_edges(view: View, computing: list[_Unit], weighted: dict[str, Weighted]) -> frozenset[Edge]:
    """Of each residual Add, the edge from the convolution that it will be computed with."""
    depth: dict[str, int] = {}
    for node in view.nodes:
        reached = 1 + max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, reached))
    plain = {unit.output for unit in computing if unit.node.name in weighted and unit.output == weighted[unit.node.name].output}
    bare = set()
    for unit in computing:
        if unit.node.op_type == "Add":
            ends = [edge for edge in unit.reads if unit.node.input[edge[1]] in plain and view.only_reader(unit.node.input[edge[1]]) is not None]
            if ends:
                bare.add(max(ends, key=lambda edge: (depth[unit.node.input[edge[1]]], -edge[1])))
    return frozenset(bare)


def _wanted(computing: list[_Unit], bare: frozenset[Edge], scheme: Scheme) -> set[str]:
    """The tensors that nodes which compute in integers need as integers."""
    wanted = {unit.node.input[edge[1]] for unit in computing for edge in unit.reads if edge not in bare}
    bared = {unit.node.input[edge[1]] for unit in computing for edge in unit.reads if edge in bare}
    return wanted | {unit.output for unit in computing if unit.node.op_type not in scheme.float_output_ops and unit.output not in bared}


def _copies_among(units: list[_Unit], wanted: set[str]) -> list[_Unit]:
    """Nodes that only move numbers, and follow what is around them; ``wanted`` grows by what they read and make."""
    taken: set[str] = set()
    while True:
        now = [unit for unit in units if unit.node.name not in taken and not wanted.isdisjoint(_around(unit))]
        if not now:
            return [unit for unit in units if unit.node.name in taken]
        for unit in now:
            taken.add(unit.node.name)
            wanted.update(_around(unit))


def _around(unit: _Unit) -> list[str]:
    return [*(unit.node.input[at] for _, at in unit.reads), *_made(unit)]


def _made(unit: _Unit) -> list[str]:
    """What a node that only moves numbers makes of them; the places of maxima are no such numbers."""
    return [unit.node.output[0]] if unit.node.op_type == "MaxPool" else [name for name in unit.node.output if name]


class _Groups:
    """Tensors that share one scale, joined as rules are met."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self.fixed: dict[str, tuple[float, int]] = {}

    def of(self, tensor: str) -> str:
        """The tensor that names the group of this one."""
        while tensor in self._parent:
            tensor = self._parent[tensor]
        return tensor

    def join(self, tensor: str, other: str) -> None:
        """Let two tensors share a scale; that of ``tensor`` names the group."""
        root, joining = self.of(tensor), self.of(other)
        if root != joining:
            self._parent[joining] = root
            if joining in self.fixed:
                self.fixed[root] = self.fixed.pop(joining)


def _join(groups: _Groups, copying: list[_Unit], scheme: Scheme) -> dict[Edge, tuple[str, str]]:
    """Join what must share a scale, in the graph's order.

    Returns:
        Edges whose tensor has a prescribed scale that the others do not share: (the tensor, one of the group it is
        converted to).
    """
    converted: dict[Edge, tuple[str, str]] = {}
    for unit in copying:
        read = {edge: unit.node.input[edge[1]] for edge in unit.reads}
        if unit.node.op_type in scheme.shared_input_ops:
            prescribed = {edge: groups.fixed.get(groups.of(tensor)) for edge, tensor in read.items()}
            if len(set(prescribed.values())) > 1:
                odd = {edge: (read[edge], unit.output) for edge, value in prescribed.items() if value is not None}
                converted.update(odd)
                read = {edge: tensor for edge, tensor in read.items() if edge not in odd}
        for tensor in [*read.values(), *_made(unit)]:
            groups.join(tensor, unit.output)
    return converted


def _sources(members: dict[str, str], copying: list[_Unit], converted: dict[Edge, tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """For each group, the tensors whose values decide its range: copies of others add nothing."""
    copied = {name for unit in copying for name in _made(unit)}
    sources: dict[str, list[str]] = {}
    for tensor, group in members.items():
        if tensor not in copied:
            sources.setdefault(group, []).append(tensor)
    for tensor, one_of_group in converted.values():
        sources.setdefault(members[one_of_group], []).append(tensor)
    return {group: tuple(tensors) for group, tensors in sources.items()}
