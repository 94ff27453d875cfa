"""Which nodes the DLA of a board will take, which fall back to the GPU, and what would keep them.

A prediction from NVIDIA's table: the board's own build log has the last word. Each change between DLA and GPU costs a copy and
a wait, so the number of pieces matters as much as the number of nodes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from edgekit import strict
from edgekit.engine.tensorrt.rules import Version, version_of
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

_NEEDS_CONSTANT = frozenset({"MatMul", "Gemm"})


class Kernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of convolutions."""

    ops: tuple[str, ...]
    most: int
    most_stride: int
    most_channels: int


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of poolings."""

    ops: tuple[str, ...]
    most: int


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``dla.toml``."""

    most_batch: int
    most_size: int
    most_loadables: int
    last_release: str
    native: tuple[str, ...]
    vanishing: tuple[str, ...]
    rewrites: dict[str, str]
    kernel: Kernel
    window: Window


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node that goes to the GPU, and what would keep it on the DLA."""

    node: str
    op: str
    reason: str
    remedy: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.node} ({self.op}): {self.reason}; {self.remedy}"


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the nodes of a graph are expected to run.

    Attributes:
        nodes: that become layers.
        taken: of these, by the DLA.
        parts: pieces that the DLA runs one after the other; between two of them stands the GPU.
        fallbacks: the nodes left to the GPU.
        multiply_adds_taken: share of the multiply-adds that the DLA runs, 0 to 1; None if there are none.
    """

    nodes: int
    taken: int
    parts: int
    fallbacks: tuple[Fallback, ...]
    multiply_adds_taken: float | None = None

    def sentence(self) -> str:
        """Counts in one line."""
        macs = "" if self.multiply_adds_taken is None else f" ({self.multiply_adds_taken:.0%} of the multiply-adds)"
        return f"predicted: the DLA takes {self.taken} of {self.nodes} nodes{macs} in {self.parts} {'piece' if self.parts == 1 else 'pieces'}"


@functools.cache
def table() -> Table:
    """What ships with edgekit."""
    return strict.read(Path(__file__).with_name("dla.toml"), Table)


def has_dla(release: Version) -> bool:
    """Whether a release of TensorRT that edgekit has targets for builds for a DLA."""
    return release[:2] <= version_of(table().last_release)


def predict(graph: Graph, macs: Mapping[str, int] = MappingProxyType({})) -> Placement:
    """Place every node of a graph.

    Args:
        graph: shapes inferred.
        macs: multiply-adds by node.
    """
    rules = table()
    fallbacks, parts, inside, taken = [], 0, False, []
    placed = [node for node in graph.walk() if node.op not in rules.vanishing]
    for node in placed:
        fault = _fault(graph, node, rules)
        if fault is None:
            parts += not inside
            taken.append(node)
        else:
            fallbacks.append(Fallback(node=node.name, op=node.op, reason=fault[0], remedy=fault[1]))
        inside = fault is None
    whole = sum(macs.get(node.name, 0) for node in placed)
    share = sum(macs.get(node.name, 0) for node in taken) / whole if whole else None
    return Placement(nodes=len(placed), taken=len(taken), parts=parts, fallbacks=tuple(fallbacks), multiply_adds_taken=share)


def _fault(graph: Graph, node: Node, rules: Table) -> tuple[str, str] | None:
    """Why a node goes to the GPU, and what would keep it."""
    if node.op not in rules.native:
        remedy = rules.rewrites.get(node.op)
        return f"the DLA has no {node.op}", f"in its place: {remedy}" if remedy else "it stays on the GPU"
    for name in (*node.inputs, *node.outputs):
        shape = graph.shape(name) if name and not graph.is_constant(name) else None
        if shape is not None and not all(isinstance(size, int) for size in shape):
            return f"{name} has an open size", "pin every size with --shape: the DLA takes no other"
        if shape and (int(shape[0]) > rules.most_batch or any(int(size) > rules.most_size for size in shape[1:])):
            return f"{name} is larger than the DLA takes", f"keep the batch within {rules.most_batch} and every other size within {rules.most_size}"
    return _kernel(graph, node, rules.kernel) or _window(node, rules.window) or _form(graph, node)


def _kernel(graph: Graph, node: Node, limits: Kernel) -> tuple[str, str] | None:
    weights = graph.static_shape(node.input(1)) if node.op in limits.ops else None
    if weights is None:
        return None
    if len(weights) != 4:
        return f"it is a convolution over {len(weights) - 2} axes", "the DLA has them over two alone"
    if max(weights[2:]) > limits.most or max(node.get("strides", (1,))) > limits.most_stride:
        return "its kernel or stride is larger than the DLA takes", f"kernels of {limits.most} and strides of {limits.most_stride} at most"
    if max(weights[:2]) > limits.most_channels:
        return f"it has more than {limits.most_channels} channels", "split it by channels"
    return None


def _window(node: Node, limits: Window) -> tuple[str, str] | None:
    if node.op in limits.ops and max(node.get("kernel_shape", (1,))) > limits.most:
        size = "x".join(str(one) for one in node.get("kernel_shape"))
        return f"its window is {size}; the DLA takes {limits.most} at most", f"two poolings one after the other, each within {limits.most}"
    return None


def _form(graph: Graph, node: Node) -> tuple[str, str] | None:
    rank = graph.rank(node.outputs[0])
    if node.op in _NEEDS_CONSTANT and not _is_weight(graph, node.input(1)):
        return "its second input is computed", "the DLA multiplies by constants alone: it stays on the GPU"
    if node.op == "Concat" and rank is not None and node.get("axis", 1) % rank != 1:
        return "it joins along another axis than the channels", "join along the channels"
    if node.op == "ConvTranspose" and (node.get("group", 1) != 1 or any(one != 1 for one in node.get("dilations", ())) or any(node.get("pads", ()))):
        return "it has groups, dilation or padding", "a ConvTranspose without, and a Slice behind it where it padded"
    return None


def _is_weight(graph: Graph, name: str) -> bool:
    maker = graph.maker(name, "DequantizeLinear")
    return graph.is_constant(maker.inputs[0] if maker else name)
