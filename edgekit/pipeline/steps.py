"""Steps by content: each is done once, kept in the store under all that decided it, and recorded for the report."""

from __future__ import annotations

import functools
import hashlib
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import SourceError
from edgekit.graph.external import external_files
from edgekit.model import Model, Step, Store, file_sha256, read_model
from edgekit.model.store import key_of
from edgekit.report import StepEntry
from edgekit.watch import Watcher

COST_FILE = "cost.json"
NODE_COUNTS = frozenset({"nodes", "nodes_before", "nodes_after"})


class Cost(msgspec.Struct, frozen=True):
    """What a step took when it was done."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a build's steps are done and written down.

    Attributes:
        store: keeps results.
        watcher: told about progress.
        entries: one a step, in the order they ran.
    """

    store: Store
    watcher: Watcher
    entries: list[StepEntry] = field(default_factory=list)

    def folder(self, name: str, decided_by: Mapping[str, Any], make: Callable[[Path], None], *, quiet: bool = False) -> tuple[Path, Cost, bool]:
        """The folder that ``make`` filled, now or in an earlier build; what it took; whether it was there."""
        key = key_of(name, {"code": code_digest(), **decided_by})
        cached = self.store.has(key)
        if cached or quiet:
            folder = self.store.keep(key, lambda out: _timed(make, out))
        else:
            self.watcher.begin(name)
            folder = self.store.keep(key, lambda out: _timed(make, out))
            self.watcher.end()
        return folder, msgspec.json.decode((folder / COST_FILE).read_bytes(), type=Cost), cached

    def find(self, name: str, decided_by: Mapping[str, Any]) -> Path | None:
        """The folder of a result that an earlier build left; nothing is made."""
        key = key_of(name, {"code": code_digest(), **decided_by})
        return self.store.path(key) if self.store.has(key) else None

    def unfinished(self, name: str, decided_by: Mapping[str, Any]) -> Path:
        """Where a step leaves how far it is, until its result is kept."""
        return self.store.unfinished(key_of(name, {"code": code_digest(), **decided_by}))

    def shared(self, name: str, decided_by: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """For results of a pass that other targets share, such as ranges: kept, not reported as a step."""
        return self.folder(name, decided_by, make, quiet=True)[0]

    def model_step(self, name: str, decided_by: Mapping[str, Any], make: Callable[[Path], Model], *, target: str, parent: Model | None) -> Model:
        """A step whose result is a Model."""

        def fill(out: Path) -> None:
            make(out)

        folder, cost, cached = self.folder(name, decided_by, fill)
        shutil.rmtree(self.unfinished(name, decided_by), ignore_errors=True)
        model = read_model(folder)
        step = model.history[-1] if model.history else Step(name=name)
        self.entries.append(
            StepEntry(
                name=name,
                target=target,
                options=step.options,
                did={key: value for key, value in step.did.items() if key not in NODE_COUNTS},
                nodes_before=step.did.get("nodes_before"),
                nodes_after=step.did.get("nodes_after", step.did.get("nodes")),
                wall_s=cost.wall_s,
                cpu_s=cost.cpu_s,
                cached=cached,
                bytes_before=parent.bytes if parent else None,
                bytes_after=model.bytes,
                tools=step.tools,
            )
        )
        return model


def _timed(make: Callable[[Path], None], out: Path) -> None:
    wall, cpu = time.perf_counter(), _cpu_s()
    make(out)
    cost = Cost(wall_s=round(time.perf_counter() - wall, 4), cpu_s=round(_cpu_s() - cpu, 4))
    (out / COST_FILE).write_bytes(msgspec.json.encode(cost))


def _cpu_s() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


@functools.cache
def code_digest() -> str:
    """SHA-256 over edgekit's own source and tables: what another edgekit made is made anew."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".toml", ".tmpl")):
        relative = path.relative_to(root)
        if relative.parts[0] not in ("cli", "report", "recipes", "_data"):
            digest.update(str(relative).encode() + path.read_bytes())
    return digest.hexdigest()


def source_digest(source: Path) -> tuple[str, int]:
    """SHA-256 and size of a source: of a file, of all files of a folder, and of the data files an ONNX file names.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        files = [source, *external_files(source)] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        if len(files) == 1:
            return file_sha256(files[0]), files[0].stat().st_size
        digest = hashlib.sha256("".join(f"{path} {file_sha256(path)}\n" for path in files).encode())
        return digest.hexdigest(), sum(path.stat().st_size for path in files)
    except OSError as error:
        raise SourceError(f"{source}: {error.strerror}", hint="check the path and its permissions") from error
