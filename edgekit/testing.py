"""The plugins' contracts as tests that anybody can call on a plugin of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.model import Model, file_sha256, read_model
from edgekit.passes.contract import Need, Pass, Supplies


def check_pass(pass_: Pass, model: Model, supplies: Supplies, tmp: Path) -> Model:
    """Hold a pass to its contract.

    It leaves its input alone and writes nothing outside the folder it is given; what it returns is what it wrote; it
    keeps the names of inputs and outputs; it adds one step to the history; a second run gives the same bytes.

    Args:
        pass_: the pass.
        model: something it can work on.
        supplies: all that it needs.
        tmp: an empty folder; it is the working directory meanwhile.

    Returns:
        What the pass made of the model.

    Raises:
        AssertionError: it broke the contract; the message says how.
    """
    _hold(dataclasses.is_dataclass(pass_), "a pass is a dataclass, its fields are its options")
    _hold(all(isinstance(need, Need) for need in pass_.needs), "needs holds members of Need only")
    before = _contents(model.folder)
    first = _one_run(pass_, model, supplies, tmp / "first")
    _hold(_contents(model.folder) == before, "the input was changed")
    second = _one_run(pass_, model, supplies, tmp / "second")
    _hold(_contents(first.folder) == _contents(second.folder), "a second run gave other bytes")
    _hold(_names(first) == _names(model), f"names changed from {_names(model)} to {_names(first)}")
    _hold(len(first.history) == len(model.history) + 1 and first.history[:-1] == model.history, "a pass adds exactly one step to the history")
    _hold(first.history[-1].tools == pass_.tools(), "the step names other tools than tools()")
    return first


def _one_run(pass_: Pass, model: Model, supplies: Supplies, out: Path) -> Model:
    tmp = out.parent
    out.mkdir()
    outside = _contents(tmp, but=out)
    with _working_in(tmp):
        result = pass_(model, supplies, out)
    _hold(_contents(tmp, but=out) == outside, "it wrote outside the folder it was given")
    _hold(result.folder == out, "the model is not where it was to be written")
    _hold(result == read_model(out), "the record beside the file says something else")
    _hold(_sealed_sha256(result) == result.sha256, "sha256 is not that of the file")
    return result


def _sealed_sha256(model: Model) -> str:
    digest, data = file_sha256(model.path), model.path.with_name(f"{model.path.name}.data")
    return hashlib.sha256((digest + file_sha256(data)).encode()).hexdigest() if data.exists() else digest


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    came_from = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(came_from)


def _contents(folder: Path, but: Path | None = None) -> dict[Path, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not (but and path.is_relative_to(but)))
    return {path.relative_to(folder): file_sha256(path) for path in files}


def _names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    signature = model.signature
    return tuple(tensor.name for tensor in signature.inputs), tuple(tensor.name for tensor in signature.outputs)


def _hold(kept: bool, otherwise: str) -> None:
    if not kept:
        raise AssertionError(otherwise)
