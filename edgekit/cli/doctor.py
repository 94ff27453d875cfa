"""``edgekit doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, print_table, say


def doctor(
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Also write versions and step records for a bug report; no weights.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the build that the bundle is about.")] = Path("edgekit-out"),
    as_json: AsJson = False,
) -> None:
    """Say what is installed here, and what each target would need."""
    from edgekit.pipeline.doctor import diagnose, write_bundle

    found = diagnose()
    if bundle is not None:
        write_bundle(bundle, out)
    if as_json:
        print_json(found)
        return
    say(f"edgekit {found.edgekit}, Python {found.python}\n{found.system}; {', '.join(found.cpu_features) or 'no int8 features known'}")
    say(f"`host` is {found.host_target}; store {found.store}, {found.store_free_bytes / 1e9:.1f} GB free; sandbox {found.sandbox}")
    rows = [(one.extra or "core", one.name, one.wanted, one.found or f"missing: pip install 'edgekit[{one.extra}]'") for one in found.packages]
    print_table(("extra", "package", "wanted", "found"), rows)
    needs = [(one.target, one.runtime, "yes" if one.builds else "no", "yes" if one.runs_here else "no", one.remedy) for one in found.targets]
    print_table(("target", "runtime", "builds", "runs here", "remedy"), needs)
    if bundle is not None:
        say(f"{bundle} written")
