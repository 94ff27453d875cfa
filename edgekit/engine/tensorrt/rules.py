"""What each TensorRT release takes, read from ``releases.toml``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgekit import strict
from edgekit.errors import UsageError

Version = tuple[int, ...]


class Restriction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form that some operators must have.

    Attributes:
        ops: ONNX operator types.
        allowed: the values an attribute may have.
        ones: attributes that must be 1 throughout.
        constant: places of inputs that must be initializers.
        ranks: of the first input.
        most: the largest value that a constant input may hold, by its place.
        outputs: how many outputs may be used.
    """

    ops: tuple[str, ...]
    allowed: dict[str, tuple[int | str, ...]] = {}
    ones: tuple[str, ...] = ()
    constant: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    most: dict[str, int] = {}
    outputs: int | None = None


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Releases that have an option: from ``since`` up to, not including, ``until``; empty where there is no end."""

    since: str = ""
    until: str = ""


class Rtx(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be known of TensorRT-RTX, whose parser and compiler run without a GPU.

    Attributes:
        rules: the release of TensorRT whose rules its parser has.
        capabilities: that it compiles for.
        ignored: operators whose refusal says nothing of a board, each with the reason.
        remedies: what can be done, by words of the parser.
    """

    rules: str
    capabilities: tuple[str, ...]
    ignored: dict[str, str]
    remedies: dict[str, str]


class Releases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table; ``plugins`` names operators that are plugins of TensorRT, and the ONNX operator that does the same;
    ``jetpack`` the JetPack that comes with a release of Jetson Linux."""

    strong_since: str
    strong_only_since: str
    int64_since: str
    bfloat16_since: str
    trtexec_read_up_to: str
    ops: dict[str, tuple[str, ...]]
    restriction: tuple[Restriction, ...]
    trtexec: dict[str, Span]
    rtx: Rtx
    plugins: dict[str, str] = {}
    jetpack: dict[str, str] = {}


def version_of(text: str) -> Version:
    """``"10.3.0"`` as numbers.

    Raises:
        UsageError: it is no version.
    """
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError as error:
        raise UsageError(f"TensorRT version {text!r}: not numbers with dots", hint='write version = "10.3.0" in the target file') from error


@functools.cache
def releases() -> Releases:
    """The table that ships with edgekit."""
    return strict.read(Path(__file__).with_name("releases.toml"), Releases)


def jetpack_of(l4t: str) -> str:
    """The JetPack of a release of Jetson Linux, such as ``36.4.3``, ``36.3`` (a revision of .0 is not always written); "" if it is not known."""
    known = releases().jetpack
    return known.get(l4t) or known.get(f"{l4t}.0", "")


def supported_ops(release: Version) -> frozenset[str]:
    """Operators that the parser of a release reads."""
    return frozenset(op for since, ops in releases().ops.items() if version_of(since) <= release for op in ops)


def newest_op_release(op: str) -> str:
    """The first release that reads an operator; empty if none does."""
    return next((since for since, ops in releases().ops.items() if op in ops), "")


def restrictions(op: str) -> tuple[Restriction, ...]:
    """The forms that an operator must have."""
    return tuple(one for one in releases().restriction if op in one.ops)


def has_trtexec_option(option: str, release: Version) -> bool:
    """Whether that release's trtexec knows an option of the table.

    Raises:
        KeyError: the option is not in the table.
    """
    span = releases().trtexec[option]
    return (not span.since or version_of(span.since) <= release) and (not span.until or release < version_of(span.until))


def knows_trtexec(release: Version) -> bool:
    """Whether the options of that release's trtexec were read; of later ones they are taken to be the same."""
    return release[:2] <= version_of(releases().trtexec_read_up_to)


def is_strong_only(release: Version) -> bool:
    """Whether a release knows no precision flags, so that all of the precision must be in the graph."""
    return release >= version_of(releases().strong_only_since)


def can_be_strong(release: Version) -> bool:
    """Whether a release can be told to take the precision from the graph alone."""
    return release >= version_of(releases().strong_since)


def has_int64(release: Version) -> bool:
    """Whether a release computes and hands over int64 as it is."""
    return release >= version_of(releases().int64_since)


def has_bfloat16(release: Version) -> bool:
    """Whether a release computes in bfloat16."""
    return release >= version_of(releases().bfloat16_since)


class TensorrtOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a target file may set for this backend, in ``[runtimes.options]``.

    Attributes:
        typing: ``weak`` lets TensorRT choose formats by flags (releases before 11), ``strong`` takes them from the graph.
        float_rest: on weakly typed releases, what the parts of an int8 graph that stay float may run in.
        workspace_mib: most that a layer's implementation may use while it runs; a quarter of the board's memory, at most 4096, if 0.
        optimization_level: 0 to 5, how long TensorRT searches (release 8.6 or newer).
        shapes: least, usual and largest size for each open dimension, by its name.
        dla_core: a DLA core that takes the layers that it can; -1 keeps all on the GPU.
        sparsity: ``auto`` lets TensorRT use 2:4 sparse weights where the model has such.
    """

    typing: Literal["weak", "strong"] = "weak"
    float_rest: Literal["float16", "float32"] = "float16"
    workspace_mib: int = 0
    optimization_level: int = 3
    shapes: dict[str, tuple[int, int, int]] = {}
    dla_core: int = -1
    sparsity: Literal["auto", "off"] = "auto"


def options_of(data: dict[str, Any], *, where: str) -> TensorrtOptions:
    """``[runtimes.options]`` as options.

    Raises:
        UsageError: a key or value is not one of them.
    """
    return strict.convert(data, TensorrtOptions, where=where)
