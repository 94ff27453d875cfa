"""Where trtexec is."""

from __future__ import annotations

import os
import shutil

PATH = "/usr/src/tensorrt/bin/trtexec"


def find_trtexec() -> str:
    """``$TRTEXEC``, JetPack's own place, or what is on the path; "" if there is none."""
    for one in (os.environ.get("TRTEXEC", ""), PATH, shutil.which("trtexec") or ""):
        if one and os.access(one, os.X_OK):
            return one
    return ""
