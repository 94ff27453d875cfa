"""Numbers and places in words, the same in every renderer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from edgekit.measure import Judged
from edgekit.measure.verdict import Outcome
from edgekit.model import Tensor
from edgekit.report.record import EngineEntry, Latency, MeasuredOn, Report

REFERENCE = "reference"
NONE = "\N{EN DASH}"


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, thousands set apart, never with an exponent.

    ``0.3712`` → ``0.371``, ``12.345`` → ``12.3``, ``12345.6`` → ``12,346``.
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    rounded = float(f"{abs(value):.{digits}g}")
    magnitude = len(str(int(rounded))) if rounded >= 1 else _leading_zeros(rounded)
    return f"{value:,.{max(0, digits - magnitude)}f}"


def _leading_zeros(value: float) -> int:
    """0 for 0.5, -1 for 0.05, …; stops at 1e-9, which is shown as it is."""
    zeros = 0
    while value < 0.1 and zeros > -9:
        value *= 10
        zeros -= 1
    return zeros


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one: B, kB, MB, GB (powers of 1000)."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{number(amount)} {unit}"


def port(tensor: Tensor) -> str:
    """An input or output: element type, shape, layout."""
    return f"{tensor.dtype} {' x '.join(str(size) for size in tensor.shape)} {tensor.layout}".rstrip()


def percent(share: float) -> str:
    """A share of 0 to 1 as percent, one decimal."""
    return f"{share * 100:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares as percentage points, one decimal: 0.9 less 0.8 is no tenth of either."""
    return f"{difference * 100:.1f} percentage points"


def seconds(value: float) -> str:
    """A duration as people say it: ``3 ms``, ``1.24 s``, ``2 min 5 s``."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{number(value)} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s"


def short(sha256: str) -> str:
    """The first twelve digits, which name a file well enough for a reader."""
    return sha256[:12]


def sqnr(value: float | None) -> str:
    """Decibels, or that nothing differs."""
    return "exact" if value is None or value == float("inf") else f"{value:.1f} dB"


def mean_with_interval(latency: Latency) -> str:
    """Mean and half the width of its 95 % interval, both to the same place where that shows the latter."""
    half = (latency.ci95_ms[1] - latency.ci95_ms[0]) / 2
    mean = number(latency.mean_ms)
    places = len(mean.partition(".")[2])
    rounded = f"{half:.{places}f}"
    return f"{mean} ± {rounded if float(rounded) else number(half, 1)}"


def article(name: str) -> str:
    """``a`` or ``an`` and the name, as it is read aloud."""
    return f"{'an' if name[:1].lower() in 'aeioux' else 'a'} {name}"


def machine(on: MeasuredOn) -> str:
    """The machine, as the reader of a report on the machine that built it would call it."""
    if on.emulated:
        return f"an emulated {on.arch}"
    return f"this {on.arch}" if on.is_local else f"{on.device} ({on.arch})"


def where(on: MeasuredOn, target: str) -> str:
    """Where something was measured, and that this was no such target if it was none."""
    if target == REFERENCE or (on.is_target and not on.emulated):
        return f"on {machine(on)}"
    return f"on {machine(on)}, not {article(target)}"


def where_measured(entry: EngineEntry) -> str:
    """One clause on where an engine's times come from, or why there are none."""
    if entry.latency is not None and entry.measured_on is not None:
        return f"measured {where(entry.measured_on, entry.target)}"
    return f"not measured: {entry.latency_reason}" if entry.latency_reason else "not measured"


def work(entry: EngineEntry) -> str:
    """Instructions of a query, and that they are no time; "" where none were counted."""
    counted = entry.instructions
    return f"{counted.median:,} instructions a query ({counted.cpu}): instructions, not time" if counted is not None else ""


def delegated(entry: EngineEntry) -> str:
    """What the runtime's delegate takes of an engine, and what it leaves; "" where there is none."""
    found = entry.delegation
    return f"{found.sentence(named=3)} (by the rules of {found.by})" if found is not None else ""


def judged_elsewhere(entry: EngineEntry) -> str:
    """That fidelity comes from an emulated machine; "" where it does not."""
    on = entry.fidelity.judged_on if entry.fidelity is not None else None
    return f"fidelity is judged {where(on, entry.target)} ({on.cpu})" if on is not None and on.emulated else ""


def original(entry: EngineEntry) -> str:
    """What a reader calls the model that engines are compared with; one that came quantized is no float original."""
    return "model as given" if "int" in entry.precision else "float original"


def title(report: Report, entry: EngineEntry) -> str:
    """What people call the engine's target, without what stands in brackets."""
    if entry.target == REFERENCE:
        return original(entry)
    titles = {target.name: target.title.partition(" (")[0] for target in report.targets}
    return titles.get(entry.target) or entry.target


def heading(report: Report, entry: EngineEntry) -> str:
    """Name of an engine as a heading: what people call its target, and the runtime."""
    return f"{title(report, entry)} · {entry.runtime}"


SERIES = frozenset({"curve"})
"""What a step's record holds as rows of numbers, for whoever draws them; no table has room for it."""


def done(did: Mapping[str, Any]) -> str:
    """What a step did, in one line."""
    return plain({key: value for key, value in did.items() if key not in SERIES})


def plain(value: Any) -> str:
    """Any plain data in one line: pairs as ``key value unit``, a before and an after with an arrow, lists by their items."""
    if value is None or isinstance(value, bool):
        return {None: NONE, True: "yes", False: "no"}[value]
    if isinstance(value, int | float):
        return _plain_number(value)
    if isinstance(value, Mapping):
        return _listed(_pairs(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _listed([plain(item) for item in value])
    return str(value)


def _pairs(values: Mapping[str, Any]) -> list[str]:
    """One text for each pair that says something; ``X_before`` and ``X_after`` become one."""
    told = []
    for key, value in values.items():
        stem, _, last = str(key).rpartition("_")
        if last == "after" and f"{stem}_before" in values:
            continue
        after = values.get(f"{stem}_after") if last == "before" else None
        if after is not None:
            told.append(f"{worded(stem)} {_difference(value, after)}")
        elif value not in (None, ""):
            told.append(_pair(str(key), value))
    return told


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return change(before, after, plain)
    changed = [key for key in dict.fromkeys((*before, *after)) if before.get(key, 0) != after.get(key, 0)]
    return _listed([f"{worded(key)} {change(before.get(key, 0), after.get(key, 0), plain)}" for key in changed]) if changed else "unchanged"


def has_something(values: Mapping[str, Any]) -> dict[str, Any]:
    """The pairs whose value is not empty."""
    return {key: value for key, value in values.items() if value is not None and value not in ("", [], (), {})}


def _plain_number(value: float) -> str:
    if 0 < abs(value) < 1e-4 or 1e15 <= abs(value) < math.inf:
        return f"{value:.2g}"
    shown = number(value, 4)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _pair(key: str, value: Any) -> str:
    name, unit = split_unit(key)
    shown = f"({plain(value)})" if isinstance(value, Mapping) and value else plain(value)
    if shown == NONE:
        shown = "none"
    return f"{name} {shown} {unit}".rstrip()


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:8]) or NONE
    return shown if len(items) <= 8 else f"{shown}, … ({len(items)} in all)"


V = TypeVar("V")


def change(before: V | None, after: V | None, unit: Callable[[V], str]) -> str:
    """``before → after``; once where both look the same or one is not known."""
    told = list(dict.fromkeys(unit(value) for value in (before, after) if value is not None))
    return " → ".join(told) or NONE


_UNITS = {"ms": "ms", "ns": "ns", "s": "s", "mib": "MiB", "bytes": "bytes", "mw": "mW", "mj": "mJ", "db": "dB", "c": "°C", "mhz": "MHz"}


def split_unit(key: str) -> tuple[str, str]:
    """A field's name as words, and the unit it ends in: ``clock_mhz`` → ``("clock", "MHz")``."""
    name, _, last = key.rpartition("_")
    return (worded(name), _UNITS[last]) if name and last in _UNITS else (worded(key), "")


def label(key: str) -> str:
    """A field's name as the head of a row: ``clock_mhz`` → ``clock, MHz``."""
    return ", ".join(part for part in split_unit(key) if part)


def worded(key: str) -> str:
    """A field's name as words; names in capitals, such as operators, stay as they are."""
    return key.replace("_", " ") if key.islower() else key


def _decibels(value: float) -> str:
    return f"{number(value)} dB"


def _milliseconds(value: float) -> str:
    return f"{number(value)} ms"


def _bytes(value: float) -> str:
    return size(int(value))


_BUDGETS: dict[str, tuple[str, Callable[[float], str]]] = {
    "min_sqnr_db": ("SQNR at least", _decibels),
    "min_agreement": ("top-1 agreement at least", percent),
    "max_accuracy_drop": ("accuracy lost at most", points),
    "max_latency_ms": ("median latency at most", _milliseconds),
    "max_bytes": ("file at most", _bytes),
}


def budget_line(judgement: Judged) -> str:
    """What the budget demands, such as ``SQNR at least 15 dB``."""
    demand, unit = _BUDGETS.get(judgement.budget, (worded(judgement.budget), number))
    return f"{demand} {unit(judgement.limit)}"


def budget_value(judgement: Judged) -> str:
    """What was found, in the budget's unit."""
    if judgement.value is None:
        return NONE
    return _BUDGETS.get(judgement.budget, ("", number))[1](judgement.value)


def is_built(entry: EngineEntry) -> bool:
    """Whether there is an engine that can be run."""
    return entry.status == "built"


def outcome(judgements: Sequence[Judged]) -> Outcome | None:
    """The gravest: one broken breaks all; one not judged leaves the rest unproven; None where no budget was given."""
    gravity: tuple[Outcome, ...] = ("kept", "not judged", "broken")
    return max((judgement.outcome for judgement in judgements), key=gravity.index, default=None)


def verdict_sentence(report: Report) -> tuple[Outcome | None, str]:
    """The verdict over all engines, and one sentence that says it."""
    judged = [judgement for entry in report.engines for judgement in entry.verdict]
    counts = {word: sum(judgement.outcome == word for judgement in judged) for word in ("kept", "broken", "not judged")}
    total = len(judged)
    if not total:
        return None, "No budget was given, so nothing was judged."
    tail = f"; {counts['not judged']} not judged" if counts["not judged"] else ""
    if counts["broken"]:
        return "broken", f"Budget broken: {counts['broken']} of {total} lines are not kept{tail}."
    if not counts["kept"]:
        return "not judged", "No line of the budget could be judged."
    return "kept", f"Budget kept: {counts['kept']} of {total} lines{tail}."


def status_word(entry: EngineEntry) -> str:
    """The last column of the summary: why there is no engine, or what the budget says of it."""
    if not is_built(entry) or entry.target == REFERENCE:
        return entry.status
    if entry.latency is not None and entry.latency.invalid:
        return f"times not valid: {entry.latency.invalid[0]}"
    broken = [worded(judgement.budget) for judgement in entry.verdict if judgement.outcome == "broken"]
    if broken:
        return f"broken: {', '.join(broken)}"
    waiting = [worded(judgement.budget) for judgement in entry.verdict if judgement.outcome == "not judged"]
    if waiting:
        return f"kept; not judged: {', '.join(waiting)}" if len(waiting) < len(entry.verdict) else "not judged"
    return "kept" if entry.verdict else "built"
