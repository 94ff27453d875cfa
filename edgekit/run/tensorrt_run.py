"""Run an open TensorRT engine on the machine that built it: outputs for given inputs, times, and the time of each layer.

A query's time is from inputs in the host's memory to outputs in the host's memory, in nanoseconds; the bare execution is kept
beside it. The profile has the form that trtexec exports, which NVIDIA's trex reads.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any, Dict, List, Optional, Tuple

BYTES = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT8": 1, "UINT8": 1, "FP8": 1, "BOOL": 1, "INT32": 4, "INT64": 8}
PROFILED_QUERIES = 50


class CannotRunError(Exception):
    """The engine cannot be run this way; says why."""


class Runner:
    """One execution context with a buffer on either side for each port."""

    def __init__(self, trt: Any, engine: Any, memory: Any, shapes: Dict[str, Tuple[int, ...]]) -> None:
        self._trt, self._memory = trt, memory
        self.memory_by: str = memory.name
        context = engine.create_execution_context()
        self._context = context
        if context is None:
            raise CannotRunError("TensorRT made no execution context: is there enough memory?")
        self.inputs: Dict[str, Any] = {}
        self.outputs: Dict[str, Any] = {}
        self.shapes: Dict[str, Tuple[int, ...]] = {}
        self.kinds: Dict[str, str] = {}
        self._address: Dict[str, int] = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for name in names:
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT and name in shapes:
                context.set_input_shape(name, shapes[name])
        for name in names:
            self._bind(engine, name)

    def _bind(self, engine: Any, name: str) -> None:
        shape = tuple(self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise CannotRunError("%s has the shape %s, which depends on the data" % (name, list(shape)))
        kind = str(engine.get_tensor_dtype(name)).rpartition(".")[2]
        if kind not in BYTES:
            raise CannotRunError("%s is of type %s" % (name, kind))
        count = BYTES[kind]
        for size in shape:
            count *= size
        host = (ctypes.c_char * count)()
        ports = self.inputs if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT else self.outputs
        ports[name] = host
        self.shapes[name], self.kinds[name] = shape, kind
        self._address[name] = self._memory.allocate(count)
        self._context.set_tensor_address(name, self._address[name])

    def query(self, inputs: Optional[Dict[str, Any]] = None) -> Tuple[int, int]:
        """One query with what is in ``inputs``, the runner's own if None; nanoseconds of the whole and of the bare execution."""
        began = time.perf_counter_ns()
        for name, host in (self.inputs if inputs is None else inputs).items():
            self._memory.write(self._address[name], host)
        self._memory.wait()
        started = time.perf_counter_ns()
        if not self._context.execute_async_v3(self._memory.stream):
            raise CannotRunError("TensorRT refused to execute; build.log says why")
        self._memory.wait()
        executed = time.perf_counter_ns()
        for name, host in self.outputs.items():
            self._memory.read(host, self._address[name])
        self._memory.wait()
        return time.perf_counter_ns() - began, executed - started

    def close(self) -> None:
        """Give the GPU's memory back."""
        for address in self._address.values():
            self._memory.free(address)
        self._address.clear()

    def profile(self, queries: int = PROFILED_QUERIES) -> List[Dict[str, Any]]:
        """The time of each layer, over so many queries; other runs are not slowed by it."""
        spent: Dict[str, float] = {}

        class Collector(self._trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                spent[layer_name] = spent.get(layer_name, 0.0) + ms

        collector = Collector()
        context = self._context
        context.profiler = collector
        for _ in range(queries):
            self.query()
        whole = sum(spent.values()) or 1.0
        rows = [{"name": name, "timeMs": ms, "averageMs": ms / queries, "percentage": 100.0 * ms / whole} for name, ms in spent.items()]
        return [{"count": queries}, *rows]


def measure(runner: Runner, *, warmup_s: float, duration_s: float, at_least: int) -> Dict[str, Any]:
    """Times of single queries, until both the duration and the number of queries are reached."""
    until = time.monotonic() + warmup_s
    warmup = 0
    while warmup == 0 or time.monotonic() < until:
        runner.query()
        warmup += 1
    latencies: List[int] = []
    executions: List[int] = []
    until = time.monotonic() + duration_s
    while len(latencies) < at_least or time.monotonic() < until:
        latency, execution = runner.query()
        latencies.append(latency)
        executions.append(execution)
    return {"warmup": warmup, "latencies_ns": latencies, "executions_ns": executions}


def answer(runner: Runner, folder: str, out: str) -> int:
    """Outputs for every set of inputs: ``folder/SET/PORT.bin`` to ``out/SET/PORT.bin``, raw bytes as the engine has them; how many."""
    sets = sorted(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)))
    for name in sets:
        for port, host in runner.inputs.items():
            path = os.path.join(folder, name, port + ".bin")
            with open(path, "rb") as stream:
                content = stream.read()
            if len(content) != ctypes.sizeof(host):
                raise CannotRunError("%s: %d bytes, and the engine takes %d" % (path, len(content), ctypes.sizeof(host)))
            ctypes.memmove(host, content, len(content))
        runner.query()
        os.makedirs(os.path.join(out, name), exist_ok=True)
        for port, host in runner.outputs.items():
            with open(os.path.join(out, name, port + ".bin"), "wb") as stream:
                stream.write(bytes(host))
    return len(sets)
