"""What can go wrong on the device, so that it can be said in one line on the host."""

from __future__ import annotations


class RunError(Exception):
    """The agent cannot do its job.

    Args:
        kind: ``job`` (it contradicts itself), ``runtime`` (a package is missing or too old), ``engine`` (the runtime refuses
            the file or fails while running it), ``feeds`` (inputs do not fit), ``file`` (the system refuses), ``memory``.
        reason: one line.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = one_line(reason)


def one_line(text: object, limit: int = 400) -> str:
    """The text without line breaks, shortened to ``limit`` characters."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
