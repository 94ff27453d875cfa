"""PyTorch: ``.pt2`` ExportedPrograms, and state dicts with a factory. torch is imported in a child process only."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import SourceError, UsageError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.finish import finish
from edgekit.ingest.job import Job, draft_of, exported
from edgekit.ingest.sniff import Kind, kind_of, pickled_globals
from edgekit.ingest.tools import require, versions
from edgekit.model import Model
from edgekit.samples import Samples
from edgekit.watch import Watcher

_KINDS = frozenset({Kind.EXPORTED, Kind.STATE_DICT, Kind.PICKLED, Kind.TORCHSCRIPT})


class TorchFrontend:
    """Reads ``.pt2`` and, with ``options.factory``, state dicts, through ``torch.onnx``."""

    def claims(self, source: Path) -> bool:
        """Whether torch wrote it; TorchScript and pickled modules are claimed to be refused with what to do instead."""
        return kind_of(source) in _KINDS

    def read(self, source: Path, *, options: IngestOptions, out: Path, samples: Samples | None, watcher: Watcher) -> Model:
        """Export it in a child, sandboxed for a ``.pt2`` unless ``options.trust``: one can run code when it is loaded.

        A factory is the user's own code, and the state dict is read as plain tensors: that needs no sandbox.
        """
        kind = kind_of(source)
        _refuse(source, kind, options)
        require("torch", "torch", "onnxscript")
        job = Job(label=str(source), source=source, kind=kind, options=options, out=out, samples=samples)
        found = exported("edgekit.ingest.torch_export:convert", job, sandboxed=kind is Kind.EXPORTED and not options.trust)
        return finish(draft_of(found, out, kind=kind.value, tools=self.tools()), str(source), options=options, out=out)

    def tools(self) -> dict[str, str]:
        """Versions of torch, onnxscript and onnx."""
        return versions("torch", "onnxscript", "onnx")


def _refuse(source: Path, kind: Kind, options: IngestOptions) -> None:
    if kind is Kind.TORCHSCRIPT:
        raise SourceError(
            f"{source}: this is TorchScript, which torch no longer exports from",
            hint="from the Python model: torch.export.save(torch.export.export(model.eval(), (example,)), 'net.pt2')",
        )
    if kind is Kind.PICKLED:
        called = ", ".join(pickled_globals(source)[:3]) or "damaged"
        raise SourceError(
            f"{source}: this holds pickled Python objects ({called}), which run code when they are loaded",
            hint="save the weights alone, torch.save(model.state_dict(), 'net.pth'), and give --factory module.py:function",
        )
    if kind is Kind.STATE_DICT and not options.factory:
        raise UsageError(
            f"{source}: this holds weights, and not the network they belong to",
            hint="--factory module.py:function names a function that returns the torch.nn.Module",
        )
