"""The library is silent: it tells a Watcher what it does, and the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Who is told what happens. Calls come from one thread."""

    def begin(self, what: str, total: int | None = None) -> None:
        """A piece of work starts; ``total`` is its number of units where that is known."""

    def advance(self, units: int = 1) -> None:
        """So many more units of the current piece are done."""

    def end(self, note: str = "") -> None:
        """The current piece is done; ``note`` is its result in a few words."""

    def note(self, text: str) -> None:
        """Something the user should read, whatever is going on."""


class Silent:
    """A Watcher that tells nobody."""

    def begin(self, what: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, units: int = 1) -> None:
        """Nothing."""

    def end(self, note: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


SILENT = Silent()
