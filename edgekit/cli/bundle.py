"""``edgekit bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.keys import Passphrase, asked_passphrase
from edgekit.cli.sign import Expires, KeyOption
from edgekit.cli.terminal import AsJson, megabytes, print_json, say


def bundle(  # noqa: PLR0913 - one argument an option, as typer has it
    out: Annotated[Path, typer.Argument(help="Folder of a build.")] = Path("edgekit-out"),
    engine: Annotated[str, typer.Option("--engine", "-t", metavar="TARGET-RUNTIME", help="Which of its engines, if it has several.")] = "",
    file: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="The bundle (default: NAME-VERSION-TARGET.edgekit).")] = None,
    name: Annotated[str, typer.Option(help="Of the application; a device runs one bundle of each name (default: the model's).")] = "",
    version: Annotated[
        int, typer.Option(min=0, help="A number that grows (default: the time of the build, in seconds since 1970).", show_default=False)
    ] = 0,
    samples: Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="Known inputs come from these; made up if not given.")] = None,
    boxes: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="How a detector's outputs become boxes; `edgekit schema boxes`.")] = None,
    licence: Annotated[str, typer.Option(help="Of the model, such as Apache-2.0.")] = "",
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Most an output may differ on the device, as a share of its largest value (default: 0.05; 0.1 of what is built there).",
            show_default=False,
        ),
    ] = 0.0,
    max_latency_ms: Annotated[float | None, typer.Option(min=0.0, help="Most the median query may take there (default: the budget's).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="The engine computes with.")] = 1,
    key: KeyOption = "",
    expires: Expires = "",
    passphrase: Passphrase = False,
    as_json: AsJson = False,
) -> None:
    """Make one file of an engine, its runner and all that a device must know; with --key, signed."""
    from edgekit.bundle import Wanted, pack, sign

    wanted = Wanted(
        engine=engine,
        name=name,
        version=version,
        samples=samples,
        boxes=boxes,
        licence=licence,
        tolerance=tolerance,
        max_latency_ms=max_latency_ms,
        threads=threads,
    )
    made = pack(out, file, wanted)
    signed = sign(made.path, key, expires=expires, passphrase=asked_passphrase(ask=passphrase)) if key else None
    if as_json:
        told = {"path": made.path, "bytes": made.path.stat().st_size, "manifest": made.manifest, "signers": signed.signers if signed else ()}
        print_json({**told, "note": made.note})
        return
    until = f"signed by {key}, until {signed.expires}" if signed else f"not signed yet: edgekit sign {made.path} --key NAME"
    say(f"{made.path}: {made.manifest.title}, version {made.manifest.version}, {megabytes(made.bytes)} MB; {until}")
    if made.note:
        say(f"  {made.note}")
