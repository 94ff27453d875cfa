"""``edgekit devices list|add|probe|check|setup|shell``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.completion import device_names, target_names
from edgekit.cli.terminal import AsJson, Verbose, print_json, print_table, say, watching

app = typer.Typer(
    help="The devices of devices.toml: list them, add one, ask what one is, whether it works, open a shell.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Asked = Annotated[str, typer.Argument(metavar="URL|NAME", help="Such as ssh://pi@10.0.0.7, or a name.", autocompletion=device_names)]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the devices of the inventory; none is reached."""
    from edgekit.device.inventory import inventory_path, read_inventory

    path, entries = inventory_path(), read_inventory().device
    if as_json:
        print_json({"file": str(path), "devices": entries})
        return
    if not entries:
        say(f"{path} has no devices; edgekit devices add NAME ssh://USER@HOST")
        return
    rows = [(one.name, one.url, one.target, ", ".join(one.tags), one.power_mode) for one in entries]
    print_table(("name", "url", "target", "tags", "power mode"), rows)


@app.command("add")
def add(  # noqa: PLR0913 - one argument an option, as typer has it
    name: Annotated[str, typer.Argument(help="What it will be called.")],
    url: Annotated[str, typer.Argument(help="How it is reached, such as ssh://pi@10.0.0.7; keys and agent only.")],
    target: Annotated[str, typer.Option("--target", "-t", help="The kind of device it is.", autocompletion=target_names)] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A word by which several are named together; may be given again.")] = None,
    power_mode: Annotated[str, typer.Option(help="Set while it is measured: governor:NAME or nvpmodel:NUMBER.")] = "",
    python: Annotated[str, typer.Option(metavar="PATH", help="Its interpreter that has the runtimes.")] = "",
    benchmark_model: Annotated[
        str, typer.Option(metavar="PATH", help="LiteRT's program of that name on it, which runs engines without Python.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a device into the inventory; it is not reached."""
    from edgekit.device.inventory import Entry, add_entry, inventory_path

    path = inventory_path()
    entry = Entry(name=name, url=url, target=target, tags=tuple(tag or ()), power_mode=power_mode, python=python, benchmark_model=benchmark_model)
    add_entry(entry, path)
    if as_json:
        print_json({"file": str(path), "device": entry})
    else:
        say(f"{path}: {name} added; `edgekit devices check {name}` tries it")


@app.command("probe")
def probe(device: Asked, as_json: AsJson = False) -> None:
    """Ask a device what it is: processor, memory, runtimes, governor; nothing is written there."""
    import msgspec

    from edgekit.pipeline.lab import probed

    told = probed(device)
    if as_json:
        print_json(told)
        return
    rows = [(key, _plain(value)) for key, value in msgspec.structs.asdict(told).items() if value not in ("", None, (), {})]
    print_table(("fact", device), rows)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return " ".join(map(_plain, value))
    return f"{value:.0f}" if isinstance(value, float) and value > 100 else str(value)


@app.command("check")
def check(
    device: Annotated[
        list[str] | None, typer.Argument(metavar="[URL|NAME]…", help="All of the inventory if not given.", autocompletion=device_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try all that a measurement asks of a device: reach it, Python, runtimes, room, files, its lease."""
    from edgekit.device.inventory import read_inventory
    from edgekit.errors import DeviceError, UsageError
    from edgekit.pipeline.lab import checked

    asked = device or [entry.name for entry in read_inventory().device]
    if not asked:
        raise UsageError("there are no devices to check", hint="edgekit devices add NAME ssh://USER@HOST")
    found = [checked(one) for one in asked]
    if as_json:
        print_json(found)
    else:
        words = {True: "good", False: "bad", None: "note"}
        rows = [(one.device, each.what, words[each.is_good], each.said, each.hint) for one in found for each in one.findings]
        print_table(("device", "", "", "found", "hint"), rows)
    raise typer.Exit(0 if all(one.is_good for one in found) else DeviceError.exit_status)


@app.command("setup")
def setup(
    device: Asked,
    runtime: Annotated[list[str] | None, typer.Option(help="tflite or onnxruntime; those of its target if not given.")] = None,
    wheels: Annotated[Path | None, typer.Option(metavar="DIR", help="Install from these wheels: the device has no network.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make an environment with the runtimes on a device behind SSH, in ~/.local/share/edgekit/venv there; no root needed."""
    from edgekit.pipeline.setup import set_up

    with watching(verbose=verbose) as watcher:
        ready = set_up(device, runtimes=tuple(runtime or ()), wheels=wheels, watcher=watcher)
    if as_json:
        print_json(ready)
    else:
        say(f"{ready.device}: {ready.python} has {', '.join(f'{name} {version}' for name, version in ready.packages.items())}")


@app.command("shell")
def shell(device: Asked, as_json: Annotated[bool, typer.Option("--json", help="Print the command as JSON, and do not run it.")] = False) -> None:
    """Open a shell on a device behind SSH or adb; an unknown host key is asked about."""
    from edgekit.device.inventory import ADDRESSED, entry_of, is_name
    from edgekit.errors import UsageError

    url = entry_of(device).url if is_name(device) else device
    scheme = url.partition(":")[0]
    if scheme not in ADDRESSED:
        raise UsageError(f"{device}: no device behind SSH or adb", hint="a shell of this machine is the one you are in")
    command = ADDRESSED[scheme](url).shell()
    if as_json:
        print_json({"command": command})
        return
    os.execv(Path(command[0]), command)
