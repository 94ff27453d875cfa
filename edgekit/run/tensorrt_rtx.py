"""Adapter to TensorRT-RTX, whose Python package has TensorRT's own form."""

from __future__ import annotations

from typing import Any

from . import tensorrt
from .session import Opening, Session

PACKAGE = "tensorrt_rtx"


def import_runtime() -> Any:
    """The package itself.

    Raises:
        RunError: it cannot be imported.
    """
    return tensorrt.import_runtime(PACKAGE)


def open_engine(opening: Opening) -> Session:
    """Open an engine of TensorRT-RTX; see :func:`edgekit_run.tensorrt.open_engine`."""
    return tensorrt.open_engine(opening._replace(options={**opening.options, "package": PACKAGE}))
