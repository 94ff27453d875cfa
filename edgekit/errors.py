"""Everything edgekit can refuse, as one tree.

    EdgekitError                 exit 1   something is wrong with what was given or found
    ├── UsageError               exit 2   the command, recipe, target or project file is wrong
    │   ├── PlanError            exit 2   … and all of its faults are listed at once
    │   └── MissingExtraError    exit 2   an optional package is needed and not installed
    ├── SourceError              exit 1   the model file cannot be read or does not match itself
    ├── SamplesError             exit 1   samples are missing, unreadable or do not fit the model
    ├── StoreError               exit 1   the store cannot be read or written (full, not writable, damaged)
    ├── TrainingError            exit 1   training came to numbers that are none
    ├── ChildError               exit 1   a child process failed, ran too long or used too much
    ├── DeviceError              exit 4   a device did not do what it was asked
    │   └── UnreachableError     exit 4   … or did not answer at all
    ├── InvalidMeasurementError  exit 5   what was measured must not be used
    ├── BundleError              exit 5   a bundle is not signed, not whole, not for this device, too old …
    └── UnsupportedError         exit 6   the target's engine cannot carry this model

Every error says in one line what is wrong and where, and in ``hint`` what can be done about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


def first_of(lines: Sequence[str], most: int = 20) -> list[str]:
    """The first of many lines, and how many more there are."""
    return list(lines) if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more"]


class EdgekitError(Exception):
    """Base of all errors that edgekit raises on purpose.

    Args:
        message: one line: what is wrong, and where.
        hint: one line: what can be done about it.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgekitError):
    """The command, a recipe, a target or the project file is wrong."""

    exit_status = 2


class PlanError(UsageError):
    """A plan cannot be made; ``faults`` holds every reason, one line each."""

    def __init__(self, faults: Sequence[str], *, hint: str) -> None:
        super().__init__("no plan:\n" + "\n".join(f"  - {fault}" for fault in faults), hint=hint)
        self.faults = tuple(faults)


class MissingExtraError(UsageError):
    """An optional package is needed and not installed."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"the package {package} is needed here and not installed",
            hint=f"pip install 'edgekit[{extra}]'",
        )
        self.extra = extra
        self.package = package


class SourceError(EdgekitError):
    """A model file cannot be read, or what came out of it is not what went in."""


class SamplesError(EdgekitError):
    """Samples are missing, unreadable, or do not fit the model."""


class StoreError(EdgekitError):
    """A file edgekit writes or keeps cannot be written or read."""


class TrainingError(EdgekitError):
    """Training came to numbers that are none; what it had before stays in its checkpoint."""


class ChildError(EdgekitError):
    """A child process failed, ran too long or used too much memory.

    Args:
        output: what it printed, for the log.
    """

    def __init__(self, message: str, *, hint: str, output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class DeviceError(EdgekitError):
    """A device did not do what it was asked."""

    exit_status = 4


class UnreachableError(DeviceError):
    """A device did not answer."""


class InvalidMeasurementError(EdgekitError):
    """A measurement must not be used, or two must not be compared."""

    exit_status = 5


class BundleError(EdgekitError):
    """A bundle is refused; whatever ran before goes on running."""

    exit_status = 5


class UnsupportedError(EdgekitError):
    """The target's engine cannot carry this model; ``refusals`` holds every reason, one line each."""

    exit_status = 6

    def __init__(self, message: str, *, hint: str, refusals: Sequence[str] = ()) -> None:
        super().__init__(message + "".join(f"\n  - {line}" for line in refusals), hint=hint)
        self.refusals = tuple(refusals)
