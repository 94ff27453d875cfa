"""edgekit: a Keras, PyTorch or ONNX model in, a quantized, verified and measured engine for your device out.

    >>> import edgekit
    >>> report = edgekit.build("net.onnx", target="raspberry-pi-5", samples="photos/")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.pipeline import build
    from edgekit.report import Report, read_report

__all__ = ["Report", "build", "read_report"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in edgekit.run, which says why; here for what imports ONNX Runtime without it

_HOMES = {"build": "edgekit.pipeline", "Report": "edgekit.report", "read_report": "edgekit.report"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
