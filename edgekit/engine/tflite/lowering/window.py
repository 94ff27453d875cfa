"""Windows that slide over pictures: ONNX's explicit padding, and when TFLite's SAME or VALID is exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node


@dataclass(frozen=True, slots=True)
class Slide:
    """A window sliding along one axis.

    Attributes:
        size: of the input.
        steps: of the output.
        reach: elements from a window's first to its last, both included.
        stride: from one window to the next.
        before: padding at the start, as ONNX has it.
    """

    size: int
    steps: int
    reach: int
    stride: int
    before: int

    @property
    def after(self) -> int:
        """Padding at the end that a window touches; ONNX may state more."""
        return max(0, (self.steps - 1) * self.stride + self.reach - self.size - self.before)

    @property
    def starts_beyond(self) -> bool:
        """Whether the last window starts behind the input. ONNX's shape inference counts such windows, nobody computes them."""
        return (self.steps - 1) * self.stride - self.before >= self.size

    @property
    def is_valid(self) -> bool:
        """Whether no window touches padding."""
        return self.before == 0 and self.after == 0

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME puts every window where it is."""
        steps = -(-self.size // self.stride)
        total = max((steps - 1) * self.stride + self.reach - self.size, 0)
        return self.steps == steps and self.before == total // 2


@dataclass(frozen=True, slots=True)
class Window:
    """A window sliding over height and width."""

    height: Slide
    width: Slide

    @property
    def scheme(self) -> str | None:
        """TFLite's padding scheme that is exactly this one; ``None`` if neither is."""
        if self.height.is_valid and self.width.is_valid:
            return "VALID"
        return "SAME" if self.height.is_same and self.width.is_same else None

    @property
    def padding(self) -> list[list[int]]:
        """For TFLite's PAD, of a tensor with its channels last."""
        return [[0, 0], [self.height.before, self.height.after], [self.width.before, self.width.after], [0, 0]]


def window(node: Node, graph: Graph, kernel: Sequence[int]) -> Window:
    """The window of a Conv or pooling node over its first input."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    strides, dilations = pair(node, "strides"), pair(node, "dilations")
    slides = []
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        slide = Slide(before[2 + axis], after[2 + axis], reach, strides[axis], 0)
        slides.append(Slide(slide.size, slide.steps, reach, slide.stride, _before(node, slide, axis)))
    return Window(*slides)


def _before(node: Node, slide: Slide, axis: int) -> int:
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return int(node.attrs.get("pads", (0, 0, 0, 0))[axis])
    if auto == "VALID":
        return 0
    total = slide.after
    return total // 2 if auto == "SAME_UPPER" else total - total // 2


def pair(node: Node, attribute: str) -> tuple[int, int]:
    """An attribute for height and width; 1 where it is not given."""
    height, width = node.attrs.get(attribute) or (1, 1)
    return int(height), int(width)


def check_window(node: Node, graph: Graph) -> Fault | None:
    """Why a window over this node's first input cannot be lowered."""
    rank = len(graph.shape(node.inputs[0]))
    if rank != 4:
        return Fault(f"only pictures (4 axes) are supported, not {rank} axes", "reshape to height 1 around it")
    if any(pad < 0 for pad in node.attrs.get("pads", ())):
        return Fault("negative padding", "crop with a Slice before it")
    return None


def strides(node: Node) -> dict[str, Any]:
    """Strides as TFLite's option tables name them."""
    height, width = pair(node, "strides")
    return {"strideH": height, "strideW": width}


def padded(to: Emitter, tensor: int, paddings: Sequence[Sequence[int]], filled_with: Array | None = None) -> int:
    """A tensor with padding around it.

    Args:
        to: what is written to.
        tensor: any axes, in the order they are stored.
        paddings: before and after, for each of them.
        filled_with: a single number as the tensor stores it; what stands for 0.0, if none is given.
    """
    shape = [size + before + after for size, (before, after) in zip(to.draft.shape(tensor), paddings, strict=True)]
    result = to.like(tensor, f"{to.draft.tensors[tensor].name}_padded", shape)
    table = to.integers("paddings", np.asarray(paddings))
    if filled_with is None:
        to.add("PAD", [tensor, table], [result])
    else:
        to.add("PADV2", [tensor, table, to.constant("fill", filled_with, to.draft.quant(tensor))], [result])
    return result
