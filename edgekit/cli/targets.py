"""``edgekit targets list|show|check|probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.completion import target_names
from edgekit.cli.terminal import AsJson, print_json, print_table, say

app = typer.Typer(help="Kinds of device edgekit builds for: list them, show one, check a file.", no_args_is_help=True, rich_markup_mode=None)


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
    reading: Annotated[str, typer.Argument(metavar="build-result.json", help="What build_engine.py --check wrote on the board.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE.toml", help="The file to write; stdout if none is named.", show_default=False)
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Of the target; from board and L4T if none is given.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Write the target file of a Jetson from a reading of it: L4T, TensorRT, CUDA, memory, DLA, power modes."""
    import msgspec

    from edgekit.engine.tensorrt.probe import probed, toml_of
    from edgekit.errors import UsageError
    from edgekit.target import read_target, target_files

    if "://" in reading:
        hint = "run python3 build_engine.py --check of any package on the board, and give its build-result.json"
        raise UsageError(f"{reading}: boards are not reached over the network yet", hint=hint)
    try:
        machine = msgspec.json.decode(Path(reading).read_bytes())["machine"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{reading}: no reading of a board: {error}", hint="python3 build_engine.py --check writes one") from error
    file = Path(out) if out else None
    target = probed(machine, [read_target(path) for path in target_files().values()], name=name or (file.stem if file is not None else ""))
    if file is not None:
        file.write_text(toml_of(target), encoding="utf-8")
    if as_json:
        print_json(target)
    elif file is None:
        say(toml_of(target).rstrip())
    else:
        say(f"{file}: {target.title}, TensorRT {target.facts['tensorrt']}; what it does not say itself is that of the nearest target")
