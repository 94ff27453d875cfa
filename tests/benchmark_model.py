"""A stand-in for LiteRT's ``benchmark_model``: it takes the real one's options, runs LiteRT, and prints what the real one prints.

Forms: ``new`` and ``old`` are tflite/tools/benchmark/benchmark_model.cc of github.com/google-ai-edge/LiteRT with and without
percentiles (releases before them print no ``INFO:`` either, and write no outputs), ``compiled`` is litert/tools/benchmark_litert_model.h,
which takes no inputs. :func:`install` writes one as a program; a board's shell needs no Python on its path for it.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from pathlib import Path

COMMON = {
    "num_runs": "50",
    "min_secs": "1",
    "max_secs": "150",
    "num_threads": "-1",
    "warmup_runs": "1",
    "warmup_min_secs": "0.5",
    "report_peak_memory_footprint": "false",
    "graph": "",
}
FLAGS = {
    "new": {**COMMON, "input_layer": "", "input_layer_shape": "", "input_layer_value_files": "", "output_filepath": "", "use_xnnpack": "false"},
    "old": {**COMMON, "input_layer": "", "input_layer_shape": "", "input_layer_value_files": "", "use_xnnpack": "false"},
    "compiled": {**COMMON, "use_cpu": "true", "use_gpu": "false", "signature_to_run_for": ""},
}


def install(path: Path, *, form: str = "new", before: str = "") -> Path:
    """Write the program; ``before`` are lines of Python that it runs before it opens anything, such as a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\nimport importlib.util, os, sys\nsys.path[:] = {sys.path!r}\n"
        f"spec = importlib.util.spec_from_file_location('stand_in', {str(Path(__file__).resolve())!r})\n"
        f"stand_in = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(stand_in)\n"
        f"def before():\n    {before or 'pass'}\nsys.exit(stand_in.main(sys.argv, {form!r}, before))\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def main(argv: list[str], form: str, before) -> int:
    info = "" if form == "old" else "INFO: "
    flags, unknown = dict(FLAGS[form]), []
    for word in argv[1:]:
        name, _, value = word.removeprefix("--").partition("=")
        if name in flags:
            flags[name] = value
        else:
            unknown.append(word)
    print(f"{info}STARTING!", flush=True)
    if unknown[:1] == ["--help"]:
        lines = [f"\t--{name}={value}\tstring\toptional\tas its source says" for name, value in flags.items()]
        print(f"{'' if form == 'old' else 'ERROR: '}usage: {argv[0]} <flags>\nFlags:\n" + "\n".join(lines), file=sys.stderr)
        return 1
    if unknown:
        print(f"{'' if form == 'old' else 'WARN: '}Unconsumed cmdline flags: {' '.join(unknown)}")
    before()
    try:
        return run(flags, form, info)
    except (ValueError, OSError) as error:
        print(f"ERROR: Failed to load model {flags['graph']}: {error}\nERROR: Benchmarking failed.", file=sys.stderr)
        return 1


def run(flags: dict[str, str], form: str, info: str) -> int:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    begun = time.perf_counter()
    plain = {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES} if flags.get("use_xnnpack") == "false" else {}
    interpreter = Interpreter(model_path=flags["graph"], num_threads=max(1, int(flags["num_threads"])), **plain)
    names = [name for name in flags.get("input_layer", "").split(",") if name]
    details = interpreter.get_input_details()
    if names:
        shapes = [[int(size) for size in shape.split(",")] for shape in flags["input_layer_shape"].split(":")]
        for detail, shape in zip(details, shapes, strict=True):
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    init_us = round((time.perf_counter() - begun) * 1e6)
    print(f"{info}Initialized session in {init_us / 1000:g}ms.")
    files = dict(part.split(":", 1) for part in flags.get("input_layer_value_files", "").split(",") if part)
    for number, detail in enumerate(interpreter.get_input_details()):
        if files:
            content = Path(files[names[number]]).read_bytes()
            wanted = np.prod(detail["shape"]) * np.dtype(detail["dtype"]).itemsize
            if len(content) != wanted:
                print(f"FATAL: The size of {files[names[number]]} is {len(content)} bytes. It should be {wanted} bytes.", file=sys.stderr)
                os.abort()
            value = np.frombuffer(content, detail["dtype"]).reshape(detail["shape"])
        else:
            value = np.random.default_rng().random(detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], value)
    most_s = float(flags["max_secs"])
    warmup = timed(interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), most_s, info)
    say_series(warmup, form, info)
    times = timed(interpreter, int(flags["num_runs"]), float(flags["min_secs"]), most_s, info)
    say_series(times, form, info)
    if flags.get("output_filepath"):
        outputs = [interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details()]
        Path(flags["output_filepath"]).write_bytes(b"".join(outputs))
    say_summary(init_us, warmup, times, flags, form, info)
    return 0


def timed(interpreter, runs: int, least_s: float, most_s: float, info: str) -> list[int]:
    print(f"{info}Running benchmark for at least {runs} iterations and at least {least_s:g} seconds but terminate if exceeding {most_s:g} seconds.")
    times: list[int] = []
    begun = time.perf_counter()
    while (len(times) < runs or time.perf_counter() - begun < least_s) and time.perf_counter() - begun <= most_s:
        start = time.perf_counter_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - start) // 1000)
    return times


def say_series(times: list[int], form: str, info: str) -> None:
    """As ``OutputToStream`` of xla/tsl/util/stats_calculator.h; C++ prints a double to six digits."""
    ranked = sorted(times)
    if not times:
        text = "count=0"
    elif ranked[0] == ranked[-1]:
        text = f"count={len(times)} curr={times[-1]}{'(all same)' if len(times) > 1 else ''}"
    else:
        mean = sum(times) / len(times)
        std = int((sum(time * time for time in times) / len(times) - mean * mean) ** 0.5)
        text = f"count={len(times)} first={times[0]} curr={times[-1]} min={ranked[0]} max={ranked[-1]} avg={mean:g} std={std}"
    if form != "old":
        p5, median, p95 = (ranked[len(ranked) * share // 100] if ranked else 0 for share in (5, 50, 95))
        text += f" p5={p5} median={median} p95={p95}"
    print(f"{info}{text}\n")


def say_summary(init_us: int, warmup: list[int], times: list[int], flags: dict[str, str], form: str, info: str) -> None:
    status = Path("/proc/self/status").read_text()
    peak_mb = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    first, averages = (warmup or [0])[0], [sum(one) / len(one) if one else 0 for one in (warmup, times)]
    if form == "compiled":
        print("INFO: [benchmark_litert_model.h:81] \n========== BENCHMARK RESULTS ==========", file=sys.stderr)
        print(f"INFO: [benchmark_litert_model.h:82] Model initialization: {init_us / 1000:.2f} ms", file=sys.stderr)
        print(f"INFO: [benchmark_litert_model.h:89] Inference (avg):      {averages[1] / 1000:.2f} ms ({len(times)} runs)", file=sys.stderr)
        if flags["report_peak_memory_footprint"] == "true":
            print(f"INFO: [benchmark_litert_model.h:119] Peak memory:          {peak_mb:.2f} MB", file=sys.stderr)
        return
    print(
        f"{info}Inference timings in us: Init: {init_us}, First inference: {first}, Warmup (avg): {averages[0]:g}, Inference (avg): {averages[1]:g}"
    )
    if form == "old":
        print(f"Peak memory footprint (MB): init=1.5 overall={peak_mb:g}")
        return
    print(f"{info}Memory footprint delta from the start of the tool (MB): init=1.5 overall={peak_mb:g}")
    if flags["report_peak_memory_footprint"] == "true":
        print(f"{info}Overall peak memory footprint (MB) via periodic monitoring: {peak_mb:g}")
