"""The command line laid over ``edgekit.toml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.plan import Project, Request


def request_of(  # noqa: PLR0913 - the options of `build` and `plan`, which are these
    model: str,
    target: list[str] | None,
    recipe: str,
    samples: str,
    device: str,
    set_: list[str] | None,
    shape: list[str] | None,
    factory: str,
    *,
    trust: bool,
    skip_bad_samples: bool,
    require_full_delegation: bool = False,
) -> tuple[Request, Project]:
    """What is asked for: each option, or what the project file has for it.

    Raises:
        UsageError: no model is named anywhere, or an option has the wrong form.
    """
    from edgekit.plan import DEFAULT_RECIPE, Request, parse_settings

    project = project_file()
    source = model or project.model
    if not source:
        raise UsageError("no model given", hint="edgekit build MODEL --target NAME, or `edgekit init` for an edgekit.toml")
    asked = [name for item in target or [] for name in item.split(",") if name]
    named = device or project.device
    targets = tuple(asked) or ((project.target,) if isinstance(project.target, str) else tuple(project.target)) or _kind_of(named)
    settings = {step: dict(fields) for step, fields in project.set.items()}
    for step, fields in parse_settings(set_ or []).items():
        settings.setdefault(step, {}).update(fields)
    if shape:
        settings.setdefault("ingest", {})["shape"] = dict(map(_shape, shape))
    request = Request(
        source=Path(source),
        targets=targets,
        recipe=recipe or project.recipe or DEFAULT_RECIPE,
        samples=Path(samples or project.samples) if samples or project.samples else None,
        device=named,
        settings=settings,
        trust=trust,
        factory=factory or project.factory,
        skip_bad_samples=skip_bad_samples,
        require_full_delegation=require_full_delegation,
    )
    return request, project


def _kind_of(device: str) -> tuple[str, ...]:
    """The target that ``devices.toml`` has for a device."""
    from edgekit.device.inventory import entry_of, is_name

    target = entry_of(device).target if device and is_name(device) else ""
    return (target,) if target else ()


def project_file() -> Project:
    """``edgekit.toml`` of the working directory, or an empty one."""
    from edgekit import strict
    from edgekit.plan import PROJECT_FILE, Project

    path = Path(PROJECT_FILE)
    return strict.read(path, Project) if path.exists() else Project()


_AS_PRINTED = re.compile(r"\d+(x\d+)+")
"""Shapes as reports print them."""


def _shape(text: str) -> tuple[str, list[int | str]]:
    name, _, sizes = text.rpartition(":")
    parts = [part.strip() for part in (sizes.replace("x", ",") if _AS_PRINTED.fullmatch(sizes) else sizes).split(",")]
    if not all(part.isdigit() or part.isidentifier() for part in parts):
        raise UsageError(f"--shape {text}: not a shape", hint="sizes with commas, such as --shape 1,3,224,224 or --shape images:1,3,224,224")
    return name, [int(part) if part.isdigit() else part for part in parts]
