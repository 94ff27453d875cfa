"""``edgekit schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json


def schema(
    what: Annotated[str, typer.Argument(help="recipe, target, samples, project, devices, boxes, manifest or report.")],
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of a file that edgekit reads or writes (always JSON)."""
    if what in ("report", "boxes", "manifest"):
        import msgspec

        from edgekit.bundle import Boxes, Manifest
        from edgekit.report import Report

        print_json(msgspec.json.schema({"report": Report, "boxes": Boxes, "manifest": Manifest}[what]))
        return
    from edgekit.plan import schema_of

    print_json(schema_of(what))
