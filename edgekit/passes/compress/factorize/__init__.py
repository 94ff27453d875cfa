"""Factorize: layers become products of smaller ones, of which the runtime has fewer multiplications to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of

Op = Literal["Conv", "Gemm", "MatMul"]

HALF = 0.5
"""What goes where nobody says how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factorize:
    """The pass ``factorize``. It expects a simplified and fused graph; ``finetune``, ``cluster`` and ``quantize`` belong behind it.

    Where there are samples, ranks and factors are those that change the layers' outputs least on them, small ones weighed
    up; otherwise those nearest to the weights. A graph that came quantized is left as it is.

    Attributes:
        method: what a convolution becomes. ``svd``: fewer filters and a 1 x 1 convolution; ``spatial``: columns, then rows;
            ``tucker``: 1 x 1, a kernel between fewer channels, 1 x 1; ``auto``: whichever of these three loses least for what
            it costs; ``cp``: 1 x 1, a column and a row for each channel, 1 x 1; ``separable``: some filters for each input
            channel, then 1 x 1, which wants a step ``finetune``; ``lu``: as ``svd``, by elimination, which loses more.
            Matrices and 1 x 1 convolutions become two.
        ratio: share that goes of what is counted in all layers together, as of ``prune``; half of it, where neither this nor
            ``max_loss`` is said.
        of: what is counted: ``parameters``, ``macs``, or the ``latency`` of the whole model on the target.
        max_loss: instead of ``ratio``: share of its outputs' variance that each layer may lose by itself, 0 to 1; every layer
            takes the cheapest form that keeps it.
        ops: operators that are taken apart.
        keep: nodes that are left alone: names, patterns such as ``/head/*``, or operators.
        multiple_of: ranks are multiples of it: kernels compute channels in groups.
    """

    uses: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES})
    pays_as: ClassVar[tuple[str, ...]] = ("low_rank",)

    method: Literal["auto", "svd", "spatial", "tucker", "cp", "separable", "lu"] = "auto"
    ratio: float | None = None
    of: Literal["parameters", "macs", "latency"] = "macs"
    max_loss: float | None = None
    ops: tuple[Op, ...] = ("Conv", "Gemm", "MatMul")
    keep: tuple[str, ...] = ()
    multiple_of: int = 8

    def __post_init__(self) -> None:
        """Refuse what nothing can follow.

        Raises:
            ValueError: a number is out of its range, or two say how much goes.
        """
        if self.ratio is not None and self.max_loss is not None:
            raise ValueError(f"ratio = {self.ratio:g} and max_loss = {self.max_loss:g}: either says how much goes; leave one out")
        if self.ratio is not None and not 0.0 < self.ratio < 1.0:
            raise ValueError(f"ratio = {self.ratio!r}: more than 0 and less than 1")
        if self.max_loss is not None and not 0.0 <= self.max_loss < 1.0:
            raise ValueError(f"max_loss = {self.max_loss!r}: 0 or more, less than 1")
        if self.multiple_of < 1:
            raise ValueError(f"multiple_of = {self.multiple_of!r}: at least 1")

    @property
    def left(self) -> float:
        """Share of what is counted that the layers together may keep, where no loss is said."""
        return 1.0 - (HALF if self.ratio is None else self.ratio)

    @property
    def needs(self) -> frozenset[Need]:
        """The target's latency, where the ratio is of that."""
        return frozenset({Need.COST}) if self.of == "latency" else frozenset()

    def misfit(self, model: Model) -> str:
        """What ``keep`` names and a graph has not; "" if it has all."""
        from edgekit.passes.named import unnamed

        return unnamed(model, self.keep, "keep")

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the factorized model into ``out``.

        Raises:
            SamplesError: samples do not fit the model.
            SourceError: the model cannot be read or run.
            UsageError: the ratio cannot be reached, or ``keep`` names what is not there.
        """
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.compress.factorize.factorizing import factorized
        from edgekit.passes.compress.threads import one_thread

        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            with one_thread():
                proto, did = factorized(model, proto, supplies, self)
        save(proto, out)
        step = Step(name="factorize", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime")
