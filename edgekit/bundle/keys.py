"""Keys that sign bundles: Ed25519, one file for the private and one for the public half, in a folder of the user's own.

The folder is ``$EDGEKIT_KEYS``, else ``edgekit/keys`` in the user's configuration folder::

    NAME.key        private: PEM (PKCS #8), for its owner's eyes only, perhaps behind a passphrase
    NAME.pub        public: what a device is given once (`edgekit deploy --trust-keys NAME.pub`)
    NAME.rotation   how NAME gave way to another key, signed by both; devices follow it
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.errors import StoreError, UsageError
from edgekit.extras import extra
from edgekit.run import trust
from edgekit.run.bundle_file import RefusedError
from edgekit.strict import nearest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "EDGEKIT_KEY_PASSPHRASE"
"""Environment variable with the passphrase, for machines where nobody is asked."""


class KeyEntry(msgspec.Struct, frozen=True):
    """A key of the folder.

    Attributes:
        name: what it is called.
        id: its ID, as devices and bundles have it.
        can_sign: whether its private half is here.
        gave_way_to: the name of the key that came after it; "" if it is in use.
    """

    name: str
    id: str
    can_sign: bool
    gave_way_to: str = ""


def keys_folder() -> Path:
    """Where keys lie."""
    named = os.environ.get("EDGEKIT_KEYS")
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edgekit" / "keys"


def list_keys() -> tuple[KeyEntry, ...]:
    """The keys of the folder, by name.

    Raises:
        UsageError: a file there is no key.
    """
    found = []
    for path in sorted(keys_folder().glob("*.pub")):
        key = only_key(path)
        gone = re.search(rf"^to {trust.ID} \S+ (\S+)$", _text(path.with_suffix(".rotation")), re.MULTILINE)
        found.append(KeyEntry(name=path.stem, id=key.id, can_sign=path.with_suffix(".key").exists(), gave_way_to=gone[1] if gone else ""))
    return tuple(found)


def new_key(name: str, passphrase: str = "") -> KeyEntry:
    """Make a key.

    Args:
        name: what it is called, also on devices.
        passphrase: that its file is encrypted with; not encrypted if empty.

    Raises:
        UsageError: the name is no name, or is taken.
        StoreError: it cannot be written.
    """
    with extra("bundle"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    folder = keys_folder()
    if not re.fullmatch(trust.NAME, name):
        raise UsageError(f"{name}: no name for a key", hint="letters, digits, `-`, `_`, `.`")
    if any((folder / f"{name}{suffix}").exists() for suffix in (".key", ".pub")):
        raise UsageError(f"{folder / name}: there is a key of that name", hint="choose another; `edgekit keys rotate` lets one give way to another")
    private = Ed25519PrivateKey.generate()
    key = trust.key_of(private.public_key().public_bytes_raw(), name)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / f"{name}.key", _pem(private, passphrase), 0o600)
        _write(folder / f"{name}.pub", trust.Trust({key.id: key}, set()).text().encode(), 0o644)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}", hint="name another folder with EDGEKIT_KEYS") from error
    return KeyEntry(name=name, id=key.id, can_sign=True)


def rotate(old: str, new: str, passphrase: str = "", *, signed: int) -> Path:
    """Let a key give way to another: devices that trust the old one trust the new one instead, and the old one never again.

    Args:
        old: name of the key that goes; its private half signs for the last time.
        new: name of the one that comes; made if there is none.
        passphrase: of both.
        signed: the time, seconds since 1970.

    Returns:
        The statement, which `edgekit deploy` takes along.

    Raises:
        UsageError: the old key is not here, or gave way already.
    """
    entries = {entry.name: entry for entry in list_keys()}
    going = _entry(old, entries)
    if going.gave_way_to:
        raise UsageError(f"{old} gave way to {going.gave_way_to} already", hint=f"edgekit keys rotate {going.gave_way_to} --to NAME")
    gone = [old] if old == new else [name for name in (new,) if name in entries and entries[name].gave_way_to]
    if gone:
        raise UsageError(f"{old} cannot give way to {new}, which is no key of the time to come", hint="--to NAME, of a new key")
    leaving = private_key(old, passphrase)
    if new not in entries:
        new_key(new, passphrase)
    coming = private_key(new, passphrase)
    key = only_key(keys_folder() / f"{new}.pub")
    text = trust.rotation(going.id, key, signed)
    lines = [trust.signature_line(name, private.sign(text.encode())) for name, private in ((going.id, leaving), (key.id, coming))]
    path = keys_folder() / f"{old}.rotation"
    try:
        _write(path, (text + "".join(lines)).encode(), 0o644)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="is there room, and may you write there?") from error
    return path


def rotations() -> tuple[str, ...]:
    """All statements of the folder by which keys gave way to others."""
    return tuple(_text(path) for path in sorted(keys_folder().glob("*.rotation")))


def private_key(name: str, passphrase: str = "") -> Ed25519PrivateKey:
    """The private half of a key.

    Raises:
        UsageError: it is not here, gave way to another, others may read it, or the passphrase is not its own.
    """
    with extra("bundle"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

    entry = _entry(name, {entry.name: entry for entry in list_keys()})
    path = keys_folder() / f"{name}.key"
    if entry.gave_way_to:
        raise UsageError(f"{name} gave way to {entry.gave_way_to}, and no device takes what it signs", hint=f"--key {entry.gave_way_to}")
    if not entry.can_sign:
        raise UsageError(f"{path}: only the public half of that key is here", hint="sign where the private half is")
    if path.stat().st_mode & 0o077:
        raise UsageError(
            f"{path}: others may read it, so it is not used", hint=f"chmod 600 {path}; was it read? `edgekit keys rotate {name} --to NAME`"
        )
    secret = passphrase or os.environ.get(PASSPHRASE, "")
    try:
        loaded = load_pem_private_key(path.read_bytes(), secret.encode() or None)
    except TypeError as error:
        hint = f"--passphrase asks for it, {PASSPHRASE} holds it" if not secret else f"leave --passphrase out, and unset {PASSPHRASE}"
        raise UsageError(f"{path}: {'needs a passphrase' if not secret else 'is not encrypted, and a passphrase was given'}", hint=hint) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: cannot be read, or the passphrase is not its own", hint="is the file whole? Type the passphrase again") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise UsageError(f"{path}: no Ed25519 key", hint="edgekit keys new NAME")
    return loaded


def read_keys(path: Path) -> trust.Trust:
    """Public keys of a file.

    Raises:
        UsageError: it is no file of keys.
    """
    try:
        return trust.read_trust(path.read_text(encoding="ascii"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="give the file NAME.pub that `edgekit keys new NAME` wrote") from error
    except (RefusedError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, RefusedError) else "no file of keys: it is not text"
        raise UsageError(f"{path}: {reason}", hint="give the file NAME.pub that `edgekit keys new NAME` wrote") from error


def only_key(path: Path) -> trust.Key:
    """The key of a file that has one.

    Raises:
        UsageError: it has none, or several.
    """
    keys = tuple(read_keys(path).keys.values())
    if len(keys) != 1:
        raise UsageError(f"{path}: {len(keys)} keys", hint="a file of this folder holds one")
    return keys[0]


def own_trust() -> trust.Trust:
    """All public keys of the folder, but for those that gave way."""
    keys = [only_key(path) for path in sorted(keys_folder().glob("*.pub"))]
    every = trust.Trust({key.id: key for key in keys}, set())
    return trust.rotated(every, [text.encode() for text in rotations()])


def _entry(name: str, entries: dict[str, KeyEntry]) -> KeyEntry:
    if name not in entries:
        known = f"{keys_folder()} has {', '.join(entries)}" if entries else "edgekit keys new NAME"
        raise UsageError(f"{name}: no such key{nearest(name, entries)}", hint=known)
    return entries[name]


def _pem(private: Ed25519PrivateKey, passphrase: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

    hidden = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable for others meanwhile."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
