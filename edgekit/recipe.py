"""Recipes: what to do to a model, and what it may cost. TOML files; the built-in ones lie in ``recipes/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgekit import strict
from edgekit.errors import UsageError


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a build may cost; each line is judged only if it is given.

    Attributes:
        min_sqnr_db: least fidelity to the float original, decibels.
        min_agreement: least share of judged samples whose top-1 class stays the same, 0 to 1.
        max_accuracy_drop: most of the accuracy that may be lost, 0 to 1; needs labels.
        max_latency_ms: most the median query may take on the target.
        max_bytes: most the engine's file may have.
    """

    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None
    max_latency_ms: float | None = None
    max_bytes: int | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps in order; each is a table with ``pass`` and that pass's own options.

    Attributes:
        schema: version of this file format.
        name: what reports call it.
        title: in one line what it does.
        step: the steps.
        budget: what they may cost.
        metrics: what else engines are judged by: entry points of the group ``edgekit.metrics``.
    """

    schema: Literal[1]
    name: str
    title: str = ""
    step: tuple[dict[str, Any], ...] = ()
    budget: Budget = Budget()
    metrics: tuple[str, ...] = ()


def recipe_files() -> dict[str, Path]:
    """The built-in recipes, by name."""
    folder = Path(__file__).resolve().parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(name_or_file: str) -> Recipe:
    """A built-in recipe by its name, or a recipe file by its path.

    Raises:
        UsageError: there is none, or it has an unknown key.
    """
    files = recipe_files()
    if name_or_file in files:
        return strict.read(files[name_or_file], Recipe)
    if name_or_file.endswith(".toml") or "/" in name_or_file:
        return strict.read(Path(name_or_file), Recipe)
    close = strict.nearest(name_or_file, files)
    raise UsageError(f"{name_or_file}: no such recipe{close}", hint="`edgekit recipes list` names them; a file ends in .toml")
