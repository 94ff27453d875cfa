"""Prune: fewer channels in every engine, or weights that are zero where they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.errors import SamplesError, UsageError
from edgekit.extras import lacks
from edgekit.model import Model, Step, seal_model
from edgekit.passes.compress.prune.options import CUTTING, contradiction
from edgekit.passes.contract import Need, Supplies
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """The pass ``prune``. It expects a simplified and fused graph with float weights.

    A graph that came quantized is left as it is. Whether a runtime makes anything of it, the plan says by the target's facts.

    Attributes:
        kind: ``structured``: channels go, with all that hangs on them, and the graph is smaller; ``unstructured``: weights
            become zero where they are; ``2:4``: two of every four along the input channels; ``soft``: channels are zeroed after
            every epoch of learning and may come back until they go.
        ratio: share that goes, 0 to 1.
        of: what ``structured`` and ``soft`` take the share of: multiply-adds, parameters, bytes of constants, the channels that
            can be cut, or the latency measured on the target. Zeros where they are take it of the weights.
        importance: of channels: ``magnitude`` of all weights that make and read them; what they carry (``activation``); to
            first order the change of the outputs (``taylor``, with the extra torch); the ``error`` that the others cannot take over. Of
            weights: ``magnitude``, or times what they are multiplied with (``activation``).
        scope: ``global``: groups lose what costs least for what it saves; ``layer``: every group loses the same share;
            ``sensitivity``: what costs least by the outputs when each group, or layer, is pruned alone.
        multiple_of: channels that are left are a multiple of it, where a group is large enough; 0 for that of the target.
        steps: times that a part goes, the model learning between from what it was.
        epochs: of learning between two steps; of ``soft`` all together.
        rate: learning rate then.
        repair: weights that read channels which go take over what they can of them, where there are samples.
        keep: nodes that keep their channels, or weights: names, patterns such as ``/head/*``, or operators.
        samples: of those that calibrate, how many are looked at.
    """

    keeps_nodes: ClassVar[bool] = True

    kind: Literal["structured", "unstructured", "2:4", "soft"] = "structured"
    ratio: float = 0.5
    of: Literal["macs", "parameters", "bytes", "channels", "latency"] = "macs"
    importance: Literal["magnitude", "taylor", "activation", "error"] = "magnitude"
    scope: Literal["global", "layer", "sensitivity"] = "global"
    multiple_of: int = 0
    steps: int = 1
    epochs: int = 1
    rate: float = 1e-3
    repair: bool = True
    keep: tuple[str, ...] = ()
    samples: int = 64

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if fault := contradiction(self):
            raise ValueError(fault)

    @property
    def needs(self) -> frozenset[Need]:
        """Samples where they decide or are learned from; the target where its kernels or its latency do."""
        found = set()
        if self.importance != "magnitude" or self.scope == "sensitivity" or self.learns:
            found.add(Need.SAMPLES)
        if self.learns:
            found.add(Need.TEACHER)
        if self.kind in CUTTING and not self.multiple_of:
            found.add(Need.CHANNEL_MULTIPLE)
        if self.kind in CUTTING and self.of == "latency":
            found.add(Need.COST)
        return frozenset(found)

    @property
    def uses(self) -> frozenset[Need]:
        """What it goes by where it is there: samples, for what takes over from channels that go."""
        return frozenset({Need.SAMPLES}) if self.kind in CUTTING and self.repair else frozenset()

    @property
    def learns(self) -> bool:
        """Whether the model learns on the way."""
        return self.steps > 1 or self.kind == "soft"

    @property
    def pays_as(self) -> tuple[str, ...]:
        """The field of a runtime's facts that says what comes of it."""
        return ({"2:4": "sparse_2_4", "unstructured": "unstructured"}.get(self.kind, "structured"),)

    def missing(self) -> str:
        """What is not installed and the options ask for; "" if nothing is."""
        return lacks("torch", "torch") if self.learns or self.importance == "taylor" else ""

    def misfit(self, model: Model) -> str:
        """What ``keep`` names and a graph has not; "" if it has all."""
        from edgekit.passes.named import unnamed

        return unnamed(model, self.keep, "keep")

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the pruned model into ``out``.

        Raises:
            MissingExtraError: torch is not installed, where something is learned or differentiated.
            SamplesError: samples are missing or do not fit the model.
            SourceError: the model cannot be run.
            UsageError: nothing may be cut, ``keep`` names what is not there, the ratio cannot be reached, or latency is asked for
                where nothing is measured.
        """
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.compress.prune.pruning import pruned

        if Need.SAMPLES in self.needs and supplies.samples is None:
            raise SamplesError("prune: needs samples", hint="--samples DIR, or --set prune.importance=magnitude")
        if Need.COST in self.needs and supplies.cost is None:
            raise UsageError("prune: of = latency goes by what is measured, and only a build measures", hint="edgekit build, or --set prune.of=macs")
        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            proto, did = pruned(proto, model, supplies, self)
        save(proto, out)
        return seal_model(out, model.signature, (*model.history, Step("prune", options=asdict(self), tools=self.tools(), did=did)))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        torch = ("torch",) if self.learns or self.importance == "taylor" else ()
        return version_of("edgekit", "numpy", "onnx", "onnxruntime", *torch)
