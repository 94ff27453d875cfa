"""What a child is asked to export, and what it says of it; the graph itself is a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit import child
from edgekit.errors import ChildError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.finish import Draft
from edgekit.ingest.shapes import Sizes
from edgekit.ingest.sniff import Kind
from edgekit.model import Layout, Preprocess
from edgekit.model.model import MODEL_FILE
from edgekit.samples import Samples

if TYPE_CHECKING:
    import onnx

EXPORT_FOLDER = "source"


class Job(msgspec.Struct, frozen=True):
    """A source to export to ``out/source/model.onnx``, with ``out/parity.npz`` beside that folder.

    Attributes:
        label: what messages call the source.
        source: its path.
        kind: what it is.
        options: as the user gave them.
        out: an existing folder.
        samples: the parity is checked on some of them.
    """

    label: str
    source: Path
    kind: Kind
    options: IngestOptions
    out: Path
    samples: Samples | None = None


class Exported(msgspec.Struct, frozen=True):
    """What is known of an exported graph.

    Attributes:
        shapes: sizes of every input.
        layouts: of inputs.
        preprocess: if the network shows it.
        did: for the report.
    """

    shapes: dict[str, Sizes]
    layouts: dict[str, Layout] = {}
    preprocess: Preprocess | None = None
    did: dict[str, Any] = {}


def exported(function: str, job: Job, *, sandboxed: bool) -> Exported:
    """Have a child export a source.

    Raises:
        EdgekitError: what the child refused.
        ChildError: it crashed or went beyond a limit; the message names the source.
    """
    limits = child.Limits(memory_bytes=int(job.options.memory_gib * (1 << 30)), cpu_s=int(job.options.timeout_s * 4), wall_s=job.options.timeout_s)
    samples = () if job.samples is None else (*job.samples.judging, *job.samples.calibrating)
    job = msgspec.structs.replace(job, source=job.source.resolve(), out=job.out.resolve())
    sandbox = child.Sandbox(reads=(job.source, *{sample.path.resolve().parent for sample in samples}), writes=job.out) if sandboxed else None
    try:
        return child.call(function, job, Exported, limits=limits, sandbox=sandbox)
    except ChildError as error:
        raise ChildError(f"{job.label}: {error.message}", hint=error.hint, output=error.output) from error


def draft_of(found: Exported, out: Path, *, kind: str, tools: dict[str, str]) -> Draft:
    """The exported graph, taken from its folder, which goes."""
    return Draft(
        proto=_taken(out),
        shapes=found.shapes,
        layouts=found.layouts,
        preprocess=found.preprocess,
        tools=tools,
        did={"format": kind, **found.did},
    )


def _taken(out: Path) -> onnx.ModelProto:
    from edgekit.graph.onnx_file import load

    proto = load(out / EXPORT_FOLDER / MODEL_FILE)
    shutil.rmtree(out / EXPORT_FOLDER)
    return proto
