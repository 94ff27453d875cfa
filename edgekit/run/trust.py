"""Whose bundles are installed: public keys, what they sign, and how one key gives way to another. All of it is text.

Keys, as a device trusts them and as ``NAME.pub`` holds one::

    edgekit-keys 1
    key ID BASE64 NAME
    revoked ID

A bundle's signatures; each signs what stands above the first ``key``::

    edgekit-bundle 1
    manifest sha256 HEX
    signed 2026-11-26T08:00:00Z
    expires 2027-11-26T08:00:00Z      (or: never)
    key ID BASE64

A rotation, signed by the key that goes and by the one that comes::

    edgekit-rotation 1
    from ID
    to ID BASE64 NAME
    signed 2026-11-26T08:00:00Z
    key ID BASE64

An ID is the first 32 hexadecimal digits of the public key's SHA-256. The first line says what was signed, so no signature of
one kind stands for another.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import re
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from .bundle_file import RefusedError
from .ed25519 import KEY_BYTES, verify

KEYS, BUNDLE, ROTATION = "edgekit-keys 1", "edgekit-bundle 1", "edgekit-rotation 1"
ID = r"[0-9a-f]{32}"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NEVER = "never"
MOST_SIGNATURES = 16

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_KEY = re.compile(rf"key ({ID}) ([A-Za-z0-9+/]{{43}}=) ({NAME})")
_REVOKED = re.compile(rf"revoked ({ID})")
_SIGNATURE = re.compile(rf"key ({ID}) ([A-Za-z0-9+/]{{86}}==)")
_BUNDLE = re.compile(rf"{BUNDLE}\nmanifest sha256 ([0-9a-f]{{64}})\n(?:signed ({_TIME})\nexpires ({_TIME}|{NEVER})\n)?")
_ROTATION = re.compile(rf"{ROTATION}\nfrom ({ID})\nto ({ID}) ([A-Za-z0-9+/]{{43}}=) ({NAME})\nsigned ({_TIME})\n")


class Key(NamedTuple):
    """A public key: its ID, its 32 bytes and what people call it."""

    id: str
    raw: bytes
    name: str

    def line(self) -> str:
        """As files hold it."""
        return "key %s %s %s" % (self.id, base64.b64encode(self.raw).decode(), self.name)


class Trust(NamedTuple):
    """Keys that are trusted, by ID, and IDs that never are again."""

    keys: Dict[str, Key]
    revoked: Set[str]

    def text(self) -> str:
        """As a file."""
        keys = [self.keys[name].line() for name in sorted(self.keys)]
        return "\n".join([KEYS, *keys, *("revoked " + one for one in sorted(self.revoked))]) + "\n"

    def named(self) -> str:
        """The keys in words."""
        return ", ".join("%s (%s…)" % (key.name, key.id[:8]) for key in self.keys.values()) or "none"


class Statement(NamedTuple):
    """What stands above the signatures of a bundle.

    Attributes:
        text: all of it, as it is signed.
        sha256: of the manifest.
        signed, expires: seconds since 1970; ``signed`` is None where nobody has signed yet, ``expires`` None if never.
        signatures: by key ID.
    """

    text: str
    sha256: str
    signed: Optional[int]
    expires: Optional[int]
    signatures: Dict[str, bytes]


def key_id(raw: bytes) -> str:
    """The ID of a public key."""
    return hashlib.sha256(raw).hexdigest()[:32]


def key_of(raw: bytes, name: str) -> Key:
    """A public key with its ID."""
    return Key(key_id(raw), raw, name)


def time_text(seconds: int) -> str:
    """Seconds since 1970 as files hold them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def time_of(text: str) -> int:
    """Seconds since 1970.

    Raises:
        ValueError: there is no such time.
    """
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def read_trust(text: str) -> Trust:
    """Keys, from a file of them.

    Raises:
        RefusedError: it is none.
    """
    first, *lines = text.splitlines() or [""]
    if first != KEYS:
        raise RefusedError("trust", "no file of keys: its first line must be %r" % KEYS)
    keys: Dict[str, Key] = {}
    revoked: Set[str] = set()
    for line in filter(None, lines):
        key, gone = _KEY.fullmatch(line), _REVOKED.fullmatch(line)
        if gone:
            revoked.add(gone[1])
        elif key and key_id(base64.b64decode(key[2])) == key[1]:
            keys[key[1]] = Key(key[1], base64.b64decode(key[2]), key[3])
        else:
            raise RefusedError("trust", "a file of keys has a line that is neither a key nor a revocation: %r" % line[:80])
    return Trust({name: key for name, key in keys.items() if name not in revoked}, revoked)


def statement(sha256: str, signed: Optional[int] = None, expires: Optional[int] = None) -> str:
    """What is signed of a bundle; with no time, what stands in one that nobody has signed."""
    text = "%s\nmanifest sha256 %s\n" % (BUNDLE, sha256)
    return text if signed is None else text + "signed %s\nexpires %s\n" % (time_text(signed), NEVER if expires is None else time_text(expires))


def rotation(old: str, new: Key, signed: int) -> str:
    """What is signed when a key gives way to another."""
    return "%s\nfrom %s\nto %s\nsigned %s\n" % (ROTATION, old, new.line()[len("key ") :], time_text(signed))


def signature_line(name: str, signature: bytes) -> str:
    """A signature, as files hold it."""
    return "key %s %s\n" % (name, base64.b64encode(signature).decode())


def read_statement(content: bytes) -> Statement:
    """A bundle's signatures, none of them looked at yet.

    Raises:
        RefusedError: they are not of that form.
    """
    head, signatures = _signed_text(content, "signatures")
    told = _BUNDLE.fullmatch(head)
    if told is None:
        raise RefusedError("format", "its signatures are of no form that is known")
    try:
        signed = None if told[2] is None else time_of(told[2])
        expires = None if told[3] in (None, NEVER) else time_of(told[3])
    except ValueError as wrong:
        raise RefusedError("format", "its signatures name no time: %s" % wrong) from wrong
    return Statement(head, told[1], signed, expires, signatures)


def signer(told: Statement, trust: Trust) -> Key:
    """The trusted key that signed a bundle.

    Raises:
        RefusedError: nobody did, or nobody who is trusted.
    """
    if not told.signatures or told.signed is None:
        raise RefusedError("unsigned", "it is not signed")
    for name, signature in told.signatures.items():
        key = trust.keys.get(name)
        if key is not None and verify(key.raw, signature, told.text.encode()):
            return key
        if key is not None:
            raise RefusedError("tampered", "the signature of %s does not hold" % key.name)
    gone = sorted(set(told.signatures) & trust.revoked)
    if gone:
        raise RefusedError("trust", "it is signed by %s…, which is revoked" % gone[0][:8])
    raise RefusedError("trust", "it is signed by %s…; trusted here: %s" % (min(told.signatures)[:8], trust.named()))


def rotated(trust: Trust, rotations: List[bytes]) -> Trust:
    """The keys that are trusted once each rotation is followed whose old key is trusted; others change nothing."""
    ahead = [_rotation(content) for content in rotations]
    while True:
        found = next((one for one in ahead if one is not None and one[0] in trust.keys), None)
        if found is None:
            return trust
        old, new, text, signatures = found
        ahead.remove(found)
        if new.id in trust.revoked or not _both_signed(trust.keys[old], new, text, signatures):
            continue
        keys = {name: key for name, key in trust.keys.items() if name != old}
        trust = Trust({**keys, new.id: new}, trust.revoked | {old})


def _both_signed(old: Key, new: Key, text: str, signatures: Dict[str, bytes]) -> bool:
    return all(key.id in signatures and verify(key.raw, signatures[key.id], text.encode()) for key in (old, new))


def _rotation(content: bytes) -> Optional[Tuple[str, Key, str, Dict[str, bytes]]]:
    try:
        head, signatures = _signed_text(content, "rotation")
    except RefusedError:
        return None
    told = _ROTATION.fullmatch(head)
    if told is None:
        return None
    raw = _decoded(told[3])
    if len(raw) != KEY_BYTES or key_id(raw) != told[2]:
        return None
    return told[1], Key(told[2], raw, told[4]), head, signatures


def _signed_text(content: bytes, what: str) -> Tuple[str, Dict[str, bytes]]:
    """What is signed, and the signatures below it."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as wrong:
        raise RefusedError("format", "%s: not plain text" % what) from wrong
    lines = text.split("\n")
    head = [line for line in lines if not line.startswith("key ")]
    keys = [line for line in lines if line.startswith("key ")]
    if text != "\n".join(head[:-1] + keys + [""]) or head[-1:] != [""]:
        raise RefusedError("format", "%s: lines are not in their order" % what)
    found = [_SIGNATURE.fullmatch(line) for line in keys]
    signatures = {one[1]: _decoded(one[2]) for one in found if one is not None}
    if len(signatures) != len(keys) or len(keys) > MOST_SIGNATURES:
        raise RefusedError("format", "%s: a line is no signature, stands there twice, or there are too many" % what)
    return "\n".join(head), signatures


def _decoded(text: str) -> bytes:
    """Bytes from base64 as it must be written; none where the same bytes are written otherwise."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""
