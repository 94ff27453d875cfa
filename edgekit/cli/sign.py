"""``edgekit sign``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.completion import key_names
from edgekit.cli.keys import Passphrase, asked_passphrase
from edgekit.cli.terminal import AsJson, print_json, say

KeyOption = Annotated[
    str,
    typer.Option("--key", "-k", metavar="NAME", help="Key to sign with; `edgekit keys list`.", show_default=False, autocompletion=key_names),
]
Expires = Annotated[
    str, typer.Option(metavar="TIME", help="never, days such as 90d, or a date; no device installs it later (default: 365d).", show_default=False)
]


def sign(
    bundle: Annotated[Path, typer.Argument(help="A file of `edgekit bundle`.")],
    key: KeyOption,
    expires: Expires = "",
    passphrase: Passphrase = False,
    as_json: AsJson = False,
) -> None:
    """Sign a bundle, in its place; a second key signs besides the first."""
    from edgekit.bundle import sign as sign_bundle

    signed = sign_bundle(bundle, key, expires=expires, passphrase=asked_passphrase(ask=passphrase))
    if as_json:
        print_json(signed)
    else:
        say(f"{bundle}: signed by {', '.join(one[:8] + '…' for one in signed.signers)} at {signed.signed}, until {signed.expires}")
