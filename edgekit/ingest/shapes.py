"""Which sizes a model's inputs get: the source's, pinned by the user's, batch 1 if only the batch is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.errors import SourceError, UsageError
from edgekit.strict import nearest

Sizes = tuple[int | str, ...]


def pinned(declared: Mapping[str, Sequence[int | str | None] | None], wanted: Mapping[str, Sizes]) -> dict[str, Sizes]:
    """The sizes of every input.

    Args:
        declared: by input name, sizes as the source has them: a word or None for an open one; None if even the rank is not known.
        wanted: by input name, or under ``""`` for the only one, what the user said; a word keeps a size open.

    Raises:
        UsageError: what the user said does not fit the source.
        SourceError: a size other than the batch is open and the user did not say what it shall be.
    """
    given = _by_name(tuple(declared), wanted)
    sizes: dict[str, Sizes] = {}
    open_inputs: list[str] = []
    example = ""
    for name, dims in declared.items():
        if name in given:
            sizes[name] = given[name] if dims is None else _fitting(name, dims, given[name])
        elif dims is None:
            open_inputs.append(f"{name} has no shape")
            example = example or f"--shape {name}:1,3,224,224"
        else:
            open_axes = [axis for axis, size in enumerate(dims) if not isinstance(size, int)]
            if open_axes in ([], [0]):
                sizes[name] = tuple(size if isinstance(size, int) else 1 for size in dims)
                continue
            said = ", ".join(f"axis {axis}" + (f" ({dims[axis]})" if dims[axis] else "") for axis in open_axes)
            open_inputs.append(f"{name} is open in {said}")
            example = example or f"--shape {name}:{_example(dims)}"
    if open_inputs:
        raise SourceError("sizes are missing: input " + "; input ".join(open_inputs), hint=f"{example}; a word in place of a number keeps it open")
    return sizes


def _by_name(names: tuple[str, ...], wanted: Mapping[str, Sizes]) -> dict[str, Sizes]:
    given: dict[str, Sizes] = {}
    for name, sizes in wanted.items():
        if not name and len(names) != 1:
            raise UsageError(f"--shape without a name, and the model has the inputs {', '.join(names)}", hint=f"--shape {names[0]}:… for each")
        if name and name not in names:
            raise UsageError(f"--shape {name}: no such input{nearest(name, names)}", hint=f"the inputs are {', '.join(names)}")
        if any(isinstance(size, int) and size < 1 for size in sizes):
            raise UsageError(f"--shape {name or names[0]}: sizes are 1 or more", hint="a word in place of a number keeps a size open")
        given[name or names[0]] = sizes
    return given


def _fitting(name: str, dims: Sequence[int | str | None], sizes: Sizes) -> Sizes:
    text = ",".join(str(size) if size is not None else "?" for size in dims)
    if len(dims) != len(sizes):
        raise UsageError(f"--shape {name}: {len(sizes)} sizes for an input of {len(dims)}: {text}", hint=f"--shape {name}:{_example(dims)}")
    for axis, (fixed, size) in enumerate(zip(dims, sizes, strict=True)):
        if isinstance(fixed, int) and fixed != size:
            raise UsageError(f"--shape {name}: axis {axis} is fixed at {fixed} in the source, not {size}", hint=f"its shape is {text}")
    return sizes


def _example(dims: Sequence[int | str | None]) -> str:
    """A shape as people would write it, its open sizes filled with likely ones."""
    filled = [size if isinstance(size, int) else 1 if axis == 0 else 224 if len(dims) == 4 else 64 for axis, size in enumerate(dims)]
    return ",".join(map(str, filled))
