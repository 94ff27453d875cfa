"""What a user finds in ``OUT/``: engines, step records, a log. Nothing there is ever half written."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekit.engine.contract import ENGINE_RECORD, Engine, read_engine
from edgekit.errors import UsageError
from edgekit.model import Model, file_sha256
from edgekit.model.model import MODEL_FILE
from edgekit.model.store import is_alive, writing
from edgekit.pipeline.line import Built
from edgekit.pipeline.steps import COST_FILE
from edgekit.report import StepEntry
from edgekit.watch import Watcher

LOG_FILE = "log.txt"
LOG_HEAD = "edgekit: what builds into this folder said"


class Logged:
    """A Watcher that writes everything down and hands it on."""

    def __init__(self, inner: Watcher) -> None:
        self.inner = inner
        self.lines: list[str] = []
        self._what, self._since = "", time.monotonic()

    def begin(self, what: str, total: int | None = None) -> None:
        """Remember what began."""
        self._what, self._since = what, time.monotonic()
        self.inner.begin(what, total)

    def advance(self, units: int = 1) -> None:
        """Hand on."""
        self.inner.advance(units)

    def end(self, note: str = "") -> None:
        """Write down what ended, and how long it took."""
        self._write(f"{self._what}: {note or 'done'} ({time.monotonic() - self._since:.2f} s)")
        self.inner.end(note)

    def note(self, text: str) -> None:
        """Write down and hand on."""
        self._write(text)
        self.inner.note(text)

    def _write(self, text: str) -> None:
        self.lines.append(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")


def claim(out: Path) -> None:
    """Make the folder of the results, or go on in one that an earlier build made.

    Raises:
        UsageError: other things lie there: a build replaces what it finds.
        StoreError: it cannot be written.
    """
    log = out / LOG_FILE
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        is_ours = log.is_file() and log.read_bytes().startswith(LOG_HEAD.encode())
        if not is_ours and any(out.iterdir()):
            raise UsageError(f"{out}: not empty, and not made by edgekit", hint="choose a new folder with -o")
        if not is_ours:
            log.write_text(LOG_HEAD + "\n", encoding="utf-8")


def publish_engine(built: Built, out: Path) -> Path:
    """Put an engine with its record and snippets into ``out/engines/TARGET-RUNTIME``, unless exactly that lies there.

    Returns:
        The folder.
    """
    final = out / "engines" / built.chosen.key
    if is_published(built.engine, final):
        return final

    def fill(temporary: Path) -> None:
        shutil.copytree(built.folder, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(COST_FILE))

    replace_folder(final, fill)
    return final


def publish_model(model: Model, out: Path) -> Path:
    """Put a Model's ONNX file into ``out``.

    Returns:
        The file; weights above 1.5 GB lie beside it.
    """
    with writing(out):
        for path in sorted(model.folder.glob(f"{MODEL_FILE}*"), reverse=True):  # what the file refers to first
            temporary = out / f".{path.name}.{os.getpid()}"
            shutil.copyfile(path, temporary)
            temporary.replace(out / path.name)
    return out / MODEL_FILE


def is_published(engine: Engine, final: Path) -> bool:
    """Whether exactly this engine lies there."""
    if not (final / ENGINE_RECORD).is_file() or read_engine(final) != engine:
        return False
    return (final / engine.file).is_file() and file_sha256(final / engine.file) == engine.sha256


def publish_steps(entries: list[StepEntry], lines: list[str], out: Path) -> None:
    """Write ``steps/NN-name.json`` and append to ``log.txt``."""

    def fill(temporary: Path) -> None:
        for index, entry in enumerate(entries):
            suffix = "" if entry.target == "all" else f"-{entry.target}"
            (temporary / f"{index:02d}-{entry.name}{suffix}.json").write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=1))

    replace_folder(out / "steps", fill)
    with writing(out), (out / LOG_FILE).open("a", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)


def replace_folder(final: Path, fill: Callable[[Path], None]) -> None:
    """Make ``final`` anew beside itself, then swap: a reader sees the old folder or the new one."""
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final)
        temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-{os.getpid()}-"))
        old = temporary.with_name(temporary.name + "-old")
        try:
            fill(temporary)
            temporary.chmod(0o755)
            if final.exists():
                os.rename(final, old)
            os.rename(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove what builds left beside ``final`` that were killed while they wrote it."""
    for left in final.parent.glob(f".{final.name}-*"):
        owner = left.name.removeprefix(f".{final.name}-").partition("-")[0]
        if owner.isdigit() and not is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
