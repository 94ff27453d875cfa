"""The tables of what each delegate takes, read from ``*.toml`` beside this file."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgekit import strict

DELEGATES = ("xnnpack", "gpu", "nnapi", "edgetpu")
DelegateName = Literal["xnnpack", "gpu", "nnapi", "edgetpu"]

_OF_SCALES = frozenset({"scales_of_sum", "scales_of_product", "scales_of_conversion"})

Span = tuple[int, ...]
"""Least and most, both allowed; empty where anything is."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some operators must be for a delegate to take them. Where several rules name an operator, all hold.

    Attributes:
        ops: TFLite's builtin operators.
        source: where it stands: a function of the table's source, or a measurement.
        types: element types it may have, each ``"float32, int8@0, float32? -> float32"``: inputs in order, then outputs;
            ``|`` parts alternatives, ``@0`` allows a scale for each channel of that axis, ``@any`` of whichever, ``?`` may be
            left out, ``...`` stands for as many of them as there are, ``*`` is anything.
        reads, makes: element types of computed inputs and of outputs, beyond the table's ``computed``.
        inputs, outputs: how many it may have.
        computed_inputs, constant_inputs: how many of its inputs may be so.
        constant: places of inputs that must be constants where they are given.
        ranks: how many axes the input in each place may have.
        output_rank: how many axes the first output may have.
        allowed: values of its options; the first is what stands where the file says nothing.
        least: the least that an option may be.
        most_version: newest version of the operator.
        checks: what cannot be said so; functions of ``checks``.
        remedy: what can be done about it, where there is something.
    """

    ops: tuple[str, ...]
    source: str
    types: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    inputs: Span = ()
    outputs: Span = ()
    computed_inputs: Span = ()
    constant_inputs: Span = ()
    constant: tuple[int, ...] = ()
    ranks: tuple[Span, ...] = ()
    output_rank: Span = ()
    allowed: dict[str, tuple[bool | int | float | str, ...]] = {}
    least: dict[str, int] = {}
    most_version: int = 0
    checks: tuple[str, ...] = ()
    remedy: str = ""


class Older(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an older release leaves of what the table's takes.

    Attributes:
        source: where it stands: a measurement.
        leaves: element types by operator; none where it takes the operator on no type.
        rule: rules that hold besides the table's.
    """

    source: str
    leaves: dict[str, tuple[str, ...]] = {}
    rule: tuple[Rule, ...] = ()


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All rules of a delegate.

    Attributes:
        title: what people call it.
        by: the version whose rules these are.
        sources: where they come from.
        takes: of what it could take, ``all``, the ``largest`` connected part, or the ``first``: what comes before anything
            that it cannot.
        cuts_not: where the first part is taken, operators behind which it may begin though they are left.
        note: what the rules do not say, in a sentence.
        unpacks: types of constants whose DEQUANTIZE it does when the file is opened, so that what reads them has a constant.
        needs_scale: whether integers of 8 bits or fewer must have a scale.
        computed: element types of computed tensors; empty where ``types`` say it all.
        most_axes: that any tensor may have.
        rule: the rules.
        older: by release, what older ones leave; where they take more, that is not said.
        leaves: element types by operator that are left though a rule takes them: those of an older release.
    """

    title: str
    by: str
    sources: tuple[str, ...]
    rule: tuple[Rule, ...]
    takes: Literal["all", "largest", "first"] = "all"
    cuts_not: tuple[str, ...] = ()
    note: str = ""
    unpacks: tuple[str, ...] = ()
    needs_scale: bool = False
    computed: tuple[str, ...] = ()
    most_axes: int = 0
    older: dict[str, Older] = {}
    leaves: dict[str, tuple[str, ...]] = {}

    def at(self, release: str) -> Table:
        """The rules of an older release; those of the table's own where nothing is known of that one."""
        older = self.older.get(release)
        if older is None:
            return self
        by = f"{self.by.rpartition(' ')[0]} {release}"
        return msgspec.structs.replace(self, by=by, leaves=older.leaves, rule=(*self.rule, *older.rule))

    def without_scales(self) -> Table:
        """The same without what depends on scales alone, for a graph whose scales are not known yet."""
        rules = (msgspec.structs.replace(one, checks=tuple(name for name in one.checks if name not in _OF_SCALES)) for one in self.rule)
        return msgspec.structs.replace(self, rule=tuple(rules))

    def rules(self, op: str) -> list[Rule]:
        """The rules that an operator must keep; none if the delegate has no kernel for it."""
        return [rule for rule in self.rule if op in rule.ops]


@functools.cache
def table(name: DelegateName) -> Table:
    """The table of a delegate that ships with edgekit."""
    return strict.read(Path(__file__).with_name(f"{name}.toml"), Table)


@dataclass(frozen=True, slots=True)
class Slot:
    """What may stand in one place of a row of types.

    Attributes:
        types: element types, each with the axis along which it may have a scale for each channel; ``any``, or "" for none.
        is_optional: whether it may be left out.
        repeats: whether it stands for all that follow.
    """

    types: dict[str, str]
    is_optional: bool = False
    repeats: bool = False

    @property
    def is_anything(self) -> bool:
        """Whether nothing is asked of it."""
        return "*" in self.types


@functools.cache
def row_of(text: str) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    """``"float32, int8@0? -> float32"`` as slots of inputs and of outputs."""
    before, _, after = text.partition("->")
    inputs, outputs = (tuple(_slot(part.strip()) for part in side.split(",") if part.strip()) for side in (before, after))
    return inputs, outputs


def _slot(text: str) -> Slot:
    repeats, is_optional = text.endswith("..."), text.endswith("?")
    types: dict[str, str] = {}
    for part in text.removesuffix("...").removesuffix("?").split("|"):
        dtype, _, axis = part.strip().partition("@")
        types[dtype] = axis
    return Slot(types, is_optional, repeats)
