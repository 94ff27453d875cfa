#!/usr/bin/env python3
"""Build the TensorRT engine of this folder, on the machine that will run it.

    python3 build_engine.py --check     compare this machine with build-plan.json, build nothing
    python3 build_engine.py             build; writes model.plan, build-result.json, build.log, layers.json
    python3 build_engine.py --run       … and time the engine; writes profile.json, and outputs/ for inputs/ if there is such
    python3 build_engine.py --run-only  time an engine that is there, after asking whether it was built for this machine

Python 3.8 to 3.12, TensorRT 8.5 to 11, no other package: it reads build-plan.json, the graph and the modules that lie
beside it. Where there is no Python package of TensorRT, it builds, and has the engine answer, with trtexec. What is in build-result.json of an
earlier run that broke off is made again; its timing cache is kept.
Exit status: 0 built or fitting, 1 TensorRT could not build, 2 this machine or this folder is not what the plan is for.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from typing import Any

import board  # type: ignore[import-not-found]  # these lie beside this script in the package
import cuda_memory  # type: ignore[import-not-found]
import jetson  # type: ignore[import-not-found]
import plan_header  # type: ignore[import-not-found]
import tensorrt_config  # type: ignore[import-not-found]
import tensorrt_run  # type: ignore[import-not-found]
import trtexec_output  # type: ignore[import-not-found]
import trtexec_path  # type: ignore[import-not-found]
import trtexec_query  # type: ignore[import-not-found]
from tensorrt_config import BuildError, WrongPlaceError, write_whole

PLAN_FILE = "build-plan.json"
RESULT_FILE = "build-result.json"
LOG_FILE = "build.log"
LAYERS_FILE = "layers.json"
PROFILE_FILE = "profile.json"


def say(text: str) -> None:
    """One line to whoever started this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_plan(folder: str) -> dict[str, Any]:
    """The plan of a folder, its graph compared with the digest in it."""
    try:
        with open(os.path.join(folder, PLAN_FILE), encoding="utf-8") as stream:
            plan: dict[str, Any] = json.load(stream)
    except (OSError, ValueError) as error:
        raise WrongPlaceError(f"{PLAN_FILE}: {error}") from error
    model = os.path.join(folder, plan["model"])
    if not os.path.exists(model):
        raise WrongPlaceError(f"{model}: not there; copy the whole folder")
    if sha256(model) != plan["model_sha256"]:
        raise WrongPlaceError(f"{model}: not the graph this plan was made for; copy the whole folder again")
    return plan


def load_tensorrt(module: str) -> Any:
    """TensorRT's Python package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "it comes with JetPack (apt install python3-libnvinfer); a virtual environment needs --system-site-packages"
        raise WrongPlaceError(f"import {module}: {error}; {hint}") from error


def mismatches(plan: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    """In what this machine differs from the one the graph was checked for."""
    found = []
    have, want = machine["tensorrt"].split(".")[:2], plan["tensorrt"].split(".")[:2]
    if have != want:
        found.append(f"TensorRT here is {machine['tensorrt']}, the plan ({plan['target']}) is for {plan['tensorrt']}")
    capability = machine.get("compute_capability", "")
    if capability and plan["compute_capability"] and capability != plan["compute_capability"]:
        found.append(f"this GPU's compute capability is {capability}, the plan ({plan['target']}) is for {plan['compute_capability']}")
    return found


def insist(differing: list[str]) -> None:
    """Refuse a machine that differs."""
    if differing:
        raise WrongPlaceError("; ".join(differing) + "; build edgekit's package for this machine's target, or pass --anyway")


def make_logger(trt: Any, path: str, verbose: bool) -> Any:
    """A TensorRT logger that keeps warnings and errors, and writes all from INFO on into a file."""

    class Collector(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.complaints: list[str] = []
            self.memory: dict[str, int] = {}
            open(path, "w", encoding="utf-8").close()

        def log(self, severity: Any, msg: str) -> None:
            if severity.name == "VERBOSE" and not verbose:
                return
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(f"[{severity.name}] {msg}\n")
            if severity.name in ("INTERNAL_ERROR", "ERROR", "WARNING"):
                self.complaints.append(f"{severity.name}: {msg}")
            self.memory.update(trtexec_output.parse_memory(msg))

    return Collector()


def parse(trt: Any, network: Any, logger: Any, path: str) -> None:
    """Read the graph into the network."""
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(path):
        return
    nodes = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node_name, node_operator = getattr(error, "node_name", None), getattr(error, "node_operator", None)
        nodes.append(
            {
                "index": error.node(),
                "name": node_name() if node_name else "",
                "op": node_operator() if node_operator else "",
                "code": str(error.code()),
                "reason": error.desc(),
            }
        )
    raise BuildError("TensorRT's parser refuses the graph", nodes)


def inspect(trt: Any, logger: Any, content: bytes, folder: str) -> dict[str, Any]:
    """Open the engine as its user will, and say what is in it."""
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        return {"opened": False}
    size = getattr(engine, "device_memory_size_v2", None) or getattr(engine, "device_memory_size", None)
    ports = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ports.append({"name": name, "input": is_input, "dtype": str(engine.get_tensor_dtype(name)), "shape": list(engine.get_tensor_shape(name))})
    inspector = engine.create_engine_inspector()
    write_whole(os.path.join(folder, LAYERS_FILE), inspector.get_engine_information(trt.LayerInformationFormat.JSON).encode())
    return {"opened": True, "layers": engine.num_layers, "device_memory_bytes": size, "ports": ports}


def build(trt: Any, plan: dict[str, Any], folder: str, machine: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Build the engine, with less memory where it runs out; what it became, as plain data."""
    timings = "" if options.no_timing_cache else os.path.join(options.caches or folder, tensorrt_config.cache_file(machine))
    if options.caches:
        os.makedirs(options.caches, exist_ok=True)
    failed = []
    for limits in tensorrt_config.attempts(plan):
        logger = make_logger(trt, os.path.join(folder, LOG_FILE), options.verbose)
        try:
            with jetson.Stats() as stats:
                found = build_once(trt, plan, folder, timings, logger, limits)
        except BuildError as fault:
            if fault.nodes or not trtexec_output.is_out_of_memory("\n".join(logger.complaints)):
                raise
            failed.append({**limits, "reason": str(fault)})
            say(f"out of memory with {limits}: trying with less")
            continue
        with open(os.path.join(folder, plan["engine"]), "rb") as stream:
            inspected = {"opened": False} if options.no_open else inspect(trt, logger, stream.read(), folder)
        return {**found, "inspected": inspected, "limits": limits, "failed_attempts": failed, "stats": jetson.summarize(stats.samples)}
    raise BuildError(f"out of memory in {len(failed)} attempts, the last with {failed[-1]}: close other programs, or add swap")


def build_once(trt: Any, plan: dict[str, Any], folder: str, timings: str, logger: Any, limits: dict[str, int]) -> dict[str, Any]:
    """One attempt, begun with the timing cache of earlier ones where ``timings`` names its file."""
    builder = trt.Builder(logger)
    network = builder.create_network(tensorrt_config.creation_flags(trt, plan))
    parse(trt, network, logger, os.path.join(folder, plan["model"]))
    config = tensorrt_config.configure(trt, builder, plan, folder, limits)
    cached = tensorrt_config.use_cache(config, timings) if timings else 0
    began = time.perf_counter()
    serialized = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - began
    if timings:
        tensorrt_config.keep_cache(config, timings)  # of a failed attempt too: what it has timed, the next need not
    if serialized is None:
        raise BuildError(next(iter(reversed(logger.complaints)), "TensorRT built nothing and said nothing"))
    content = bytes(serialized)
    file = os.path.join(folder, plan["engine"])
    write_whole(file, content)
    return {
        "engine": {"file": plan["engine"], "bytes": len(content), "sha256": sha256(file)},
        "plan_header": {"first_bytes": content[: plan_header.HEADER_BYTES].hex()},
        "build_s": round(seconds, 3),
        "timing_cache": {"file": os.path.basename(timings), "bytes_before": cached},
        "memory": logger.memory,
        "placement": trtexec_output.parse_placement(read_text(os.path.join(folder, LOG_FILE))),
        "complaints": logger.complaints,
    }


def read_text(path: str) -> str:
    """A whole text file."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def must_belong(file: str, machine: dict[str, Any]) -> None:
    """Refuse an engine that belongs to another machine."""
    wrong = plan_header.why_not_here(file, machine)
    if wrong:
        raise WrongPlaceError("; ".join(wrong) + "; build it here: python3 build_engine.py")


def run_engine(trt: Any, plan: dict[str, Any], folder: str, machine: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Time the engine that lies in the folder, and profile it; its header is asked first whether it belongs here."""
    file = os.path.join(folder, plan["engine"])
    must_belong(file, machine)
    logger = make_logger(trt, os.path.join(folder, "run.log"), options.verbose)
    with open(file, "rb") as stream:
        engine = trt.Runtime(logger).deserialize_cuda_engine(stream.read())
    if engine is None:
        raise BuildError(next(iter(reversed(logger.complaints)), "TensorRT did not open the engine and said nothing"))
    memory = cuda_memory.open_memory()
    runner = tensorrt_run.Runner(trt, engine, memory, {one["input"]: tuple(one["opt"]) for one in plan["profiles"]})
    try:
        with jetson.Stats() as stats:
            found = tensorrt_run.measure(runner, warmup_s=options.warmup, duration_s=options.duration, at_least=options.queries)
        inputs = os.path.join(folder, "inputs")
        found["answered"] = tensorrt_run.answer(runner, inputs, os.path.join(folder, "outputs")) if os.path.isdir(inputs) else 0
        profile = runner.profile()
        write_whole(os.path.join(folder, PROFILE_FILE), json.dumps(profile, indent=1).encode())
        log = os.path.join(folder, LOG_FILE)
        if plan["dla_core"] >= 0 and os.path.exists(log):
            found["placement_ms"] = trtexec_output.placement_cost(trtexec_output.parse_placement(read_text(log)), profile)
    finally:
        runner.close()
    return {**found, "memory_by": memory.name, "stats": jetson.summarize(stats.samples)}


def build_with_trtexec(plan: dict[str, Any], folder: str, *, anyway: bool) -> dict[str, Any]:
    """Build and time by trtexec alone, with the options that the plan has for its release, and less memory where it runs out."""
    tried = tensorrt_config.attempts(plan)
    for limits in tried:
        text, stats, status = run_trtexec(limited(plan["trtexec"]["build"], limits), folder, LOG_FILE)
        if not status or not trtexec_output.is_out_of_memory(text):
            break
        say(f"out of memory with {limits}: trying with less")
    must_pass(text, status)
    here = trtexec_output.parse_summary(text).get("tensorrt", plan["tensorrt"])
    if here.split(".")[:2] != plan["tensorrt"].split(".")[:2] and not anyway:
        raise WrongPlaceError(f"trtexec here is of TensorRT {here}, the plan ({plan['target']}) is for {plan['tensorrt']}")
    found = {"limits": limits, "stats": stats, "memory": trtexec_output.parse_memory(text), "placement": trtexec_output.parse_placement(text)}
    text, stats, status = run_trtexec(plan["trtexec"]["time"], folder, "run.log")
    must_pass(text, status)
    file = os.path.join(folder, plan["engine"])
    engine = {"file": plan["engine"], "bytes": os.path.getsize(file), "sha256": sha256(file)}
    return {**found, "run_stats": stats, "trtexec": trtexec_output.parse_summary(text), "engine": engine}


def run_with_trtexec(plan: dict[str, Any], folder: str, machine: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Time the engine that lies in the folder, and have it answer, by trtexec alone; its header is asked first whether it belongs here."""
    must_belong(os.path.join(folder, plan["engine"]), machine)
    load = {"warmup_s": options.warmup, "duration_s": options.duration, "queries": options.queries}
    found: dict[str, Any] = trtexec_query.run_plan(trtexec_path.find_trtexec(), plan, folder, load)
    return found


def limited(options: list[str], limits: dict[str, int]) -> list[str]:
    """A build's options within the limits of an attempt."""
    values = {"--memPoolSize": f"workspace:{limits['workspace_mib']}", "--builderOptimizationLevel": str(limits["optimization_level"])}
    named = [(option.partition("=")[0], option) for option in options]
    return [f"{name}={values[name]}" if name in values else option for name, option in named]


def run_trtexec(options: list[str], folder: str, log: str) -> tuple[str, dict[str, Any], int]:
    """What trtexec printed, what tegrastats saw meanwhile, and its exit status."""
    with jetson.Stats() as stats:
        argv = [trtexec_path.find_trtexec(), *options]
        ran = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    write_whole(os.path.join(folder, log), ran.stdout)
    return ran.stdout.decode(errors="replace"), jetson.summarize(stats.samples), ran.returncode


def must_pass(text: str, status: int) -> None:
    """Refuse a trtexec that failed, with the last error it printed."""
    if status:
        raise BuildError(f"trtexec ended with status {status}: {trtexec_output.last_error(text)}")


def run(options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Check, build and time; exit status and result."""
    folder = os.path.abspath(options.folder)
    result: dict[str, Any] = {"schema": 1, "status": "refused"}
    try:
        plan = read_plan(folder)
        result.update(target=plan["target"], plan=plan)
        if options.trtexec or (options.module == "tensorrt" and is_trtexec_alone()):
            by_trtexec(plan, folder, options, result)
            return 0, result
        trt = load_tensorrt(options.module)
        made_by = "TensorRT-RTX" if options.module == "tensorrt_rtx" else "TensorRT"
        machine = result["machine"] = board.describe_machine(str(trt.__version__), made_by)
        if not options.anyway:
            insist(mismatches(plan, machine))
        result["status"] = "fits" if options.check else "failed"
        if options.check:
            return 0, result
        if not options.run_only:
            result.update(build(trt, plan, folder, machine, options), status="built")
        if options.run or options.run_only:
            write_whole(os.path.join(folder, RESULT_FILE), json.dumps(result, indent=1).encode())
            result.update(run=run_engine(trt, plan, folder, machine, options), status="built")
    except WrongPlaceError as error:
        result.update(reason=str(error), status="refused")
        return 2, result
    except (BuildError, TypeError, RuntimeError, cuda_memory.NoCudaError, tensorrt_run.CannotRunError, trtexec_query.CannotAskError) as error:
        result.update(reason=str(error), nodes=getattr(error, "nodes", []), status="failed")  # TypeError: the driver is missing
        return 1, result
    return 0, result


def by_trtexec(plan: dict[str, Any], folder: str, options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Check, build and time where there is trtexec alone, or where it is asked for."""
    if not trtexec_path.find_trtexec():
        raise WrongPlaceError("there is no trtexec here, neither in JetPack's place nor on the path; $TRTEXEC may name it")
    machine = result["machine"] = board.describe_machine(board.installed_tensorrt() or plan["tensorrt"])
    if not options.anyway:
        insist(mismatches(plan, machine))
    result["status"] = "fits" if options.check else "failed"
    if options.check:
        return
    if not options.run_only:
        result.update(build_with_trtexec(plan, folder, anyway=options.anyway), status="built", by="trtexec")
    if options.run_only or (options.run and os.path.isdir(os.path.join(folder, "inputs"))):  # a build is timed anyway
        write_whole(os.path.join(folder, RESULT_FILE), json.dumps(result, indent=1).encode())
        result.update(run=run_with_trtexec(plan, folder, machine, options), status="built", by="trtexec")


def is_trtexec_alone() -> bool:
    """Whether there is trtexec and no Python package of TensorRT."""
    return importlib.util.find_spec("tensorrt") is None and bool(trtexec_path.find_trtexec())


def main() -> int:
    """Parse the command line, build, write the result."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="compare this machine with the plan, build nothing")
    arguments.add_argument("--anyway", action="store_true", help="build although this machine is not what the plan is for")
    arguments.add_argument("--run", action="store_true", help="time and profile the engine after it is built")
    arguments.add_argument("--run-only", action="store_true", help="time and profile the engine that is there")
    arguments.add_argument("--warmup", type=float, default=1.0, help="seconds before what is counted (1)")
    arguments.add_argument("--duration", type=float, default=10.0, help="seconds that are counted at least (10)")
    arguments.add_argument("--queries", type=int, default=100, help="queries that are counted at least (100)")
    arguments.add_argument("--trtexec", action="store_true", help="build and time with trtexec though there is TensorRT's Python package")
    arguments.add_argument("--caches", default="", help="folder of timing caches, shared by all engines built here (the package's own)")
    arguments.add_argument("--no-timing-cache", action="store_true", help="time every layer anew")
    arguments.add_argument("--no-open", action="store_true", help="do not open the engine after it is built")
    arguments.add_argument("--verbose", action="store_true", help="write TensorRT's verbose lines into build.log too")
    arguments.add_argument("--module", default="tensorrt", help="Python package to build with (tensorrt, tensorrt_rtx)")
    arguments.add_argument("--folder", default=os.path.dirname(os.path.abspath(__file__)), help="folder of build-plan.json")
    options = arguments.parse_args()
    status, result = run(options)
    folder = os.path.abspath(options.folder)
    if os.path.isdir(folder):
        write_whole(os.path.join(folder, RESULT_FILE), json.dumps(result, indent=1).encode())
    for node in result.get("nodes", []):
        say(f"  {node['name'] or node['index']} ({node['op']}): {node['reason']}")
    say(f"{result['status']}: " + (result.get("reason") or f"{result['target']}, TensorRT {result['machine']['tensorrt']}"))
    if result["status"] == "built" and "engine" in result:
        seconds = f" in {result['build_s']} s" if "build_s" in result else ""
        say(f"{result['engine']['file']}: {result['engine']['bytes']} bytes{seconds}; {RESULT_FILE} has the rest")
    if "run" in result:
        latencies = sorted(result["run"]["latencies_ns"])
        say(f"median of {len(latencies)} queries: {latencies[len(latencies) // 2] / 1e6:.3f} ms")
    return status


if __name__ == "__main__":
    sys.exit(main())
