"""Fuse: patterns of several nodes become the one operator that an engine runs in one go."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuse:
    """The pass ``fuse``. It expects a simplified graph.

    Attributes:
        without: names of rules to leave out; :data:`edgekit.passes.fuse.table.RULES` lists them.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    without: tuple[str, ...] = ()

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the fused model into ``out``.

        Raises:
            UsageError: ``without`` names a rule that does not exist.
        """
        from edgekit.graph.onnx_file import load, save
        from edgekit.passes.fuse.table import fuse

        proto, did = fuse(load(model.path), without=self.without)
        save(proto, out)
        step = Step("fuse", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """The version of onnx."""
        return version_of("onnx")
