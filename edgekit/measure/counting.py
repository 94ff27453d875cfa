"""Instructions of a query, counted by an emulator: what can be said of work where no time means anything. Pure."""

from __future__ import annotations

import statistics

import msgspec

from edgekit.errors import DeviceError
from edgekit.run.counting import MARKS


class Instructions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many instructions a query took, one thread. They are no time: an instruction may take a tenth of a cycle, or hundreds.

    Attributes:
        per_query: of each counted query, in order, the runtime's Python API included.
        cpu: the core that was emulated, and by what.
        runtime: package and version.
    """

    per_query: tuple[int, ...]
    cpu: str
    runtime: str

    @property
    def median(self) -> int:
        """Of the counted queries."""
        return statistics.median_low(self.per_query)


def counts_between(text: str, warmup: int, queries: int, device: str) -> tuple[int, ...]:
    """Counts of queries from the file of marks that the emulator wrote, less what marking costs.

    Args:
        text: ``N COUNT`` a line.
        warmup: queries before those that count.
        queries: how many count.
        device: its name, for the error.

    Raises:
        DeviceError: a mark is missing.
    """
    marks = {int(words[0]): int(words[1]) for line in text.splitlines() if len(words := line.split()) == 2 and all(word.isdigit() for word in words)}
    wanted = range(MARKS * warmup, MARKS * (warmup + queries))
    missing = [number for number in wanted if number not in marks]
    if missing:
        raise DeviceError(
            f"{device}: {len(missing)} of {len(wanted)} marks were not counted", hint="make the userland anew: python tools/arm_userland.py"
        )
    return tuple((marks[first + 2] - marks[first + 1]) - (marks[first + 1] - marks[first]) for first in wanted[::MARKS])
