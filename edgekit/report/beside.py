"""TFLite files side by side: what is in them, how near their outputs are, how long they take. Pure."""

from __future__ import annotations

import msgspec

from edgekit.measure import Comparison
from edgekit.report.compare import KEPT, NOT_VALID, SLOWER
from edgekit.report.record import Fidelity
from edgekit.report.words import NONE, number, percent, size, sqnr


class FileBeside(msgspec.Struct, frozen=True, kw_only=True):
    """One file; outputs and times are against the first.

    Attributes:
        name: what it is called here.
        bytes: of the file.
        sha256: of the file.
        operators: how many of each.
        computed: operators by the element type of what they make.
        tensors: how many.
        parameters: trained numbers.
        macs: multiply-adds of a query.
        weight_bytes: of constants.
        min_runtime: the oldest TFLite that runs it, as it says itself.
        fidelity: of its outputs to the first file's; None for the first, and where they were not compared.
        latency: what can be said of its times against the first file's.
        p50_ms: median of a query.
        latency_reason: why its times are not compared.
    """

    name: str
    bytes: int
    sha256: str
    operators: dict[str, int]
    computed: dict[str, int]
    tensors: int
    parameters: int
    macs: int
    weight_bytes: int
    min_runtime: str = ""
    fidelity: Fidelity | None = None
    latency: Comparison | None = None
    p50_ms: float | None = None
    latency_reason: str = ""


class FilesBeside(msgspec.Struct, frozen=True):
    """Files side by side, the first being what the others are compared with; ``notes`` are sentences."""

    files: tuple[FileBeside, ...]
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """A word for what stands in a row, then a column a file."""
        return ("", *(one.name for one in self.files))

    @property
    def structure(self) -> tuple[tuple[str, ...], ...]:
        """What is in the files: sizes first, then operators, those first that differ."""
        rows = [
            ("size", *(size(one.bytes) for one in self.files)),
            ("weights", *(size(one.weight_bytes) for one in self.files)),
            ("parameters", *(f"{one.parameters:,}" for one in self.files)),
            ("multiply-adds", *(f"{one.macs:,}" for one in self.files)),
            ("tensors", *(f"{one.tensors:,}" for one in self.files)),
            ("operators", *(f"{sum(one.operators.values()):,}" for one in self.files)),
            ("runs in TFLite from", *(one.min_runtime or NONE for one in self.files)),
        ]
        return (*rows, *self._counts("computed", "makes {}"), *self._counts("operators", "{}"))

    @property
    def results(self) -> tuple[tuple[str, ...], ...]:
        """Outputs and times, as far as they were asked for."""
        rows = []
        if any(one.fidelity for one in self.files):
            found = [one.fidelity for one in self.files]
            rows += [
                ("SQNR to the first", *(sqnr(one.sqnr_db) if one else NONE for one in found)),
                ("largest difference", *(f"{one.max_abs:.3g}" if one else NONE for one in found)),
                ("top-1 agreement", *(percent(one.top1_agreement) if one and one.top1_agreement is not None else NONE for one in found)),
            ]
        if any(one.p50_ms is not None for one in self.files):
            rows += [
                ("p50 ms", *(number(one.p50_ms) if one.p50_ms is not None else NONE for one in self.files)),
                ("times the first", *(_ratio(one.latency) for one in self.files)),
                ("latency", *(one.latency.outcome if one.latency else NONE for one in self.files)),
            ]
        return tuple(rows)

    @property
    def exit_status(self) -> int:
        """5 where times were refused, 3 where a file is slower than the first beyond noise, else 0."""
        if any(one.latency_reason for one in self.files):
            return NOT_VALID
        return SLOWER if any(one.latency is not None and one.latency.outcome == "slower" for one in self.files) else KEPT

    def _counts(self, field: str, words: str) -> list[tuple[str, ...]]:
        held: list[dict[str, int]] = [getattr(one, field) for one in self.files]
        names = dict.fromkeys(name for counts in held for name in counts)
        ordered = sorted(names, key=lambda name: _place([counts.get(name, 0) for counts in held], name))
        return [(words.format(name), *(f"{counts.get(name, 0):,}" for counts in held)) for name in ordered]


def _place(counts: list[int], name: str) -> tuple[bool, int, str]:
    """What differs comes before what does not, much before little."""
    return len(set(counts)) == 1, -max(counts), name


def _ratio(found: Comparison | None) -> str:
    return f"{found.ratio:.3f} [{found.ci95[0]:.3f}, {found.ci95[1]:.3f}]" if found else NONE
