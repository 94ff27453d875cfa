"""What a board has that has no Python: a shell and the tools of BusyBox, or those of Android, mksh and toybox; and a stand-in for
LiteRT's ``benchmark_model``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

KINDS = ("busybox", "toybox")
SHELLS = {"busybox": "busybox", "toybox": "mksh"}


def why_not(kind: str) -> str:
    """Why there can be no such board here; "" if there can."""
    lacking = [program for program in dict.fromkeys((kind, SHELLS[kind])) if shutil.which(program) is None]
    return f"needs {', '.join(lacking)}: apt-get install {' '.join(lacking)}" if lacking else ""


def tools(kind: str, folder: Path, *, but: tuple[str, ...] = ()) -> Path:
    """A folder with the tools of a kind, as the board's whole PATH."""
    folder.mkdir(parents=True)
    program = shutil.which(kind)
    asked = [program, "--list"] if kind == "busybox" else [program]
    names = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    for name in names:
        if name not in but and "/" not in name:
            (folder / name).symlink_to(program)
    (folder / "sh").unlink(missing_ok=True)
    (folder / "sh").symlink_to(shutil.which(SHELLS[kind]))
    return folder
