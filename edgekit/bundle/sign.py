"""Signatures of bundles: made here, verified here as on a device."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgekit.bundle import keys
from edgekit.bundle.manifest import Manifest
from edgekit.errors import BundleError, StoreError, UsageError
from edgekit.run import bundle_file, trust
from edgekit.run.bundle_file import BundleFile, RefusedError

LIFE = "365d"
HINTS = {
    "format": "was it made by `edgekit bundle`, of this version?",
    "tampered": "fetch or make it again; if it was right once, ask who had it since",
    "unsigned": "edgekit sign BUNDLE --key NAME",
    "trust": "sign it with a key that is trusted there (`edgekit keys list`); a device takes other keys from --trust-keys FILE, once",
    "expired": "sign it again: edgekit sign BUNDLE --key NAME --expires 365d; or is a clock wrong?",
    "older": "bundle it anew, with a higher --version, if you want the old engine back; `edgekit rollback` returns to one that is still there",
    "arch": "build for this device: --target",
    "too-large": "--max-mb allows more",
}
"""What can be done about a refusal, by its kind."""


class Signed(msgspec.Struct, frozen=True):
    """A bundle and its signatures.

    Attributes:
        path: the file.
        manifest: what it says of itself.
        signers: IDs of the keys that signed it.
        signed, expires: ISO 8601; ``expires`` is ``never`` for one that does not.
        key: name of the trusted key whose signature holds; "" if nobody looked.
    """

    path: Path
    manifest: Manifest
    signers: tuple[str, ...]
    signed: str
    expires: str
    key: str = ""


def sign(path: Path, key: str, *, expires: str = "", passphrase: str = "") -> Signed:
    """Sign a bundle, in its place; whole or not at all.

    Args:
        path: of the bundle.
        key: name of the key.
        expires: ``never``, a number of days such as ``90d``, or a date; of one that is signed already, as it is signed if empty.
        passphrase: of the key.

    Raises:
        BundleError: it is no bundle, or damaged.
        UsageError: there is no such key, or no such time.
        StoreError: it cannot be written.
    """
    private = keys.private_key(key, passphrase)
    name = keys.only_key(keys.keys_folder() / f"{key}.pub").id
    with refusals(path), BundleFile(str(path)) as bundle:
        told = trust.read_statement(bundle.signatures)
        manifest = bundle_file.read_manifest(bundle.manifest)
        bundle.contents(bundle_file.members_of(manifest))
        is_new = expires or told.signed is None
        sha = hashlib.sha256(bundle.manifest).hexdigest()
        text = trust.statement(sha, _now(), _end(expires or LIFE)) if is_new else told.text
        lines = {} if is_new else {one: trust.signature_line(one, signature) for one, signature in told.signatures.items()}
        lines[name] = trust.signature_line(name, private.sign(text.encode()))
        signatures = (text + "".join(lines[one] for one in sorted(lines))).encode()
        trust.read_statement(signatures)
        _replace(path, bundle, signatures)
    return looked_at(path)


def verify(path: Path, trusted: trust.Trust, *, now: float | None = None) -> Signed:
    """Hold a bundle against keys, time, and every byte against its manifest, as a device does.

    Args:
        path: of the bundle.
        trusted: whose signature is asked for.
        now: seconds since 1970; the clock if None.

    Raises:
        BundleError: something stands against it.
    """
    with refusals(path), BundleFile(str(path)) as bundle:
        told = trust.read_statement(bundle.signatures)
        if hashlib.sha256(bundle.manifest).hexdigest() != told.sha256:
            raise RefusedError("tampered", "its manifest is not the one that was signed")
        key = trust.signer(told, trusted)
        if told.expires is not None and (time.time() if now is None else now) > told.expires:
            raise RefusedError("expired", f"it expired at {trust.time_text(told.expires)}")
        bundle.contents(bundle_file.members_of(bundle_file.read_manifest(bundle.manifest)))
    return msgspec.structs.replace(looked_at(path), key=key.name)


def looked_at(path: Path) -> Signed:
    """What a bundle says of itself; nothing is verified.

    Raises:
        BundleError: it is no bundle.
    """
    with refusals(path), BundleFile(str(path)) as bundle:
        told = trust.read_statement(bundle.signatures)
        bundle_file.read_manifest(bundle.manifest)
        try:
            manifest = msgspec.json.decode(bundle.manifest, type=Manifest)
        except msgspec.DecodeError as error:
            raise RefusedError("format", f"its manifest cannot be read: {error}") from error
    return Signed(
        path=path,
        manifest=manifest,
        signers=tuple(sorted(told.signatures)),
        signed="" if told.signed is None else trust.time_text(told.signed),
        expires="" if told.signed is None else trust.NEVER if told.expires is None else trust.time_text(told.expires),
    )


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what is refused into errors with a hint.

    Raises:
        BundleError: it is refused.
        UsageError: it cannot be read.
    """
    try:
        yield
    except RefusedError as error:
        raise BundleError(f"{path}: {error.reason}", hint=HINTS.get(error.kind, "edgekit verify BUNDLE")) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="give a file that `edgekit bundle` wrote") from error


def _now() -> int:
    """Now, or what ``$SOURCE_DATE_EPOCH`` says, so that the same inputs give the same bytes (reproducible-builds.org)."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told and not told.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH={told}: no number of seconds", hint="seconds since 1970, as `date +%s` prints")
    return int(told) if told else int(time.time())


def _end(expires: str) -> int | None:
    """The time that a text names, seconds since 1970; None for never.

    Raises:
        UsageError: it names none, or one that has passed.
    """
    if expires == trust.NEVER:
        return None
    if days := re.fullmatch(r"([1-9]\d{0,4})d", expires):
        return _now() + int(days[1]) * 86400
    try:
        told = datetime.datetime.fromisoformat(expires)
    except ValueError as error:
        raise UsageError(f"--expires {expires}: no such time", hint="never, days such as 90d, or a date such as 2027-06-30") from error
    end = int((told if told.tzinfo else told.replace(tzinfo=datetime.UTC)).timestamp())
    if end <= _now():
        raise UsageError(f"--expires {expires}: that has passed", hint="never, days such as 90d, or a date to come")
    return end


def _replace(path: Path, bundle: BundleFile, signatures: bytes) -> None:
    """The same bundle with other signatures."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream, path.open("rb") as source:
            source.seek(bundle_file.BLOCK + len(bundle.signatures) + len(bundle_file.padding(len(bundle.signatures))))
            stream.write(bundle_file.header(bundle_file.SIGNATURES, len(signatures)) + signatures + bundle_file.padding(len(signatures)))
            shutil.copyfileobj(source, stream)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror}", hint="is there room, and may you write there?") from error
