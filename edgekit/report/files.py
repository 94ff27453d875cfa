"""Reports as files: ``report.json``, ``report.md`` and ``report.html``; the page of a diagnosis; curves of sensitivity."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekit import strict
from edgekit.errors import UsageError
from edgekit.model.store import writing
from edgekit.report.debug_html import render_debug_html
from edgekit.report.debugged import Debugged
from edgekit.report.html import render_html
from edgekit.report.markdown import render_markdown
from edgekit.report.record import Report
from edgekit.report.sensitivity import Sensitivity
from edgekit.report.sensitivity_html import render_sensitivity_html

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"

# A raw line break cannot stand inside a JSON string, so this only ever meets arrays of numbers.
_NUMBERS_ON_LINES = re.compile(rb"\[\n\s*(-?[\d.][-+\d.eE,\s]*?)\n\s*\]")


def render_json(report: Report) -> bytes:
    """The report as JSON, indented, arrays of numbers on one line."""
    indented = msgspec.json.format(msgspec.json.encode(report), indent=1)
    return _NUMBERS_ON_LINES.sub(lambda match: b"[" + re.sub(rb"\s+", b"", match[1]) + b"]", indented) + b"\n"


def write_reports(report: Report, folder: Path) -> tuple[Path, Path, Path]:
    """Write all three files; each appears whole or not at all.

    Args:
        report: what to write.
        folder: made if it is not there.

    Returns:
        Paths of the JSON, Markdown and HTML file.

    Raises:
        StoreError: the folder cannot be written.
    """
    rendered = {
        JSON_FILE: render_json(report),
        MARKDOWN_FILE: render_markdown(report).encode(),
        HTML_FILE: render_html(report).encode(),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in rendered.items():
            _replace(folder / name, content)
    return folder / JSON_FILE, folder / MARKDOWN_FILE, folder / HTML_FILE


def write_debug_page(found: Sequence[Debugged], path: Path, *, top: int = 10) -> None:
    """Write what the doctor of quantization found as one page; it appears whole or not at all.

    Args:
        found: one for each target.
        path: of the page; its folder is made if it is not there.
        top: so many of the costliest parts are drawn.

    Raises:
        StoreError: the folder cannot be written.
    """
    rendered = render_debug_html(found, top=top).encode()
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, rendered)


def write_sensitivity(found: Sensitivity, folder: Path) -> tuple[Path, Path]:
    """Write curves as ``sensitivity.json`` and as a page; each appears whole or not at all.

    Args:
        found: the curves.
        folder: made if it is not there.

    Returns:
        Paths of both.

    Raises:
        StoreError: the folder cannot be written.
    """
    data, shown = folder / "sensitivity.json", folder / "sensitivity.html"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _replace(data, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        _replace(shown, render_sensitivity_html(found).encode())
    return data, shown


def _replace(path: Path, content: bytes) -> None:
    for left in path.parent.glob(f".{path.name}.*.part"):
        if not Path("/proc", left.name.split(".")[-2]).exists():
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_report(path: Path) -> Report:
    """The report in a ``report.json``, or in a folder that holds one.

    Raises:
        UsageError: there is none, or it is not a report of this version.
    """
    file = path / JSON_FILE if path.is_dir() else path
    if not file.exists():
        raise UsageError(f"{path}: no report here", hint=f"give the folder a build wrote with -o, or its {JSON_FILE}")
    return strict.read(file, Report)
