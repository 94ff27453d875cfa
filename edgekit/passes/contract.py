"""What every pass is and is given: Model in, Model out."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgekit.model import Model
from edgekit.samples import Samples
from edgekit.target import Scheme
from edgekit.watch import SILENT, Watcher


class Need(enum.Enum):
    """What a pass cannot do without."""

    SAMPLES = "samples"
    SCHEME = "a quantization scheme"
    TEACHER = "the model before compression"
    CHANNEL_MULTIPLE = "the multiple of channels that the target's kernels like"
    COST = "the latency on the target"
    TEACHERS = "other models to learn from"


def is_fed(pass_: Pass) -> bool:
    """Whether samples, where there are some, decide what a pass makes."""
    return Need.SAMPLES in pass_.needs or Need.SAMPLES in getattr(pass_, "uses", ())


def make_now(name: str, decided_by: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """A ``shared`` that keeps nothing beyond the process's temporary files; for tests and plain scripts."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=f"edgekit-{name}-"))
    make(folder)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """What the pipeline hands to a pass.

    Attributes:
        samples: inputs, again and again; None if the user gave none.
        scheme: how the target's runtime wants numbers stored.
        watcher: told about progress.
        shared: ``shared(name, decided_by, make)`` returns a folder that ``make`` filled, now or in an earlier build:
            for results that do not depend on the scheme, such as ranges.
        teacher: the model before compression, simplified and fused, for passes that need one.
        channel_multiple: that the target's kernels like.
        cost: ``cost(model)`` returns the milliseconds that a model takes on the target, measured now or in an earlier
            build; None where nothing is measured.
        teachers: other models to learn from, simplified and fused, for the pass that makes one of them of another architecture.
        unfinished: folder in which a long step leaves where it stands, and finds it when it is run again after an
            interruption; it may not be there yet. None if nothing can be left.
    """

    samples: Samples | None = None
    scheme: Scheme | None = None
    watcher: Watcher = SILENT
    shared: Callable[[str, Mapping[str, Any], Callable[[Path], None]], Path] = make_now
    teacher: Model | None = None
    channel_multiple: int = 1
    cost: Callable[[Model], float] | None = None
    teachers: tuple[Model, ...] = ()
    unfinished: Path | None = None


class Pass(Protocol):
    """A frozen dataclass whose fields are its options; entry-point group ``edgekit.passes``, by step name.

    A pass whose options go beyond some schemes may have ``lacking(scheme) -> str`` besides: what a scheme has no form for,
    and what can be done about it, or "". The plan asks before anything runs.

    A pass may have ``uses`` besides, a set like ``needs``: what it can do without and goes by where it is there.

    A pass that compresses may have ``pays_as`` besides, names of fields of :class:`edgekit.target.Pays`: the plan then says what
    a target's runtime turns each into.

    A pass may have ``misfit(model) -> str`` besides: what of its options fits nothing in a graph, such as a name that no node
    has, and what can be done about it, or "". Whoever has a graph asks before anything runs, and behind each step that does
    not say by ``keeps_nodes``, a class variable or property, that nodes have their names afterwards and none is new.

    A pass that needs samples and changes what runs in which numbers may have ``foresee(model, supplies, out) -> Model``: the
    model as it would be, with made-up numbers where samples would decide them. Only its types and shapes mean anything.
    """

    @property
    def needs(self) -> frozenset[Need]:
        """What it cannot do without, with the options it has; a plain class variable where they do not matter."""

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the new model into ``out`` (an empty folder) and leave the old one alone."""

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result. Imports none of them."""
