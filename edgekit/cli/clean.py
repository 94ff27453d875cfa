"""``edgekit clean``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, say

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def clean(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Keep what was used within this time, such as 12h or 30d.")] = "",
    keep_mb: Annotated[int, typer.Option(min=0, help="Stop as soon as the store is no larger than this.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Remove kept steps from the store, least recently used first."""
    from edgekit.errors import UsageError
    from edgekit.model import Store

    age = re.fullmatch(r"(\d+)([smhdw])", older_than) if older_than else None
    if older_than and age is None:
        raise UsageError(f"--older-than {older_than}: not an age", hint="a number and a unit: 90s, 30m, 12h, 30d, 4w")
    store = Store()
    removed, freed = store.clean(older_than_s=int(age[1]) * UNITS_S[age[2]] if age else 0.0, keep_bytes=keep_mb * 1_000_000)
    if as_json:
        print_json({"store": str(store.root), "removed": removed, "freed_bytes": freed})
    else:
        say(f"{store.root}: {removed} results removed, {freed / 1e6:.1f} MB freed")
