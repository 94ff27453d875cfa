"""Simplify: the graph in its store form, what can be known beforehand worked out, what does nothing taken out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplify:
    """The pass ``simplify``.

    Attributes:
        onnxsim: let onnx-simplifier fold constants and clear up, in a child process; without it edgekit's own rules do it alone.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    onnxsim: bool = True

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the simplified model into ``out``.

        Raises:
            UnsupportedError: an operator is not ONNX's own or cannot be converted to opset 21.
            SourceError: the graph's shapes contradict one another.
            ChildError: onnx-simplifier failed.
        """
        from edgekit.graph.onnx_file import load, save
        from edgekit.passes.simplify.stages import simplify

        proto, did = simplify(load(model.path), use_onnxsim=self.onnxsim)
        save(proto, out)
        step = Step("simplify", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """Versions of onnx, ONNX Runtime and onnx-simplifier."""
        return version_of("onnx", "onnxruntime", *(["onnxsim"] if self.onnxsim else []))
