"""What calibration and the whole default quantization cost: processor time and memory, by observer and by number of samples.

    python tests/benchmarks/calibration.py net.onnx photos/

Each row is a process of its own; the model is prepared before. ``calibrate`` is the range of every activation with that
observer, pictures decoded and resized included, weights rounded to the nearest, nothing tried on samples; ``default`` is the
recipe static_wi8_ai8: equalizing, calibrating, rounding on samples, correcting, what stays float, the check of its budget. More
samples than there are pictures go round over them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROWS = [
    *(("calibrate", observer, 200) for observer in ("minmax", "moving_average", "percentile", "entropy", "mse")),
    *(("calibrate", "mse", count) for count in (50, 100, 400, 800)),
    *(("default", "mse", count) for count in (50, 100, 200, 400, 800)),
]


def prepared(source: Path, samples: Path, out: Path):
    from edgekit.model import Store
    from edgekit.pipeline import line
    from edgekit.pipeline.steps import Workshop
    from edgekit.plan import Request, check
    from edgekit.watch import SILENT

    plan = check(Request(source=source, targets=("x86",), samples=samples))
    workshop = Workshop(store=Store(out / "store"), watcher=SILENT)
    model, _ = line.ingested(plan, workshop)
    return line.prepared(plan, model, workshop), plan


def child(source: Path, samples: Path, out: Path, kind: str, observer: str, count: int) -> None:
    import resource

    from edgekit.passes.contract import Supplies
    from edgekit.passes.equalize import Equalize
    from edgekit.passes.quantize import Quantize
    from edgekit.plan import runtime_of

    model, plan = prepared(source, samples, out)
    given = plan.samples
    pictures = (*given.calibrating, *given.judging)
    given = msgspec.structs.replace(given, calibrating=tuple(itertools.islice(itertools.cycle(pictures), count)))
    supplies = Supplies(samples=given, scheme=runtime_of(plan.chosen[0]).scheme)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if kind == "default":
            Path(folder, "equalized").mkdir()
            model = Equalize()(model, supplies, Path(folder, "equalized"))
        Path(folder, "quantized").mkdir()
        options = {"min_sqnr_db": 21.0} if kind == "default" else {"rounding": "nearest", "correct_bias": False, "float_if_free": False}
        Quantize(observer=observer, **options)(model, supplies, Path(folder, "quantized"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": time.process_time() - began, "peak_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        out, kind, observer, count = given.child
        child(given.model, given.samples, Path(out), kind, observer, int(count))
        return
    with tempfile.TemporaryDirectory() as out:
        prepared(given.model, given.samples, Path(out))
        print(f"{'':12}{'observer':16}{'samples':>8}{'CPU s':>8}{'peak MiB':>10}  one # is 20 MiB")
        for kind, observer, count in ROWS:
            argv = [sys.executable, __file__, str(given.model), str(given.samples), "--child", out, kind, observer, str(count)]
            seen = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
            print(f"{kind:12}{observer:16}{count:8}{seen['cpu_s']:8.1f}{seen['peak_mib']:10.0f}  {'#' * round(seen['peak_mib'] / 20)}", flush=True)


if __name__ == "__main__":
    main()
