"""Cluster: the weights of a layer share a few values, so that compressed the engine is a fraction of its size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The pass ``cluster``. It expects a simplified and fused graph; ``equalize`` belongs before it, ``finetune`` and ``quantize`` behind.

    A graph that came quantized is left as it is. Zeros of weights that were pruned stay zeros.

    Attributes:
        bits: a codebook has 2 to this many entries.
        scope: ``layer``: all weights of a layer share one codebook; ``channel``: each output channel has its own;
            ``scaled``: each channel has a multiple of one codebook, which integers with a scale for each channel hold as well
            as the first, where channels differ in size much better.
        rounding: weights to the ``nearest`` values, or ``compensated``: where there are samples, so that each layer's outputs
            change least on them.
        keep: nodes whose weights are left alone: names, patterns such as ``/head/*``, or operators.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    uses: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES})
    keeps_nodes: ClassVar[bool] = True
    pays_as: ClassVar[tuple[str, ...]] = ("codebook",)

    bits: Literal[2, 3, 4, 5, 6, 7, 8] = 4
    scope: Literal["layer", "channel", "scaled"] = "layer"
    rounding: Literal["nearest", "compensated"] = "compensated"
    keep: tuple[str, ...] = ()

    def misfit(self, model: Model) -> str:
        """What ``keep`` names and a graph has not; "" if it has all."""
        from edgekit.passes.named import unnamed

        return unnamed(model, self.keep, "keep")

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the clustered model into ``out``.

        Raises:
            SamplesError: samples do not fit the model.
            SourceError: the model cannot be read or run.
            UsageError: ``keep`` names what is not there.
        """
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.compress.cluster.clustering import clustered
        from edgekit.passes.compress.threads import one_thread

        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            with one_thread():
                proto, did = clustered(model, proto, supplies, self)
        save(proto, out)
        step = Step(name="cluster", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime")
