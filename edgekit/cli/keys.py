"""``edgekit keys new|list|rotate``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, print_table, say

app = typer.Typer(help="Keys that sign bundles: make one, list them, let one give way to another.", no_args_is_help=True, rich_markup_mode=None)

Passphrase = Annotated[bool, typer.Option("--passphrase", help="Ask for a passphrase; EDGEKIT_KEY_PASSPHRASE holds it where nobody is asked.")]


def asked_passphrase(*, ask: bool, again: bool = False) -> str:
    """The passphrase that somebody types, or that of the environment; never an argument, which everybody could read."""
    import os

    from edgekit.bundle.keys import PASSPHRASE

    if not ask:
        return os.environ.get(PASSPHRASE, "")
    return str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=again, err=True))


@app.command("new")
def new(name: Annotated[str, typer.Argument(help="What it is called.")] = "release", passphrase: Passphrase = False, as_json: AsJson = False) -> None:
    """Make a key (Ed25519) in ~/.config/edgekit/keys, or where EDGEKIT_KEYS says."""
    from edgekit.bundle import keys_folder, new_key

    made = new_key(name, asked_passphrase(ask=passphrase, again=True))
    public = keys_folder() / f"{name}.pub"
    if as_json:
        print_json({**_told(made), "public": str(public)})
    else:
        say(f"{made.name} ({made.id}): {public} is its public half; keep {name}.key to yourself, and a copy of it elsewhere")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the keys."""
    from edgekit.bundle import keys_folder, list_keys

    found = list_keys()
    if as_json:
        print_json({"folder": str(keys_folder()), "keys": found})
        return
    rows = [(key.name, key.id, "yes" if key.can_sign else "public half only", key.gave_way_to) for key in found]
    print_table(("key", "id", "signs", "gave way to"), rows, title=str(keys_folder()))


@app.command("rotate")
def rotate(
    old: Annotated[str, typer.Argument(help="The key that goes.")],
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The key that comes; made if there is none.")],
    passphrase: Passphrase = False,
    as_json: AsJson = False,
) -> None:
    """Let a key give way to another: devices follow with the next deploy, and never trust the old one again."""
    from edgekit.bundle import keys_folder
    from edgekit.bundle import rotate as give_way

    public = keys_folder() / f"{to}.pub"
    made = "" if public.exists() else f", which was made now ({public})"
    path = give_way(old, to, asked_passphrase(ask=passphrase), signed=int(time.time()))
    if as_json:
        print_json({"old": old, "new": to, "rotation": str(path)})
    else:
        say(f"{old} gives way to {to}{made}: each device follows with its next deploy; bundles signed by {old} alone are refused from then on")


def _told(key: object) -> dict[str, object]:
    import msgspec

    told: dict[str, object] = msgspec.to_builtins(key)
    return told
