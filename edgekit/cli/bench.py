"""``edgekit bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.build import DeviceOption
from edgekit.cli.fleet import show_fleet
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, say, watching


def bench(
    engine: Annotated[Path, typer.Argument(help="Folder of a build, of one engine, an .onnx or a .tflite file.")] = Path("edgekit-out"),
    samples: Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="Time with these inputs; random ones if not given.")] = None,
    device: DeviceOption = "",
    set_: Settings = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Measure latency and memory again (--set load.threads=2, load.min_queries=…); a build's report is updated."""
    from edgekit.cli.report import show_entries
    from edgekit.device.inventory import is_fleet
    from edgekit.pipeline import bench as measure_again
    from edgekit.pipeline.outcome import entries_status
    from edgekit.plan import parse_settings
    from edgekit.report.words import work

    if is_fleet(device):
        from edgekit.pipeline import bench_fleet

        with watching(verbose=verbose) as watcher:
            fleet = bench_fleet(engine, device, samples=samples, settings=parse_settings(set_ or []), watcher=watcher)
        return show_fleet(fleet, as_json=as_json)
    with watching(verbose=verbose) as watcher:
        entries = measure_again(engine, samples=samples, device=device, settings=parse_settings(set_ or []), watcher=watcher)
    if as_json:
        print_json(entries)
    else:
        show_entries(entries)
        for entry in entries:
            if entry.instructions is not None:
                say(f"{entry.key}: {work(entry)}")
    return entries_status(entries)
