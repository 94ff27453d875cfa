"""What goes over a connection in both directions: a header as JSON and bytes that belong to it, both preceded by their lengths."""

from __future__ import annotations

import json
import struct
from typing import Any, Callable, Dict, Tuple

GREETING = b"edgekit-attendant 1\n"
"""The first line that is ours: what a login shell prints before it is passed over."""

LENGTHS = struct.Struct(">II")
MOST_BYTES = 1 << 30
CHUNK_BYTES = 128 * 1024

Frame = Tuple[Dict[str, Any], bytes]


def pack(header: Dict[str, Any], payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    told = json.dumps(header).encode()
    return LENGTHS.pack(len(told), len(payload)) + told + payload


def read_frame(take: Callable[[int], bytes]) -> Frame:
    """The next frame.

    Args:
        take: gives exactly so many bytes.

    Raises:
        ValueError: it is no frame.
    """
    told, carried = LENGTHS.unpack(take(LENGTHS.size))
    if told > MOST_BYTES or carried > MOST_BYTES:
        raise ValueError("a frame of %d bytes" % (told + carried))
    header = json.loads(take(told))
    return header, take(carried)
