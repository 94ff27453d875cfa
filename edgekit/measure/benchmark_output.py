"""What LiteRT's ``benchmark_model`` prints, as plain data. Pure.

Sources: ``Run`` and ``OnBenchmarkEnd`` of tflite/tools/benchmark/benchmark_model.cc (github.com/google-ai-edge/LiteRT),
``OutputToStream`` of xla/tsl/util/stats_calculator.h (github.com/openxla/xla): ``median`` is the value at rank n/2 from 0, and older
releases do not print it; litert/tools/benchmark_litert_model.h, which prints the same series and another summary.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SERIES = re.compile(
    r"^(?:INFO: )?count=(?P<count>\d+)(?: first=(?P<first>\d+))?(?: curr=(?P<curr>\d+)(?:\(all same\))?)?"
    r"(?: min=\d+ max=\d+ avg=(?P<avg>[\d.e+]+) std=\d+)?(?: p5=\S+ median=(?P<median>\d+) p95=\S+)?",
    re.MULTILINE,
)
_INIT = re.compile(r"Initialized session in ([\d.e+]+) ?ms")
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([\d.e+]+)|Peak memory: +([\d.]+) MB")
_LOADED = re.compile(r"[Mm]emory footprint(?: delta from the start of the tool)? \(MB\): init=([\d.e+]+)|Init footprint: +([\d.]+) MB")
_FLAG = re.compile(r"^\s*--(\w+)=", re.MULTILINE)
_FAULT = re.compile(r"^(?:ERROR|FATAL|E tflite *): *(.+)$", re.MULTILINE)


class Series(NamedTuple):
    """Queries that were timed together.

    Attributes:
        queries: how many.
        first_us: the first of them; None if there is none.
        mean_us: of all, to six digits.
        median_us: whole microseconds; None where this release does not print it.
    """

    queries: int
    first_us: int | None
    mean_us: float
    median_us: int | None


class Printed(NamedTuple):
    """One run of the program.

    Attributes:
        load_ms: from the file to an engine ready for its first query.
        warmup, timed: the queries before those that count, and these.
        peak_mib: most memory that the process ever held; None unless that was asked for.
        loaded_mib: how much more it held after loading.
    """

    load_ms: float
    warmup: Series
    timed: Series
    peak_mib: float | None
    loaded_mib: float | None


def parsed(text: str) -> Printed | None:
    """What a run printed; None if it did not come to its end."""
    series = [_series(found) for found in _SERIES.finditer(text)]
    init = _INIT.search(text)
    if len(series) < 2 or init is None:
        return None
    return Printed(float(init[1]), series[0], series[1], _number(_PEAK.search(text)), _number(_LOADED.search(text)))


def known_flags(text: str) -> frozenset[str]:
    """Names of the options that ``--help`` lists."""
    return frozenset(_FLAG.findall(text))


def first_fault(text: str) -> str:
    """The first error that was printed, which names the cause; older releases do not mark them, so without one the last line."""
    found = _FAULT.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", "Benchmarking failed.")]
    return found[1].strip() if found else lines[-1] if lines else "it said nothing"


def _series(found: re.Match[str]) -> Series:
    """Values that are all the same are printed once."""
    curr = found["curr"]
    return Series(
        queries=int(found["count"]),
        first_us=int(found["first"] or curr) if curr else None,
        mean_us=float(found["avg"] or curr or 0),
        median_us=int(found["median"]) if found["median"] else int(curr) if curr and not found["avg"] else None,
    )


def _number(found: re.Match[str] | None) -> float | None:
    return float(next(word for word in found.groups() if word)) if found else None
