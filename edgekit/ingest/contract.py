"""What every frontend is and makes, and how one is chosen: source in, Model out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from edgekit import plugins
from edgekit.errors import SourceError
from edgekit.ingest.sniff import kind_of, unreadable
from edgekit.model import Layout, Model
from edgekit.samples import Samples
from edgekit.watch import SILENT, Watcher


class IngestOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a source is to be read.

    Attributes:
        shape: sizes by input name, or under ``""`` for the only input; a word keeps that size open under this name.
        dtype: numpy's names of element types by input name, where the source does not say (PyTorch state dicts); float32 if not given.
        layout: where the channels of 4-D inputs are, if the source does not show it.
        trust: open files that may run code without a sandbox, and let Keras load unsafe layers.
        factory: ``path/to/module.py:function`` that makes the torch module of a state dict.
        check_samples: how many samples the parity with the source framework is checked on, besides two random inputs.
        memory_gib: what the child that opens the source may use.
        timeout_s: how long it may take.
    """

    shape: dict[str, tuple[int | str, ...]] = {}
    dtype: dict[str, str] = {}
    layout: Layout = ""
    trust: bool = False
    factory: str = ""
    check_samples: int = 4
    memory_gib: float = 16.0
    timeout_s: float = 1800.0


class Frontend(Protocol):
    """Reads the sources of one framework; entry-point group ``edgekit.frontends``."""

    def claims(self, source: Path) -> bool:
        """Whether this source is for this frontend: by content, in milliseconds, importing no framework."""

    def read(self, source: Path, *, options: IngestOptions, out: Path, samples: Samples | None, watcher: Watcher) -> Model:
        """Write the Model into ``out`` (an empty folder), its parity with the source checked.

        Raises:
            SourceError: the source cannot be read, or the Model does not compute what the source does.
        """

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result. Imports none of them."""


def ingest(source: Path, *, options: IngestOptions, out: Path, samples: Samples | None = None, watcher: Watcher = SILENT) -> Model:
    """Make a Model of a source file or folder.

    Args:
        source: Keras (.keras, .h5, SavedModel folder), PyTorch (.pt2, state dict with ``options.factory``) or ONNX.
        options: how to read it.
        out: an empty folder; gets the Model, and ``parity.npz`` with inputs and the source framework's outputs.
        samples: the parity is checked on some of these too.
        watcher: told what the user should know.

    Raises:
        SourceError: nothing here reads it, it is damaged, or the Model does not compute what the source does.
        UsageError: the options do not fit the source.
        ChildError: a framework crashed on it or used too much.
    """
    return frontend_for(source).read(source, options=options, out=out, samples=samples, watcher=watcher)


def frontend_for(source: Path) -> Frontend:
    """The frontend that claims a source.

    Raises:
        SourceError: there is no such file, or no frontend claims it; says what it is instead.
    """
    if not source.exists():
        raise SourceError(f"{source}: no such file", hint=f"check the path: ls -l {source.parent}")
    for name in plugins.names("edgekit.frontends"):
        frontend: Frontend = plugins.load("edgekit.frontends", name)()
        if frontend.claims(source):
            return frontend
    raise unreadable(source, kind_of(source))


def tools_for(source: Path) -> dict[str, str]:
    """Versions of the packages that decide what becomes of this source. Imports none of them.

    Raises:
        SourceError: no frontend claims it.
    """
    return frontend_for(source).tools()
