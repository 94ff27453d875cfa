"""Seconds and memory from an ONNX file to a TFLite file, the start of the process included.

    python tests/benchmarks/onnx_to_tflite.py net.onnx [--runs 5]

``net.onnx`` must be in edgekit's store form, as ``engines/reference-onnxruntime/model.onnx`` of any build is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CONVERT = """
import sys
from pathlib import Path
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph.onnx_file import load
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.target import choose
folder = Path(sys.argv[1])
model = seal_model(folder, signature_of(load(folder / "model.onnx")), ())
TfliteBackend().compile(model, choose("rpi5").target, None, Path(sys.argv[2]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    seconds, peaks = [], []
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as out:
            Path(source, "model.onnx").write_bytes(given.model.read_bytes())
            process = subprocess.Popen([sys.executable, "-c", CONVERT, source, out])
            _, status, used = os.wait4(process.pid, 0)
            if status:
                sys.exit("it failed")
            seconds.append(used.ru_utime + used.ru_stime)
            peaks.append(used.ru_maxrss / 1024)
    print(f"{statistics.median(seconds):.2f} CPU s, {max(peaks):.0f} MiB at most, median and maximum of {given.runs} runs")


if __name__ == "__main__":
    main()
