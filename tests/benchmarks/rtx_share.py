"""How many networks NVIDIA's compiler builds, in float16 and in int8: ``python tests/benchmarks/rtx_share.py FILE…``.

Each file goes through ``edgekit build --target nvidia-rtx-ampere`` with four samples of random numbers, in a process of its
own, where tensorrt-rtx is installed. Printed are the nodes that NVIDIA's parser took, the size of the engine that its compiler
built, and the memory that its log tells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RECIPES = ("fp16", "static_wi8_ai8")
MINUTES = 15


def samples(inputs: list[dict], folder: Path) -> None:
    """Four samples of random numbers; integers are small enough to be tokens."""
    generator = np.random.default_rng(0)
    for index in range(4):
        arrays = {}
        for port in inputs:
            shape = [size if isinstance(size, int) else 1 for size in port["shape"]]
            drawn = generator.random(shape) if port["dtype"].startswith("float") else generator.integers(0, 2, shape)
            arrays[port["name"]] = drawn.astype(port["dtype"])
        np.savez(folder / f"{index}.npz", **arrays)


def asked(*argv: str, store: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGEKIT_STORE": str(store)}
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *argv], capture_output=True, text=True, timeout=60 * MINUTES, check=False, env=environment
    )


def built(file: Path, recipe: str, stage: Path, run: int) -> dict:
    """What came of one network with one recipe, from an empty store."""
    out, store = stage / f"{recipe}-{run}", stage / f"store-{run}"
    options = ["--target", "nvidia-rtx-ampere", "--recipe", recipe, "--samples", str(stage / "samples"), "--no-bench", "-o", str(out)]
    try:
        ran = asked("build", str(file), *options, store=store)
    except subprocess.TimeoutExpired:
        return {"why": f"longer than {MINUTES} min"}
    engine = out / "engines" / "nvidia-rtx-ampere-tensorrt-rtx" / "engine.json"
    if not engine.exists():
        return {"why": " | ".join(line.strip() for line in ran.stderr.splitlines() if "Error" in line or line.startswith("  -"))[:400]}
    return dict(json.loads(engine.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twice", action="store_true", help="build each a second time and compare the bytes")
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    for file in given.files:
        with tempfile.TemporaryDirectory() as name:
            stage = Path(name)
            (stage / "samples").mkdir()
            looked = asked("inspect", str(file), "--json", store=stage / "store-1")
            if looked.returncode:
                print(f"{file.name}: {looked.stderr.strip()[-200:]}", flush=True)
                continue
            samples(json.loads(looked.stdout)["inputs"], stage / "samples")
            for recipe in RECIPES:
                print(line(file, recipe, [built(file.resolve(), recipe, stage, run) for run in range(1, 3 if given.twice else 2)]), flush=True)


def line(file: Path, recipe: str, found: list[dict]) -> str:
    why = next((one["why"] for one in found if "why" in one), "")
    if why:
        return f"{file.name} {recipe}: not built: {why}"
    told, memory = found[0]["details"]["preflight"], found[0]["details"]["memory"]
    mib = ", ".join(f"{what.replace('_bytes', '').replace('_', ' ')} {count / 2**20:.1f} MiB" for what, count in memory.items())
    same = "" if len(found) == 1 else ", twice the same" if len({one["sha256"] for one in found}) == 1 else ", TWO BUILDS, TWO ENGINES"
    return f"{file.name} {recipe}: {told['proved']} nodes proved, {found[0]['bytes']} bytes, {mib}{same}"


if __name__ == "__main__":
    main()
