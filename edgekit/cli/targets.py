"""``edgekit targets list|show|check|probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.completion import device_names, target_names
from edgekit.cli.terminal import AsJson, print_json, print_table, say

app = typer.Typer(
    help="Kinds of device edgekit builds for: list them, show one, check a file, write one of a device.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every target, with its aliases and what it runs."""
    from edgekit.target import read_target, target_files

    targets = [read_target(path) for path in target_files().values()]
    if as_json:
        print_json(targets)
        return
    rows = [(target.name, target.title, target.arch, ", ".join(one.name for one in target.runtimes), ", ".join(target.aliases)) for target in targets]
    print_table(("name", "title", "arch", "runtimes", "aliases"), rows)
    say("`host` is this machine's own target, `x86` the best x86-64 target this machine can run.")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name, alias or file; NAME:RUNTIME shows another runtime.", autocompletion=target_names)],
    as_json: AsJson = False,
) -> None:
    """Show the facts of a target and where each comes from."""
    import msgspec

    from edgekit.target import choose

    chosen = choose(name)
    if as_json:
        print_json(chosen.target)
        return
    facts = {key: value for key, value in msgspec.to_builtins(chosen.target).items() if key not in ("schema", "runtimes", "sources") and value}
    say(f"{name} is {chosen.target.name}, runtime {chosen.runtime}")
    print_table(("fact", "value", "source"), [(key, _plain(value), chosen.target.sources.get(key, "")) for key, value in facts.items()])
    for runtime in chosen.target.runtimes:
        plain = {key: value for key, value in msgspec.to_builtins(runtime).items() if value not in ("", [], {}, None)}
        scheme = plain.pop("scheme", {})
        rows = [(key, _plain(value)) for key, value in plain.items()] + [(f"scheme.{key}", _plain(value)) for key, value in scheme.items()]
        print_table((f"runtime {runtime.name}", ""), rows)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


@app.command("check")
def check(file: Annotated[Path, typer.Argument(help="A target's .toml file.")], as_json: AsJson = False) -> None:
    """Check a target file: keys, values, runtimes that exist, a source for every fact."""
    from edgekit.plan import target_faults

    faults = target_faults(file)
    if as_json:
        print_json({"file": str(file), "faults": faults})
    elif faults:
        say("\n".join(f"{file}: {fault}" for fault in faults))
    else:
        say(f"{file}: good")
    raise typer.Exit(2 if faults else 0)


@app.command("probe")
def probe(
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL|NAME|build-result.json",
            help="A device of that kind, such as ssh://pi@10.0.0.7, or what build_engine.py --check wrote on a Jetson.",
            autocompletion=device_names,
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the target; the device's own name, or board and L4T, if not given.")] = "",
    like: Annotated[str, typer.Option(metavar="TARGET", help="Target to start from; by processor if not given.", autocompletion=target_names)] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.toml", help="The file to write (default of a device: targets/NAME.toml).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the target file of a device's kind: processor, features, memory, runtimes and versions; of a Jetson, its JetPack."""
    if source.endswith(".json"):
        _probe_reading(Path(source), name, out, as_json=as_json)
        return
    from edgekit.pipeline.lab import write_target

    file, target = write_target(source, name=name, like=like, out=out)
    if as_json:
        print_json({"file": str(file), "target": target})
    else:
        say(f"{file}: {target.title}; runtimes {', '.join(f'{one.name} {one.version}'.strip() for one in target.runtimes)}")


def _probe_reading(reading: Path, name: str, file: Path | None, *, as_json: bool) -> None:
    """From a reading of a Jetson: L4T, TensorRT, CUDA, memory, DLA, power modes; to stdout where no file is named."""
    import msgspec

    from edgekit import strict
    from edgekit.engine.tensorrt.probe import probed
    from edgekit.errors import UsageError
    from edgekit.target import read_target, target_files

    try:
        machine = msgspec.json.decode(reading.read_bytes())["machine"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{reading}: no reading of a board: {error}", hint="python3 build_engine.py --check writes one") from error
    target = probed(machine, [read_target(path) for path in target_files().values()], name=name or (file.stem if file is not None else ""))
    if file is not None:
        file.write_text(strict.toml_of(target), encoding="utf-8")
    if as_json:
        print_json(target)
    elif file is None:
        say(strict.toml_of(target).rstrip())
    else:
        say(f"{file}: {target.title}, TensorRT {target.facts['tensorrt']}; what it does not say itself is that of the nearest target")
