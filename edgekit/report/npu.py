"""What an NPU's compiler estimates of its engines, and which operators it leaves to the CPU, in words for every renderer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgekit.engine.contract import CpuOperator, MemoryUse, NpuEstimate
from edgekit.report.record import EngineEntry, Report
from edgekit.report.words import NONE, heading, number, size

INTRO = (
    "Cycles, time and memory as the NPU's compiler estimates them for the clock and memories it was told: nothing here was measured,"
    " and estimates for different settings are not to be compared. Operators on the CPU are in none of these figures."
)
CPU_COLUMNS = ("Engine", "On the CPU", "How many", "Why not on the NPU", "They make")
CPU_TEXT = frozenset(CPU_COLUMNS) - {"How many"}

_NAMED = 3


def estimate_table(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: one engine that was compiled for an NPU a column, one figure a row; no rows where there is none."""
    found = list(_estimates(report))
    figures = {
        "time, estimated": [time(npu) for _, npu in found],
        "cycles of the NPU": [f"{npu.npu_cycles:,}" for _, npu in found],
        "cycles in all": [f"{npu.total_cycles:,}" for _, npu in found],
        "multiply-adds": [f"{npu.macs:,}" for _, npu in found],
        "memory used": ["; ".join(_used(memory) for memory in npu.memories) for _, npu in found],
        "moved by a query": ["; ".join(_moved(memory, npu) for memory in npu.memories) for _, npu in found],
        "weights, compressed": [f"{size(npu.weight_bytes)} → {size(npu.encoded_weight_bytes)}" for _, npu in found],
        "on the NPU": [f"{share(npu)} operators" for _, npu in found],
        "estimated for": [f"{npu.accelerator}, {npu.system}, {npu.memory_mode}" for _, npu in found],
        "by": [npu.compiler for _, npu in found],
    }
    columns = ("Estimate", *(heading(report, entry) for entry, _ in found))
    return columns, [(name, *values) for name, values in figures.items()] if found else []


def cpu_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """One row of :data:`CPU_COLUMNS` for each kind of operator that stays on the CPU, and each reason."""
    for entry, npu in _estimates(report):
        for (op, reason), ones in _by_reason(npu.cpu_operators).items():
            yield (heading(report, entry), op, str(len(ones)), reason, _named([one.output for one in ones]))


def lines(npu: NpuEstimate) -> Iterator[str]:
    """The estimate in a sentence, then a sentence on each kind of operator that stays on the CPU."""
    memory = ", ".join(_used(one) for one in npu.memories)
    yield f"{npu.compiler} estimates {time(npu)}, {npu.total_cycles:,} cycles, not measured; {memory}; {share(npu)} operators on the NPU"
    for (op, reason), ones in _by_reason(npu.cpu_operators).items():
        yield f"on the CPU: {len(ones)} {op} ({_named([one.output for one in ones])}): {reason}"


def time(npu: NpuEstimate) -> str:
    """The time of a query at the clock it is for."""
    return f"{number(npu.query_ms)} ms at {number(npu.clock_mhz)} MHz"


def share(npu: NpuEstimate) -> str:
    """How many of a model's operators the NPU computes."""
    left = len(npu.cpu_operators)
    return f"all {npu.operators}" if not left else f"{max(0, npu.operators - left)} of {npu.operators}"


def _estimates(report: Report) -> Iterator[tuple[EngineEntry, NpuEstimate]]:
    return ((entry, entry.npu) for entry in report.engines if entry.npu is not None)


def _by_reason(operators: Iterable[CpuOperator]) -> dict[tuple[str, str], list[CpuOperator]]:
    found: dict[tuple[str, str], list[CpuOperator]] = {}
    for one in operators:
        found.setdefault((one.op, one.reason), []).append(one)
    return found


def _named(names: list[str]) -> str:
    more = len(names) - _NAMED
    return (", ".join(names[:_NAMED]) or NONE) + (f" and {more} more" if more > 0 else "")


def _used(memory: MemoryUse) -> str:
    holds = f" ({', '.join(memory.holds)})" if memory.holds else ""
    return f"{memory.name} {number(memory.used_bytes / 1024, 4)} KiB{holds}"


def _moved(memory: MemoryUse, npu: NpuEstimate) -> str:
    """Bytes, and the bandwidth they take on average beside that of the memory."""
    average = memory.moved_bytes / npu.query_ms / 1e6 if npu.query_ms else 0.0
    return f"{memory.name} {size(memory.moved_bytes)} ({number(average)} of {number(memory.peak_gb_s)} GB/s)"
