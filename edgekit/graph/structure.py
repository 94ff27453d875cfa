"""What compression gave a graph's weights and later steps have to keep: zeros, values that are shared, few magnitudes.

It lies in the graph's metadata, so that it goes with the model through the store and every pass that keeps initializers' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    import onnx

KEY = "edgekit.structure"
"""Of the graph's metadata."""


class Structure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the numbers of one initializer hang together.

    Attributes:
        kind: ``sparse``: what is zero stays zero, 2:4 too. ``codebook``: what is equal stays equal. ``ternary``: each number is
            0, +a or -a. ``binary``: each is +a or -a.
        axis: slices along it have a codebook, or an a, of their own; None if the whole tensor has one.
        is_scaled: of a codebook with an axis: that of each slice is a multiple of one codebook, so that the same integers
            stand for it in all slices; its ends are opposite, and each slice that is not all 0 has at least one of them.

    An entry of a codebook that is 0 stays so.
    """

    kind: Literal["sparse", "codebook", "ternary", "binary"]
    axis: int | None = None
    is_scaled: bool = False

    @property
    def has_few_values(self) -> bool:
        """Whether equal weights have to stay equal: no rounding may go by what each is multiplied with."""
        return self.kind != "sparse"

    @property
    def is_of_one_scale(self) -> bool:
        """Whether equal weights of different slices have to become equal integers: all slices need the same scale."""
        return self.has_few_values and self.axis is None


def structures(proto: onnx.ModelProto) -> dict[str, Structure]:
    """The structure of each initializer that has one, by its name; of initializers that are gone none."""
    held = {tensor.name for tensor in proto.graph.initializer}
    for entry in proto.metadata_props:
        if entry.key == KEY:
            stored = msgspec.json.decode(entry.value, type=dict[str, Structure])
            return {name: structure for name, structure in stored.items() if name in held}
    return {}


def set_structures(proto: onnx.ModelProto, wanted: Mapping[str, Structure]) -> None:
    """Note in a graph what its initializers have to keep, besides what is noted there already; a name noted twice takes the last."""
    noted = {**structures(proto), **wanted}
    kept = [entry for entry in proto.metadata_props if entry.key != KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    if noted:
        proto.metadata_props.add(key=KEY, value=msgspec.json.encode(dict(sorted(noted.items()))).decode())
