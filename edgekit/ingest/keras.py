"""Keras models: ``.keras``, ``.h5``, SavedModel folders. TensorFlow is imported in a child process only."""

from __future__ import annotations

from pathlib import Path

from edgekit import child
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.finish import finish
from edgekit.ingest.job import Job, draft_of, exported
from edgekit.ingest.sniff import Kind, kind_of
from edgekit.ingest.tools import require, versions
from edgekit.model import Model
from edgekit.samples import Samples
from edgekit.watch import Watcher

_KINDS = frozenset({Kind.KERAS, Kind.HDF5, Kind.SAVEDMODEL})


class KerasFrontend:
    """Reads ``.keras``, ``.h5`` and SavedModel folders, through tf2onnx."""

    def claims(self, source: Path) -> bool:
        """Whether it is a Keras archive, an HDF5 file or a SavedModel folder."""
        return kind_of(source) in _KINDS

    def read(self, source: Path, *, options: IngestOptions, out: Path, samples: Samples | None, watcher: Watcher) -> Model:
        """Export it in a sandboxed child with Keras's safe mode on; ``options.trust`` does without both."""
        require("keras", "tensorflow", "keras", "tf2onnx")
        kind = kind_of(source)
        job = Job(label=str(source), source=source, kind=kind, options=options, out=out, samples=samples)
        found = exported("edgekit.ingest.keras_export:convert", job, sandboxed=_sandboxed(kind, options, watcher))
        return finish(draft_of(found, out, kind=kind.value, tools=self.tools()), str(source), options=options, out=out)

    def tools(self) -> dict[str, str]:
        """Versions of Keras, TensorFlow, tf2onnx and onnx."""
        return versions("keras", "tensorflow", "tf2onnx", "onnx")


def _sandboxed(kind: Kind, options: IngestOptions, watcher: Watcher) -> bool:
    """A SavedModel is a program and needs the sandbox; the others are data as long as Keras's safe mode is on."""
    if options.trust:
        return False
    refusal = child.sandbox_refusal() if kind is not Kind.SAVEDMODEL else ""
    if refusal:
        watcher.note(f"the file is opened with Keras's safe mode only: {refusal}")
    return not refusal
