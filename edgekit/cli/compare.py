"""``edgekit compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.build import DeviceOption
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, print_table, say, watching


def compare(  # noqa: PLR0913 - one argument an option, as typer has it
    paths: Annotated[list[Path], typer.Argument(metavar="A B…", help="Two builds (folder or report.json); or .tflite files and builds.")],
    samples: Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="Compare outputs of .tflite files on these inputs.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Compare outputs of .tflite files on random inputs of this seed.")] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Time .tflite files in turn.")] = False,
    device: DeviceOption = "",
    set_: Settings = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Compare two builds by their reports, or TFLite files of any origin: what is in them, outputs, latency."""
    is_of_files = len(paths) != 2 or samples is not None or seed is not None or latency or any(path.suffix == ".tflite" for path in paths)
    if not is_of_files:
        return _reports(*paths, as_json=as_json)
    from edgekit.errors import UsageError
    from edgekit.pipeline import compare_files
    from edgekit.plan import parse_settings

    if samples is not None and seed is not None:
        raise UsageError("--samples and --seed both say which inputs", hint="leave one of them out")

    with watching(verbose=verbose) as watcher:
        beside = compare_files(
            paths, samples=samples, seed=seed, latency=latency, device=device, settings=parse_settings(set_ or []), watcher=watcher
        )
    if as_json:
        print_json(beside)
    else:
        print_table(beside.columns, beside.structure, right=beside.columns[1:])
        if beside.results:
            print_table(beside.columns, beside.results, right=beside.columns[1:])
        for line in beside.notes:
            say(line)
    return beside.exit_status


def _reports(a: Path, b: Path, *, as_json: bool) -> int:
    from edgekit.report import compare_reports, read_report

    first, second = (read_report(path / "report.json" if path.is_dir() else path) for path in (a, b))
    compared = compare_reports(first, second)
    if as_json:
        print_json(compared)
    else:
        print_table(compared.columns, compared.rows)
        for line in compared.notes:
            say(line)
    return compared.exit_status
