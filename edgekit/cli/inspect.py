"""``edgekit inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.build import FactoryOption, ShapeOption, TrustOption
from edgekit.cli.terminal import AsJson, megabytes, print_json, print_table, say, say_delegation, watching

if TYPE_CHECKING:
    from edgekit.pipeline.look import Inspection


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
    said = _told(seen)
    if said:
        print_table(("metadata", "says"), said)
    for note in seen.notes:
        say(note)
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


def _told(seen: Inspection) -> list[tuple[str, str]]:
    """What a file says of itself, one line a field; the first subgraph's without saying that it is the first."""
    rows = [("min_runtime_version", seen.min_runtime)] if seen.min_runtime else []
    rows += [(path.removeprefix("subgraph_metadata[0]."), text) for path, text in _leaves("", seen.metadata)]
    return [*rows, ("packed files", ", ".join(seen.files))] if seen.files else rows


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every field of a tree with its path; numbers of one list in one line."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for at, inner in enumerate(value):
            yield from _leaves(f"{path}[{at}]", inner)
    elif isinstance(value, list):
        yield path, ", ".join(_word(one) for one in value)
    else:
        yield path, _word(value)


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
