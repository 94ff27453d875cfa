"""``make demo``: a pretrained ImageNet model becomes an engine for this machine and a Raspberry Pi, and a package for a Jetson."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "demo" / "out"
ARGUMENTS = [
    "build",
    "demo/model/efficientnet-lite0.pth",
    "--factory",
    "tools/demo_model.py:efficientnet_lite0",
    "--shape",
    "1,3,224,224",
    "--target",
    "host,rpi5,jetson",
    "--samples",
    "calibration/demo-photos.toml",
    "-o",
    "demo/out",
]


def main() -> int:
    fetched = subprocess.run([sys.executable, "tools/fetch_demo.py"], cwd=ROOT, check=False)
    if fetched.returncode:
        return fetched.returncode
    began = time.monotonic()
    print(f"\n$ edgekit {shlex.join(ARGUMENTS)}\n", flush=True)
    built = subprocess.run([str(Path(sys.executable).with_name("edgekit")), *ARGUMENTS], cwd=ROOT, check=False)
    print(f"\n{time.monotonic() - began:.0f} s after the downloads; run it again: what was built is kept, only the measuring is done anew")
    return built.returncode


if __name__ == "__main__":
    sys.exit(main())
