"""The verdict: what was found, held against the recipe's budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from edgekit.device.contract import DeviceFacts
from edgekit.recipe import Budget
from edgekit.target import Target

Outcome = Literal["kept", "broken", "not judged"]
UNITS = {"min_sqnr_db": "dB", "min_agreement": "", "max_accuracy_drop": "", "max_latency_ms": "ms", "max_bytes": "bytes"}


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a build found of one engine; None where it found nothing.

    Attributes:
        sqnr_db: fidelity to the float original.
        is_exact: outputs are equal to the original's bit for bit, which no figure in decibels says.
        agreement: share of judged samples whose top-1 class stays the same, 0 to 1.
        accuracy_drop: accuracy of the float original less that of the engine, 0 to 1.
        latency_ms: median of a query on a device of the target's kind.
        bytes: of the engine's file.
        reasons: why something is None, by the budget's field.
    """

    sqnr_db: float | None = None
    is_exact: bool = False
    agreement: float | None = None
    accuracy_drop: float | None = None
    latency_ms: float | None = None
    bytes: int | None = None
    reasons: Mapping[str, str] = {}


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the budget, judged.

    Attributes:
        budget: its field, such as ``min_sqnr_db``.
        limit: what it allows.
        value: what was found.
        outcome: whether it was kept.
        remark: by how much, or why it was not judged.
    """

    budget: str
    limit: float
    value: float | None
    outcome: Outcome
    remark: str


def judge(budget: Budget, found: Found) -> tuple[Judged, ...]:
    """Hold what was found against each line of the budget that is given."""
    values = {
        "min_sqnr_db": found.sqnr_db,
        "min_agreement": found.agreement,
        "max_accuracy_drop": found.accuracy_drop,
        "max_latency_ms": found.latency_ms,
        "max_bytes": found.bytes,
    }
    limits: dict[str, float | None] = {name: getattr(budget, name) for name in values}
    return tuple(_judged(name, limit, values[name], found) for name, limit in limits.items() if limit is not None)


def _judged(name: str, limit: float, value: float | None, found: Found) -> Judged:
    if name == "min_sqnr_db" and found.is_exact:
        return Judged(budget=name, limit=limit, value=None, outcome="kept", remark="equal bit for bit")
    if value is None:
        return Judged(budget=name, limit=limit, value=None, outcome="not judged", remark=found.reasons.get(name, "not measured"))
    room = value - limit if name.startswith("min_") else limit - value
    outcome: Outcome = "kept" if room >= 0 else "broken"
    return Judged(budget=name, limit=limit, value=value, outcome=outcome, remark=f"by {_amount(name, abs(room))}")


def _amount(name: str, amount: float) -> str:
    unit = UNITS[name]
    if not unit:
        return f"{100 * amount:.2g} percentage points"
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.3g} {unit}"


def why_foreign(target: Target, device: DeviceFacts) -> str:
    """Why times taken on a device say nothing of a target; "" if the device can be of that kind.

    A device of the same architecture with every processor feature of the target counts as one: who names a device says what it is.
    """
    where = f"measured on {'an emulated' if device.emulated else 'this'} {device.arch}, not on a {target.name}"
    if device.emulated or device.arch != target.arch:
        return where
    missing = [feature for feature in target.features if device.features and feature not in device.features]
    return f"{where}: no {', '.join(missing)} here" if missing else ""
