"""Whether the user of a device has a home that files can be kept in: the user of Android's shell has none, but a folder of its own."""

from __future__ import annotations

import os

ANDROID = "/data/local/tmp"


def is_homeless() -> bool:
    """Whether files go below Android's folder for what its shell puts there."""
    return not os.access(os.path.expanduser("~"), os.W_OK) and os.access(ANDROID, os.W_OK)
