"""What is started on the device: ``python -m edgekit_run.agent job.json result.json``.

The job is JSON; every path in it is relative to the job's own folder::

    {"schema": 1, "engine": "engine/model.tflite", "runtime": "tflite", "options": {}, "threads": 1,
     "inputs": ["x"], "outputs": ["y"], "feeds": "feeds",
     "latency": {"warmup_s": 0.5, "warmup_queries": 3, "min_queries": 200, "min_duration_s": 3.0, "max_duration_s": 15.0},
     "infer": "outputs", "count": {"warmup_queries": 24, "warmup_s": 10.0, "queries": 3}}

``feeds`` and ``infer`` are stems of tensor files. ``latency``, ``infer`` and ``count`` may each be null or absent. The result holds ``error`` (null,
or kind and reason) and what was asked for. Standard output stays empty; the exit status is 0 only without an error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .counting import Counting, count_queries
from .errors import RunError, one_line
from .session import Opening, Session, adapter_of
from .state import read_facts, read_memory, read_state
from .tensors import Tensor, read_tensors, write_tensors
from .timing import Load, time_queries, warm_up

SCHEMA = 1
TIMED_FEEDS = 8  # enough that no query meets its predecessor's input in the cache …
TIMED_FEED_BYTES = 16 * 1024 * 1024  # … and few enough that they do not drown the engine's own memory
USAGE = "usage: python -m edgekit_run.agent job.json result.json"


class Job(NamedTuple):
    """What is to be done; see the module's text. Paths are absolute here."""

    runtime: str
    opening: Opening
    feeds: str
    latency: Optional[Load]
    infer: Optional[str]
    counting: Optional[Counting]


def read_job(path: str) -> Job:
    """The job in a file.

    Raises:
        RunError: it is not a job of this agent's schema.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        with open(path, encoding="utf-8") as stream:
            told = json.load(stream)
        if told["schema"] != SCHEMA:
            raise RunError("job", "this agent does jobs of schema %d, not %r" % (SCHEMA, told["schema"]))
        return Job(
            runtime=told["runtime"],
            opening=Opening(os.path.join(folder, told["engine"]), told["threads"], told["options"], told["inputs"], told["outputs"]),
            feeds=os.path.join(folder, told["feeds"]),
            latency=Load(**told["latency"]) if told.get("latency") else None,
            infer=os.path.join(folder, told["infer"]) if told.get("infer") else None,
            counting=Counting(**told["count"]) if told.get("count") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise RunError("job", "%s cannot be read: %s: %s" % (os.path.basename(path), type(wrong).__name__, wrong)) from wrong


def do_job(job: Job) -> Dict[str, Any]:
    """Do what the job says.

    Raises:
        RunError: it cannot be done.
    """
    feeds = read_tensors(job.feeds)
    if not feeds:
        raise RunError("feeds", "there are none")
    result: Dict[str, Any] = {"facts": read_facts(), "threads": job.opening.threads}
    session, opened = _open(job)
    result.update(opened, versions=dict(session.versions, python=result["facts"]["python"]))
    if job.latency is not None:
        result["latency"] = _latency(session, feeds, job.latency)
        result["memory"].update(read_memory())
    if job.infer is not None:
        write_tensors(job.infer, _inferred(session, feeds))
    if job.counting is not None:
        result["count"] = count_queries(session, session.prepare(feeds[0]), job.counting)
    return result


def _open(job: Job) -> Tuple[Session, Dict[str, Any]]:
    """The session, how long opening took and what memory it cost. The runtime is imported first: that is not loading."""
    adapter = adapter_of(job.runtime)
    import_ns, _ = _timed(adapter.import_runtime)
    base = read_memory()["resident_mib"]
    load_ns, session = _timed(lambda: adapter.open_engine(job.opening))
    memory = read_memory()
    held = memory["resident_mib"]
    memory["base_mib"] = base
    memory["load_mib"] = None if held is None or base is None else held - base
    return session, {"import_ns": import_ns, "load_ns": load_ns, "memory": memory}


def _timed(action: Callable[[], Any]) -> Tuple[int, Any]:
    begun = time.perf_counter_ns()
    result = action()
    return time.perf_counter_ns() - begun, result


def _latency(session: Session, feeds: List[List[Tensor]], load: Load) -> Dict[str, Any]:
    ready = [session.prepare(tensors) for tensors in _in_memory(feeds)]
    first_ns, _ = _timed(lambda: session.run(ready[0]))
    own = getattr(session, "time", None)  # of a session that has a clock of its own, and warms up itself
    warmup = 0 if own else warm_up(session, ready, load)
    before = read_state()
    timed = own(ready, load) if own else time_queries(session, ready, load)
    return {
        "first_ns": first_ns,
        "warmup_queries": warmup,
        "feeds": len(ready),
        "latencies_ns": timed.latencies_ns,
        "wall_ns": timed.wall_ns,
        "cpu_ns": timed.cpu_ns,
        "capped": timed.capped,
        "before": before,
        "after": read_state(),
    }


def _in_memory(feeds: List[List[Tensor]]) -> List[List[Tensor]]:
    """The first feeds, read from disk now, so that no timed query waits for a page."""
    chosen: List[List[Tensor]] = []
    total = 0
    for tensors in feeds[:TIMED_FEEDS]:
        total += sum(len(tensor.data) for tensor in tensors)
        if chosen and total > TIMED_FEED_BYTES:
            break
        for tensor in tensors:
            bytes(tensor.data)
        chosen.append(tensors)
    return chosen


def _inferred(session: Session, feeds: List[List[Tensor]]) -> Iterator[List[Tensor]]:
    for tensors in feeds:
        yield session.read(session.run(session.prepare(tensors)))


def _answer(job_path: str) -> Dict[str, Any]:
    """The result of a job, or the reason why there is none. Anything else is our own fault and ends in a traceback on stderr."""
    try:
        return dict(do_job(read_job(job_path)), schema=SCHEMA, error=None)
    except RunError as known:
        error = known
    except MemoryError:
        error = RunError("memory", "not enough memory on this device")
    except OSError as refused:
        error = RunError("file", "%s: %s" % (refused.filename or os.path.basename(job_path), refused.strerror or refused))
    return {"schema": SCHEMA, "error": {"kind": error.kind, "reason": error.reason}}


def main(arguments: List[str]) -> int:
    """Do the job in a file and write the result to another, which appears whole or not at all."""
    if len(arguments) != 2:
        sys.stderr.write(USAGE + "\n")
        return 2
    job_path, result_path = arguments
    answer = _answer(job_path)
    partial = result_path + ".part"
    try:
        with open(partial, "w", encoding="utf-8") as stream:
            json.dump(answer, stream)
        os.replace(partial, result_path)
    except OSError as refused:
        sys.stderr.write("%s: %s\n" % (result_path, one_line(refused)))
        return 1
    return 0 if answer["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
