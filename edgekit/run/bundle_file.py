"""A bundle's file: a tar archive that is written in one way only, so that nothing in it has to be believed.

The members are ``signatures``, ``manifest.json``, then those that the manifest lists, in its order; plain files all, of mode
644 and time 0. Whoever reads one trusts no header: it makes each header that the manifest calls for and compares. Links,
devices, absolute names, names twice, compressed members and bytes between or behind members are other bytes than those, and so
is anything else that a tar archive can hold. ``tar xf`` reads it, too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional

BLOCK = 512
END = bytes(2 * BLOCK)
SIGNATURES, MANIFEST = "signatures", "manifest.json"
SIGNATURES_BYTES = 16 * 1024
MANIFEST_BYTES = 4 * 1024 * 1024
MEMBER_BYTES = 8 * 1024**3 - 1  # what eleven octal digits of a header can say
MEMBERS = 4096
VERSION = 2**53 - 1  # the largest whole number that every reader of JSON has exactly: RFC 8259, section 6
NAME_BYTES = 100
SCHEMA = 1
READ_BYTES = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")  # no "..", nothing hidden, not absolute
_APP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHA = re.compile(r"[0-9a-f]{64}")


class RefusedError(Exception):
    """A bundle, or what is asked with it, is refused; what ran goes on running.

    Args:
        kind: one word: ``format``, ``tampered``, ``unsigned``, ``trust``, ``expired``, ``older``, ``arch``, ``too-large`` are the
            bundle's; ``disk``, ``busy``, ``build``, ``health``, ``state`` the device's.
        reason: one line.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Member(NamedTuple):
    """One file of a bundle: its path there, its size and its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


def header(path: str, size: int) -> bytes:
    """The one header that a member may have.

    Raises:
        RefusedError: there is none for such a name or size.
    """
    name = path.encode("ascii", "replace")
    if not _NAME.fullmatch(path) or len(name) > NAME_BYTES or not 0 <= size <= MEMBER_BYTES:
        raise RefusedError("format", "%r of %d bytes: no such member can be in a bundle" % (path[:NAME_BYTES], size))
    fields = (name.ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"00000000000\0", b"        ", b"0", bytes(100))
    block = b"".join((*fields, b"ustar\x0000", bytes(64), b"0000000\0" * 2)).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """Zeros up to the next block."""
    return bytes(-size % BLOCK)


def write(stream: IO[bytes], signatures: bytes, manifest: bytes, members: List[Member], opened: Callable[[str], IO[bytes]]) -> None:
    """Write a bundle.

    Args:
        stream: where it goes.
        signatures, manifest: contents of the first two members.
        members: the others, as the manifest lists them.
        opened: a member's content, from its path.
    """
    for path, content in ((SIGNATURES, signatures), (MANIFEST, manifest)):
        stream.write(header(path, len(content)) + content + padding(len(content)))
    for member in members:
        stream.write(header(member.path, member.size))
        with opened(member.path) as source:
            for chunk in iter(functools.partial(source.read, READ_BYTES), b""):
                stream.write(chunk)
        stream.write(padding(member.size))
    stream.write(END)


class BundleFile:
    """A bundle that lies somewhere. Opening looks at the first two members only, and believes neither.

    Args:
        path: of the file.

    Raises:
        RefusedError: it is no bundle.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._stream = open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self.bytes = os.fstat(self._stream.fileno()).st_size
            self.signatures = self._first(SIGNATURES, SIGNATURES_BYTES)
            self.manifest = self._first(MANIFEST, MANIFEST_BYTES)
            self._begin = self._stream.tell()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> "BundleFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def contents(self, members: List[Member], taken: Optional[Callable[[Member, bytes], None]] = None) -> None:
        """Read all that follows, and hold it against what the manifest says, byte for byte.

        Args:
            members: as the manifest lists them.
            taken: given each member's content in pieces, at least one; what it was given holds only once this returns.

        Raises:
            RefusedError: it differs.
        """
        self._stream.seek(self._begin)
        for member in members:
            self._must_be(header(member.path, member.size), "the header of " + member.path)
            digest = hashlib.sha256()
            for chunk in self._pieces(member):
                digest.update(chunk)
                if taken is not None:
                    taken(member, chunk)
            if digest.hexdigest() != member.sha256:
                raise RefusedError("tampered", "%s is not what the manifest says: its SHA-256 differs" % member.path)
            self._must_be(padding(member.size), "what follows " + member.path)
        self._must_be(END, "the end")
        if self._stream.read(1):
            raise RefusedError("tampered", "something follows the end")

    def _pieces(self, member: Member) -> Iterator[bytes]:
        left = member.size
        if not left:
            yield b""
        while left:
            chunk = self._stream.read(min(left, READ_BYTES))
            if not chunk:
                raise RefusedError("tampered", "cut short within %s" % member.path)
            left -= len(chunk)
            yield chunk

    def _must_be(self, wanted: bytes, what: str) -> None:
        found = self._stream.read(len(wanted))
        if found != wanted:
            raise RefusedError("tampered", "%s %s" % (what, "is cut short" if wanted.startswith(found) else "is not as it must be"))

    def _first(self, name: str, most: int) -> bytes:
        """One of the two members whose size nobody has told yet."""
        found = self._stream.read(BLOCK)
        digits = found[124:135]
        size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
        if size < 0 or found != header(name, size):
            raise RefusedError("format", "not an edgekit bundle: %s does not stand where it must" % name)
        if size > most:
            raise RefusedError("too-large", "%s has %d bytes, more than %d" % (name, size, most))
        content = self._stream.read(size)
        if len(content) < size or self._stream.read(-size % BLOCK) != padding(size):
            raise RefusedError("tampered", "cut short within, or something follows, %s" % name)
        return content


def read_manifest(content: bytes) -> Dict[str, Any]:
    """What a manifest says; asked only once its signature holds.

    Raises:
        RefusedError: it is none of this format.
    """
    try:
        told = json.loads(content.decode("utf-8"))
        if told["schema"] != SCHEMA:
            raise RefusedError("format", "a bundle of format %r; this agent installs format %d" % (told["schema"], SCHEMA))
        _must_be_named(told)
        members_of(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
        raise RefusedError("format", "the manifest cannot be read: %s: %s" % (type(wrong).__name__, str(wrong)[:200])) from wrong
    return dict(told)


def _must_be_named(told: Dict[str, Any]) -> None:
    if not isinstance(told["name"], str) or not _APP.fullmatch(told["name"]):
        raise RefusedError("format", "the name %.80r is none: small letters, digits and `-`, 63 at most, no `-` first" % (told["name"],))
    if type(told["version"]) is not int or not 0 < told["version"] <= VERSION:
        raise RefusedError("format", "the version %.80r is none: a whole number from 1 to %d" % (told["version"], VERSION))
    if not (isinstance(told["title"], str) and isinstance(told["target"]["arch"], str)):
        raise RefusedError("format", "the title or the architecture of the target is no text")


def members_of(manifest: Dict[str, Any]) -> List[Member]:
    """The members that a manifest lists.

    Raises:
        RefusedError: such members cannot be.
        ValueError, KeyError, TypeError: it is no list of members.
    """
    members = [Member(one["path"], one["bytes"], one["sha256"]) for one in manifest["members"]]
    taken = {SIGNATURES, MANIFEST}
    if len(members) > MEMBERS:
        raise RefusedError("too-large", "%d members, more than %d" % (len(members), MEMBERS))
    for member in members:
        if not isinstance(member.path, str) or type(member.size) is not int or not _SHA.fullmatch(member.sha256):
            raise ValueError("a member without path, bytes or sha256")
        header(member.path, member.size)
        above = member.path.split("/")
        if member.path.lower() in taken or any("/".join(above[:count]) in taken for count in range(1, len(above))):
            raise RefusedError("format", "%s stands in the way of another member" % member.path)
        taken.add(member.path.lower())
    names = {member.path for member in members}
    if any("/".join(path.split("/")[:count]) in names for path in names for count in range(1, path.count("/") + 1)):
        raise RefusedError("format", "a member lies within another one")
    return members


def size_of(signatures: int, manifest: int, members: List[Member]) -> int:
    """Bytes of a bundle whose parts have these sizes."""
    sizes = [signatures, manifest, *(member.size for member in members)]
    return sum(BLOCK + size + -size % BLOCK for size in sizes) + len(END)
