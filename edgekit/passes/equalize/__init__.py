"""Equalize: channels of very different sizes are scaled alike, so that one 8-bit range fits them all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.errors import SamplesError
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalize:
    """The pass ``equalize``. It expects a simplified and fused graph, and leaves what the graph computes as it is.

    A graph that came quantized is left alone altogether: its scales belong to its channels as they are. So is one whose weights
    share values: factors by channel would make many of them.

    Attributes:
        center: move channels so that they lie around 0, where biases take the offsets in.
        clipped: also scale channels before a Clip such as ReLU6, as far as the Clip does not cut off more than it did.
        min_sqnr_db: least fidelity of the equalized float graph to the float graph, on the samples; where channels before
            a Clip make it less, they are left alone.
    """

    keeps_nodes: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES})

    center: bool = True
    clipped: bool = True
    min_sqnr_db: float = 40.0

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the equalized model into ``out``.

        Raises:
            SamplesError: samples are missing or do not fit the model.
            SourceError: the model cannot be run.
        """
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.graph.structure import structures
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.equalize.equalizing import equalized

        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if any(one.has_few_values for one in structures(proto).values()):
            did = {"left_alone": "weights share values, which factors by channel would take apart; equalize before they are clustered"}
        if did is None:
            if supplies.samples is None:
                raise SamplesError("equalize: needs samples", hint="--samples DIR, or --recipe fp16")
            proto, did = equalized(model, proto, supplies.samples, supplies.watcher, self)
        save(proto, out)
        step = Step(name="equalize", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime")
