"""An ONNX graph, or a part of it, as a torch module whose parameters bear the initializers' names, and back.

Nothing here imports torch until a graph is made trainable; the other files of this room do, and only this one imports them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.extras import extra

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.trainable.module import Trainable

Array = np.ndarray[Any, np.dtype[Any]]


def trainable(
    proto: onnx.ModelProto, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None, replaced: Collection[str] = ()
) -> Trainable:
    """A torch module that computes what a graph computes.

    Float initializers become parameters; what is no weight (bounds, scales of Q/DQ, exponents, statistics, single numbers
    to multiply with) and all integers become buffers. QuantizeLinear rounds and clips, and lets gradients of what it does
    not clip pass. Normalization uses the statistics in the file and Dropout does nothing, in training as well.

    Args:
        proto: in store form: opset 21, no operators of other domains.
        inputs: tensors to begin from, inner ones too; the graph's inputs if None.
        outputs: tensors to end with, inner ones too; the graph's outputs if None. Only nodes that they need are taken in.
        replaced: what nodes make and others will stand in for. Products of stored numbers are computed in one piece otherwise, as
            engines do, and what they read as weight or bias is never there by itself.

    Raises:
        MissingExtraError: torch is not installed.
        SourceError: no node makes a wanted tensor, or it depends on a graph input that is not among ``inputs``.
        UnsupportedError: nodes have no counterpart here; ``refusals`` lists them.
    """
    with extra("torch"):
        from edgekit.graph.trainable.module import build
    return build(proto, inputs, outputs, replaced)


def trained(proto: onnx.ModelProto, values: Mapping[str, Array]) -> onnx.ModelProto:
    """A graph with new values in its initializers, their types kept.

    Args:
        proto: it is left alone.
        values: by the initializer's name, such as :meth:`Trainable.values` gives.

    Raises:
        SourceError: the graph has no such initializer, or one of another shape.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    held = {tensor.name: tensor for tensor in made.graph.initializer}
    if foreign := values.keys() - held.keys():
        raise SourceError(f"this graph has no constant {', '.join(sorted(foreign))}", hint="write back into the graph that was made trainable")
    for name, value in values.items():
        old = held[name]
        if tuple(old.dims) != value.shape:
            sizes = f"{list(value.shape)} instead of {list(old.dims)}"
            raise SourceError(f"{name}: its new values have the shape {sizes}", hint="write back into the graph that was made trainable")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(old.data_type)
        old.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value).astype(dtype).reshape(value.shape), name))
    return made
