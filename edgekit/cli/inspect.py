"""``edgekit inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.build import FactoryOption, ShapeOption, TrustOption
from edgekit.cli.terminal import AsJson, megabytes, print_json, print_table, say, say_delegation, watching


def inspect(
    model: Annotated[Path, typer.Argument(help="A Keras, PyTorch, ONNX or TFLite file.")],
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    layers: Annotated[bool, typer.Option("--layers/--no-layers", help="Print the table of layers.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what a file is: inputs, outputs, operators, multiply-adds, parameters, bytes, layer by layer."""
    from edgekit.cli.request import request_of
    from edgekit.pipeline import look_at

    request, _ = request_of(str(model), None, "", "", "", None, shape, factory, trust=trust, skip_bad_samples=False)
    with watching() as watcher:
        seen = look_at(request, watcher=watcher)
    if as_json:
        print_json(seen)
        return
    say(f"{model}: {seen.format}, {megabytes(seen.bytes)} MB, sha256 {seen.sha256[:16]}…")
    words = "operators" if seen.format == "tflite" else "nodes in ONNX"
    say(f"{seen.parameters:,} parameters, {seen.macs:,} multiply-adds a query, {sum(seen.ops.values())} {words}")
    rows = [
        (kind, one.name, one.dtype, "×".join(map(str, one.shape)), one.layout)
        for kind, ones in (("input", seen.inputs), ("output", seen.outputs))
        for one in ones
    ]
    print_table(("", "name", "type", "shape", "layout"), rows)
    print_table(("operator", "nodes"), [(name, str(count)) for name, count in sorted(seen.ops.items(), key=lambda item: -item[1])], right=("nodes",))
    for delegation in seen.delegations:
        say_delegation(delegation)
    if layers:
        columns = ("node", "operator", "output", "parameters", "multiply-adds", "weight bytes", "output bytes")
        table = [
            (
                one.name,
                one.op,
                "×".join(map(str, one.shape)),
                f"{one.parameters:,}",
                f"{one.macs:,}",
                f"{one.weight_bytes:,}",
                f"{one.activation_bytes:,}",
            )
            for one in seen.layers
        ]
        print_table(columns, table, right=columns[3:])
