"""Layers that can become several smaller ones: their weights, what is known of their inputs, and how often they are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted

F64 = NDArray[np.float64]
Sizes = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A matrix product, or a convolution over two axes with one group.

    Attributes:
        node: of the graph.
        kernel: shape (outputs, inputs, height, width); 1 x 1 of a matrix.
        before: places of its input, down and across; of a matrix (rows, 1).
        behind: places of its output.
    """

    node: Weighted
    kernel: F64
    before: Sizes
    behind: Sizes

    @property
    def matrix(self) -> F64:
        """The kernel as (outputs, inputs of each)."""
        return self.kernel.reshape(len(self.kernel), -1)

    @property
    def is_pointwise(self) -> bool:
        """Whether it has no kernel to take apart."""
        return self.kernel.shape[2:] == (1, 1)


def layer_of(view: View, node: Weighted) -> Layer | str:
    """A node as a layer, or why it cannot be taken apart.

    Raises:
        SourceError: a weight is infinite or not a number.
    """
    weight = view.value(node.weight)
    if node.window is not None and (node.window.is_transposed or node.groups > 1 or len(node.window.kernel) != 2):
        form = "transposed" if node.window.is_transposed else "with groups" if node.groups > 1 else f"over {len(node.window.kernel)} axes"
        return f"a convolution {form} is not taken apart"
    if len(view.readers(node.weight)) > 1:
        return "other nodes read its weights, too"
    rows = node.by_channel(weight)
    if not np.all(np.isfinite(rows)):
        raise SourceError(f"{node.weight}: a weight is infinite or not a number", hint="check the float model itself")
    before, behind = _places(view, node, node.input), _places(view, node, node.output)
    if before is None or behind is None:
        return "the sizes of what it reads or makes are not known"
    kernel = node.window.kernel if node.window is not None else (1, 1)
    return Layer(node=node, kernel=rows.reshape(len(rows), -1, *kernel), before=before, behind=behind)


def _places(view: View, node: Weighted, tensor: str) -> Sizes | None:
    """Places at which a product is computed; sizes left open count as 1, but not those of pictures."""
    shape = view.shape(tensor)
    if shape is None:
        return None
    if node.window is None:
        return int(np.prod([size for size in shape[:-1] if isinstance(size, int)], initial=1)), 1
    down, across = shape[2:]
    return (down, across) if isinstance(down, int) and isinstance(across, int) else None
