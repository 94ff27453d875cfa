"""How many bytes constants have as they lie in a file, and after the compression that stores and downloads use."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import onnx

LEVEL = 9
COMPRESSING = frozenset({"prune", "cluster", "factorize", "binarize"})
"""Steps after which files hold less than their bytes."""


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of some constants.

    Attributes:
        raw: as they lie in the file.
        compressed: after DEFLATE at level 9, what zip, gzip and app packages use.
    """

    raw: int
    compressed: int


def sizes_of(proto: onnx.ModelProto) -> Sizes:
    """Of all initializers of a graph."""
    return compressed(tensor.raw_data or tensor.SerializeToString(deterministic=True) for tensor in proto.graph.initializer)


def compressed(parts: Iterable[bytes]) -> Sizes:
    """Of some bytes, one part behind the other."""
    raw, packed, packer = 0, 0, zlib.compressobj(LEVEL)
    for part in parts:
        raw += len(part)
        packed += len(packer.compress(part))
    return Sizes(raw, packed + len(packer.flush()))
