"""Bundles made by hand, good and bad, for an engine that needs no runtime but Python: it multiplies by a number."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edgekit.run
from edgekit.bundle.pack import RUNNER
from edgekit.run import bundle_file, trust
from edgekit.run.bundle_file import Member
from edgekit.run.tensors import Tensor, write_tensors

ROOM = Path(edgekit.run.__file__).parent
NOW = int(time.time()) - 60
TOY = '''"""Multiplies by a number: the engine's file says by which, and what it does wrong."""

import json, os, struct, time

from .tensors import Tensor


def import_runtime():
    pass


def open_engine(opening):
    with open(opening.path, encoding="utf-8") as stream:
        told = json.load(stream)
    if told["does"] == "crash":
        os.abort()
    if told["does"] == "hang":
        time.sleep(60)
    if told["does"] == "late" and os.path.exists(told["when"]):
        told["factor"] = 1000.0
    return Session(told)


class Session:
    versions = {}

    def __init__(self, told):
        self.told = told

    def prepare(self, tensors):
        return struct.unpack("=3f", tensors[0].data)

    def run(self, ready):
        if self.told["does"] == "slow":
            time.sleep(0.02)
        return [value * self.told["factor"] for value in ready]

    def read(self, outputs):
        return [Tensor("y", "float32", (3,), struct.pack("=3f", *outputs))]
'''


class Signer:
    """A key of a test's own."""

    def __init__(self, name: str) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.key = trust.key_of(self.private.public_key().public_bytes_raw(), name)

    @property
    def public(self) -> str:
        return trust.Trust({self.key.id: self.key}, set()).text()

    def signed(self, text: str) -> str:
        return text + trust.signature_line(self.key.id, self.private.sign(text.encode()))

    def gives_way_to(self, other: Signer) -> str:
        text = trust.rotation(self.key.id, other.key, NOW)
        return self.signed(text) + other.signed(text)[len(text) :]


class Toy:
    """A bundle in parts, so that a test can spoil any of them before it is put together.

    Args:
        version: of the bundle.
        factor: what the engine multiplies by; what is recorded is always twice the inputs.
        does: what it does wrong: ``crash``, ``hang``, ``slow``, ``late`` (once the file ``when`` exists).
    """

    def __init__(self, version: int = 1, *, factor: float = 2.0, does: str = "", when: str = "", extra: int = 0) -> None:
        self.files = {f"runner/edgekit_run/{name}.py": (ROOM / f"{name}.py").read_bytes() for name in RUNNER}
        self.files["runner/edgekit_run/toy.py"] = TOY.encode()
        run = (
            "import os, sys\nHERE = os.path.dirname(os.path.abspath(__file__))\nsys.path.insert(0, os.path.join(HERE, 'runner'))\n"
            "from edgekit_run.application import main\nsys.exit(main(HERE, sys.argv[1:]))\n"
        )
        self.files["run.py"] = run.encode()
        self.files["engine/toy.json"] = json.dumps({"factor": factor, "does": does, "when": when}).encode()
        self.files["descriptor.json"] = b"{}"
        if extra:
            self.files["engine/weights.bin"] = os.urandom(extra)
        self.files.update(_recorded())
        self.manifest = {
            "schema": 1,
            "name": "toy",
            "title": "a toy",
            "version": version,
            "created": "2027-01-15T08:00:00+00:00",
            "edgekit": "0.1.0",
            "target": {"name": "here", "title": "", "arch": os.uname().machine, "runtime": "toy", "runtime_version": ""},
            "engine": {
                "file": "engine/toy.json",
                "runtime": "toy",
                "options": {},
                "threads": 1,
                "inputs": ["x"],
                "outputs": ["y"],
                "precision": "float32",
                "bytes": 1,
                "sha256": "",
            },
            "build": None,
            "health": {"queries": 1, "max_difference": 0.01, "max_latency_ms": None, "timeout_s": 20.0},
            "origin": {"source": "", "format": "", "sha256": "", "recipe": "", "steps": [], "samples": "", "samples_sha256": ""},
            "fidelity": None,
            "accuracy": None,
            "licence": {"model": "", "samples": ""},
            "tools": {},
            "needs": [],
        }
        self.members: list[dict] | None = None
        self.signed, self.expires = NOW, NOW + 365 * 86400

    def listed(self) -> list[dict]:
        return [{"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(self.files.items())]

    def content(self, *signers: Signer) -> bytes:
        """The bundle's bytes."""
        manifest = json.dumps({**self.manifest, "members": self.listed() if self.members is None else self.members}).encode()
        return self.around(manifest, *signers)

    def around(self, manifest: bytes, *signers: Signer) -> bytes:
        """A bundle of this manifest, whatever it says; headers of members that no bundle can have are as tar writes them."""
        text = trust.statement(hashlib.sha256(manifest).hexdigest(), self.signed, self.expires)
        signatures = (text + "".join(signer.signed(text)[len(text) :] for signer in signers)).encode()
        return archive({"signatures": signatures, "manifest.json": manifest, **dict(sorted(self.files.items()))})

    def write(self, path: Path, *signers: Signer) -> Path:
        path.write_bytes(self.content(*signers))
        return path


def archive(files: dict[str, bytes]) -> bytes:
    """A tar archive of plain files."""
    stream = io.BytesIO()
    members = [Member(name, len(data), "") for name, data in files.items()]
    for member in members:
        try:
            stream.write(bundle_file.header(member.path, member.size))
        except bundle_file.RefusedError:
            stream.write(as_tar_writes(member.path, member.size))
        data = files[member.path]
        stream.write(data + bundle_file.padding(len(data)))
    return stream.getvalue() + bundle_file.END


def as_tar_writes(name: str, size: int, kind: bytes = b"0", link: str = "") -> bytes:
    """A header of any kind, as the library has it."""
    import tarfile

    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = size, kind, link, 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _recorded() -> dict[str, bytes]:
    """Inputs 1, 2, 3 and what is twice that."""
    import struct
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, port, values in (("inputs", "x", (1, 2, 3)), ("outputs", "y", (2, 4, 6))):
            write_tensors(f"{folder}/{name}", [[Tensor(port, "float32", (3,), struct.pack("=3f", *values))]])
        return {f"health/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}
