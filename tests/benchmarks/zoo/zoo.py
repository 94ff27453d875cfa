"""Architectures for edge devices through edgekit and a peer: parity, Transposes, conversion, size, latency side by side.

    python tests/benchmarks/zoo/zoo.py torch [NAME …] --peer PEER/bin/python [--out FOLDER]
    python tests/benchmarks/zoo/zoo.py keras [NAME …] --peer PEER/bin/python [--out FOLDER]

``PEER/bin/python`` is an environment with ``torch``, ``transformers`` and ``litert-torch``, or with ``tensorflow`` and
``keras``; networks are made there, with random weights. edgekit and ai-edge-litert are in the environment that runs this.

Conversion is processor time and peak memory of whole processes: the peer's from its framework's file to TFLite; edgekit's
from the same file (``edgekit build --recipe float --no-bench``, checks of parity included), and from the ONNX graph alone. Latency is processor
time of one thread, both engines in one process, in turns; the ratio is the median over rounds, below 1 where edgekit's is quicker.
All of it is written to ``FOLDER/torch.md`` or ``FOLDER/keras.md``, too; networks that FOLDER has results of are not run again.
Error is the largest difference from the framework's own output, relative to the largest output.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from onnx_to_tflite import CONVERT

HERE = Path(__file__).parent
SUFFIX = {"torch": ".pt2", "keras": ".keras"}
HEADING = """| network | edgekit: error, Transposes, operators, size, CPU s, peak | peer | edgekit from ONNX | edgekit / peer, ratio |
|---|---|---|---|---|"""
Array = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=SUFFIX)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("zoo"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("names", nargs="*")
    given = parser.parse_intermixed_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = given.names or listed(given.framework, given.peer)
    rows = []
    for name in names:
        kept = given.out / f"{given.framework}-{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(examined(name, given), indent=1))
        rows.append({"name": name, **json.loads(kept.read_text())})
        print(line(rows[-1]), flush=True)
    print(summary(rows))
    (given.out / f"{given.framework}.md").write_text("\n".join([HEADING, *map(line, rows), "", summary(rows), ""]))


def listed(framework: str, peer: Path) -> list[str]:
    """Names of all networks that are defined."""
    asked = f"import {framework}_nets; print(*{framework}_nets.NETS)"
    return subprocess.run([peer, "-c", asked], cwd=HERE, check=True, capture_output=True, text=True).stdout.split()


def examined(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Everything about one architecture."""
    script, folder = HERE / f"peer_{given.framework}.py", given.out.resolve()
    source = folder / f"{name}{SUFFIX[given.framework]}"
    if not source.exists():
        timed([given.peer, script, "make", name, folder])
    arrays = np.load(folder / f"{name}.npz")
    expected = [arrays[key] for key in sorted(arrays.files) if key.startswith("y")]
    found: dict[str, Any] = {}
    engines = {}
    with tempfile.TemporaryDirectory() as work:
        built, store = Path(work, "out"), Path(work, "store")
        trust = ["--trust"] if given.framework == "torch" else []
        command = [sys.executable, "-m", "edgekit", "build", source, "--target", "rpi5", "--recipe", "float", "--no-bench", *trust, "--out", built]
        found["edgekit"] = timed(command, EDGEKIT_STORE=str(store))
        if (engine := next(built.glob("engines/*-tflite/*.tflite"), None)) is not None:
            engines["edgekit"] = engine.read_bytes()
            source_graph, again = Path(work, "graph"), Path(work, "again")
            source_graph.mkdir()
            (source_graph / "model.onnx").write_bytes((built / "engines/reference-onnxruntime/model.onnx").read_bytes())
            again.mkdir()
            found["edgekit"]["from_onnx"] = timed([sys.executable, "-c", CONVERT, source_graph, again])
        made = folder / f"{name}.peer.tflite"
        found["peer"] = timed([given.peer, script, "convert", source, made])
        if made.exists():
            engines["peer"] = made.read_bytes()
    for who, engine in engines.items():
        found[who] |= {"kib": len(engine) / 1024, **structure(engine), "error": error(engine, arrays["x"], expected)}
    if len(engines) == 2:
        found |= race(engines["edgekit"], engines["peer"], arrays["x"], given.rounds)
    return found


def timed(command: list[Any], **environment: str) -> dict[str, Any]:
    """Run it: its processor seconds and the peak memory of its largest process, or the last line of what it said.

    A small process in between starts it and waits: Linux counts the memory of whoever starts a process as that process's own.
    """
    with tempfile.TemporaryFile() as said, tempfile.NamedTemporaryFile() as used:
        words = [sys.executable, "-S", "-c", _WAIT, used.name, *map(str, command)]
        subprocess.run(words, check=True, stdout=said, stderr=said, env={**os.environ, **environment})
        status, seconds, mib = json.load(used)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    failed = {"failed": lines[-1][:300] if lines else "?"} if status else {}
    return {"seconds": seconds, "mib": mib, **failed}


_WAIT = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
json.dump([status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], open(sys.argv[1], "w"))
"""


def structure(engine: bytes) -> dict[str, Any]:
    """Operators, Transposes among them."""
    interpreter = Interpreter(model_content=engine, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    ops = Counter(op["op_name"] for op in interpreter._get_ops_details())
    return {"ops": dict(ops), "transposes": ops["TRANSPOSE"]}


def ready(engine: bytes, x: Array) -> Interpreter:
    """An interpreter whose input holds ``x``, axes moved to where the engine has them, types as it has them."""
    interpreter = Interpreter(model_content=engine, num_threads=1)
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    moved = x if tuple(x.shape) == tuple(port["shape"]) else np.moveaxis(x, 1, -1)
    interpreter.set_tensor(port["index"], np.ascontiguousarray(moved.astype(port["dtype"])))
    return interpreter


def error(engine: bytes, x: Array, expected: list[Array]) -> float:
    """The largest difference from what the framework computed, relative to the largest output."""
    interpreter = ready(engine, x)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(port["index"]) for port in interpreter.get_output_details()]
    worst = 0.0
    for wanted in expected:
        alike = [output for output in outputs if output.size == wanted.size]
        moved = [output if output.shape == wanted.shape else np.moveaxis(output, -1, 1) for output in alike]
        nearest = min(float(np.abs(output.reshape(wanted.shape) - wanted).max()) for output in moved)
        worst = max(worst, nearest / float(np.abs(wanted).max()))
    return worst


def race(first: bytes, second: bytes, x: Array, rounds: int) -> dict[str, Any]:
    """Processor time of both in turns."""
    interpreters = [ready(first, x), ready(second, x)]
    for interpreter in interpreters:
        for _ in range(3):
            interpreter.invoke()
    inner = max(1, round(0.03 / max(1e-5, once(interpreters[0], 1))))
    times = [
        [once(interpreter, inner) for interpreter in (interpreters if turn % 2 else interpreters[::-1])][:: 1 if turn % 2 else -1]
        for turn in range(rounds)
    ]
    return {"ms": [statistics.median(pair[place] for pair in times) * 1e3 for place in (0, 1)], "ratio": statistics.median(a / b for a, b in times)}


def once(interpreter: Interpreter, inner: int) -> float:
    """Processor seconds of one inference, over so many."""
    start = time.process_time()
    for _ in range(inner):
        interpreter.invoke()
    return (time.process_time() - start) / inner


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [row["name"], *(_cell(row[who]) for who in ("edgekit", "peer"))]
    onnx = row["edgekit"].get("from_onnx")
    cells.append(f"{onnx['seconds']:.2f} s" + (f", {onnx['mib']:.0f} MiB" if "mib" in onnx else "") if onnx else "")
    cells.append(f"{row['ms'][0]:.2f} / {row['ms'][1]:.2f} ms = {row['ratio']:.2f}" if "ms" in row else "")
    return "| " + " | ".join(cells) + " |"


def _cell(of: dict[str, Any]) -> str:
    if "failed" in of:
        return f"failed: {of['failed'][:80]}"
    numbers = f"{of['error']:.0e}, {of['transposes']} T, {sum(of['ops'].values())} ops, {of['kib']:.0f} KiB"
    return f"{numbers}, {of['seconds']:.1f} s, {of['mib']:.0f} MiB"


def summary(rows: list[dict[str, Any]]) -> str:
    """Geometric means over what both could do, and the worst."""
    both = [row for row in rows if "ratio" in row]
    if not both:
        return "nothing to compare"
    ratio = statistics.geometric_mean(row["ratio"] for row in both)
    size = statistics.geometric_mean(row["edgekit"]["kib"] / row["peer"]["kib"] for row in both)
    whole = statistics.geometric_mean(row["peer"]["seconds"] / row["edgekit"]["seconds"] for row in both)
    graph = statistics.geometric_mean(row["peer"]["seconds"] / row["edgekit"]["from_onnx"]["seconds"] for row in both)
    worst = max(both, key=lambda row: row["ratio"])
    failed = {who: sum("failed" in row[who] for row in rows) for who in ("edgekit", "peer")}
    return (
        f"{len(rows)} networks; failed: edgekit {failed['edgekit']}, peer {failed['peer']}; geometric means: latency {ratio:.3f}, "
        f"size {size:.3f}; worst latency {worst['ratio']:.2f} ({worst['name']}); "
        f"conversion quicker {whole:.1f} times from the framework's file, {graph:.0f} times from ONNX"
    )


if __name__ == "__main__":
    main()
