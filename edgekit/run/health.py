"""Whether an engine does here what it did where it was bundled: known inputs, recorded outputs, and the time of a query."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

from .bundle_file import RefusedError
from .errors import RunError, one_line
from .tensors import Tensor, read_tensors

FOLDER = "health"
DESK = ".health-"
LATENCY = {"warmup_s": 0.1, "warmup_queries": 3, "min_queries": 20, "min_duration_s": 0.1, "max_duration_s": 5.0}
BUILD_RESULT = "build-result.json"
PR_SET_PDEATHSIG = 1  # Linux, <sys/prctl.h>

_CODES = {"float16": "e", "float32": "f", "float64": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H"}
_CODES.update({"int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "bool": "?"})
_LIBC = ctypes.CDLL(None)


def check(slot: str, manifest: Dict[str, Any], *, is_new: bool = False) -> Dict[str, Any]:
    """Run a slot's engine on the inputs that came with it.

    Args:
        slot: its folder.
        manifest: of its bundle.
        is_new: whether an engine that is built here is built first.

    Returns:
        ``difference``: the largest of any output, as a share of the largest recorded value; ``p50_ms`` of a query; ``is_timed``:
        whether times mean anything here.

    Raises:
        RefusedError: an output differs by more than the manifest allows, a query takes longer, or the engine does not run.
    """
    limits = manifest["health"]
    try:
        wanted = read_tensors(os.path.join(slot, FOLDER, "outputs"))
        if manifest["build"] is not None:
            got, latencies = _built(slot, manifest, is_new=is_new)
        else:
            got, latencies = answers(slot, manifest)
        found = {
            "difference": difference(wanted, got),
            "p50_ms": sorted(latencies)[len(latencies) // 2] / 1e6 if latencies else None,
            "is_timed": "QEMU_LD_PREFIX" not in os.environ,  # under an emulator they are the emulator's
        }
    except RunError as wrong:
        raise RefusedError("health", wrong.reason) from wrong
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as wrong:
        raise RefusedError("health", "what the engine answers cannot be compared: %s" % one_line(wrong)) from wrong
    if not found["difference"] <= limits["max_difference"]:
        reason = "its outputs differ from the recorded ones by %.3g of the largest, %.3g are allowed"
        raise RefusedError("health", reason % (found["difference"], limits["max_difference"]))
    budget = limits["max_latency_ms"]
    if budget is not None and found["is_timed"] and found["p50_ms"] is not None and found["p50_ms"] > budget:
        raise RefusedError("health", "a query takes %.2f ms (median), %.2f ms are allowed" % (found["p50_ms"], budget))
    return found


def difference(wanted: List[List[Tensor]], got: List[List[Tensor]]) -> float:
    """The largest difference of any element, as a share of the largest recorded value of that output; infinite where one is not finite.

    Raises:
        ValueError: they are not of the same names, types and sizes.
    """
    if not wanted or [_form(one) for one in wanted] != [_form(one) for one in got]:
        raise ValueError("other outputs than were recorded")
    worst = 0.0
    for one, other in zip(wanted, got):
        for want, have in zip(one, other):
            reals, found = _values(want), _values(have)
            if not all(map(math.isfinite, found)):
                return math.inf
            largest = max(map(abs, reals), default=0.0) or 1.0
            worst = max(worst, max((abs(a - b) for a, b in zip(reals, found)), default=0.0) / largest)
    return worst


def _form(tensors: Sequence[Tensor]) -> List[Any]:
    return [(tensor.name, tensor.dtype, math.prod(tensor.shape)) for tensor in tensors]


def _values(tensor: Tensor) -> Sequence[float]:
    code = _CODES[tensor.dtype]
    return struct.unpack("=%d%s" % (len(tensor.data) // struct.calcsize("=" + code), code), tensor.data)


def answers(slot: str, manifest: Dict[str, Any]) -> Any:
    """What the engine says, run by the agent that came with it: outputs of each query, and nanoseconds of timed ones.

    Raises:
        RunError: it does not run.
    """
    engine = manifest["engine"]
    with _desk(slot) as desk:
        job = {
            "schema": 1,
            "engine": os.path.join("..", engine["file"]),
            "runtime": engine["runtime"],
            "options": engine["options"],
            "threads": engine["threads"],
            "inputs": engine["inputs"],
            "outputs": engine["outputs"],
            "feeds": os.path.join("..", FOLDER, "inputs"),
            "infer": "outputs",
            "latency": LATENCY,
        }
        with open(os.path.join(desk, "job.json"), "w", encoding="utf-8") as stream:
            json.dump(job, stream)
        argv = ["-m", "edgekit_run.agent", os.path.join(desk, "job.json"), os.path.join(desk, "result.json")]
        said = _run(argv, os.path.join(slot, "runner"), manifest["health"]["timeout_s"]).said
        answer = _json(os.path.join(desk, "result.json"))
        if answer is None or answer["error"] is not None:
            raise RunError("engine", answer["error"]["reason"] if answer else said)
        outputs = [[tensor._replace(data=bytes(tensor.data)) for tensor in one] for one in read_tensors(os.path.join(desk, "outputs"))]
        return outputs, answer["latency"]["latencies_ns"]


def _built(slot: str, manifest: Dict[str, Any], *, is_new: bool) -> Any:
    """What an engine says that is built here, by the builder that came with it."""
    folder = os.path.join(slot, "engine")
    told = manifest["build"]
    inputs, outputs = os.path.join(folder, "inputs"), os.path.join(folder, "outputs")
    shutil.rmtree(outputs, ignore_errors=True)
    for number, tensors in enumerate(read_tensors(os.path.join(slot, FOLDER, "inputs"))):
        os.makedirs(os.path.join(inputs, "%03d" % number), exist_ok=True)
        for tensor in tensors:
            if os.path.basename(tensor.name) != tensor.name:
                raise RunError("feeds", "the input %s cannot be a file's name" % tensor.name)
            with open(os.path.join(inputs, "%03d" % number, tensor.name + ".bin"), "wb") as stream:
                stream.write(tensor.data)
    ended = _run(told["argv"] if is_new else told["again"], folder, told["timeout_s"])
    result = _json(os.path.join(folder, BUILD_RESULT))
    if result is None or result["status"] != "built":
        raise RefusedError("build", (result or {}).get("reason") or ended.said)
    if ended.status != 0:  # what lies there is of a build before, or was written before the engine was asked
        raise RefusedError("build", ended.said)
    if "run" not in result:
        raise RefusedError("build", "its builder is of an older edgekit, which could not ask trtexec what an engine answers: bundle it anew")
    got = []
    for number, tensors in enumerate(read_tensors(os.path.join(slot, FOLDER, "outputs"))):
        path = os.path.join(outputs, "%03d" % number)
        got.append([tensor._replace(data=_content(os.path.join(path, tensor.name + ".bin"), len(tensor.data))) for tensor in tensors])
    return got, result["run"]["latencies_ns"]


def _content(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as missing:
        raise RunError("engine", "it left no %s" % os.path.basename(path)) from missing
    if len(content) != size:
        raise RunError("engine", "%s has %d bytes, %d were recorded" % (os.path.basename(path), len(content), size))
    return content


def _json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None


def interpreter() -> str:
    """This Python, as it was called; an emulator may name it as it lies within."""
    return os.environ.get("EDGEKIT_PYTHON") or sys.executable


@contextmanager
def _desk(slot: str) -> Iterator[str]:
    """A folder to work in, below the slot: nothing is written elsewhere."""
    for name in os.listdir(slot):  # of checks that were killed
        if name.startswith(DESK) and not os.path.exists("/proc/" + name[len(DESK) :]):
            shutil.rmtree(os.path.join(slot, name), ignore_errors=True)
    desk = os.path.join(slot, DESK + str(os.getpid()))
    os.mkdir(desk)
    try:
        yield desk
    finally:
        shutil.rmtree(desk, ignore_errors=True)


class _Ended(NamedTuple):
    """How a process ended: its exit status, below 0 the signal's number, and the same in words."""

    status: int
    said: str


def _run(arguments: List[str], folder: str, timeout_s: float) -> _Ended:
    """Run a Python of a bundle's own, apart from this process, to its end.

    Raises:
        RunError: it does not end in time.
    """
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    child = subprocess.Popen(
        [interpreter(), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_dies_with_us,
    )
    try:
        said = child.communicate(timeout=timeout_s)[0].decode("utf-8", "replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        raise RunError("engine", "it does not answer within %g s" % timeout_s) from None
    finally:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    if child.returncode < 0:
        with suppress(ValueError):
            return _Ended(child.returncode, "it was ended by %s" % signal.Signals(-child.returncode).name)
    return _Ended(child.returncode, one_line("it ended with status %d%s" % (child.returncode, ": " + said[-1] if said else "")))


def _dies_with_us() -> None:
    """Runs in the child: where this process is killed, the engine is, too."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
