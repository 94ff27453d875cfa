"""``edgekit verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, megabytes, print_json, say


def verify(
    bundle: Annotated[Path, typer.Argument(help="A file of `edgekit bundle`.")],
    keys: Annotated[Path | None, typer.Option("--keys", metavar="FILE.pub", help="Whom to trust (default: all keys of `edgekit keys list`).")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a bundle against keys, time and its own manifest, as a device does before it unpacks anything."""
    from edgekit.bundle import own_trust, read_keys
    from edgekit.bundle import verify as verify_bundle

    found = verify_bundle(bundle, own_trust() if keys is None else read_keys(keys))
    if as_json:
        print_json(found)
        return
    told = found.manifest
    say(f"{bundle}: whole, signed by {found.key} at {found.signed}, until {found.expires}")
    say(f"  {told.name} {told.version}: {told.title}; for {told.target.arch}, {megabytes(told.engine.bytes)} MB engine, {len(told.members)} files")
    limit = f", a query within {told.health.max_latency_ms:g} ms" if told.health.max_latency_ms is not None else ""
    say(f"  on the device: {told.health.queries} known inputs within {told.health.max_difference:g} of the recorded outputs{limit}")
