"""Bundles that must not be installed: none is, none ends the agent otherwise than with a reason, and nothing is written."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edgekit.run import bundle_file, installing, trust
from edgekit.run.bundle_file import BLOCK, RefusedError

HEADER = {  # POSIX.1-2001, pax: fields of a ustar header, offset of each
    "name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "checksum": 148, "kind": 156, "link": 157,
    "magic": 257, "version": 263, "user": 265, "group": 297, "major": 329, "minor": 337, "prefix": 345, "rest": 500,
}  # fmt: skip


def flipped(content, position, bit=0):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def tampered(toy, signer):
    """Each byte class of a bundle that was signed: fields of headers, signatures, manifest, contents, padding, end."""
    whole = toy.content(signer)
    parts = parts_of(whole)
    yield from tampered_headers(whole, parts)
    for offset in range(0, parts[0][1], 9):
        yield f"signatures at {offset}", flipped(whole, BLOCK + offset, offset % 7)
    for offset in range(0, parts[1][1], 211):
        yield f"manifest at {offset}", flipped(whole, parts[1][0] + BLOCK + offset, offset % 7)
    for number, (start, size) in enumerate(parts[2:]):
        yield f"member {number}: a bit", flipped(whole, start + BLOCK + size * 2 // 3, 5)
    yield "end", flipped(whole, len(whole) - 1)
    for length in (0, 1, 100, 511, 512, 513, *range(1024, len(whole), 9001), len(whole) - 1024, len(whole) - 1):
        yield f"cut to {length}", whole[:length]
    for name, more in (("a byte", b"\0"), ("a block", bytes(512)), ("another bundle", whole), ("text", b"x" * 1000)):
        yield f"followed by {name}", whole + more
    yield "preceded by a byte", b"\0" + whole
    yield "twice the first member", whole[: BLOCK * 2] + whole
    yield "two members change places", swapped(whole, parts)


def parts_of(whole):
    """Where each member begins, and its size."""
    parts, position = [], 0
    while whole[position : position + BLOCK].strip(b"\0"):
        size = int(whole[position + 124 : position + 135], 8)
        parts.append((position, size))
        position += BLOCK + size + -size % BLOCK
    return parts


def tampered_headers(whole, parts):
    for number in (0, 1, 2, len(parts) - 1):
        start, size = parts[number]
        for field, offset in HEADER.items():
            yield f"header {number}: {field}", flipped(whole, start + offset)
        for where, offset in (("first", 0), ("middle", size // 2), ("last", size - 1)):
            yield f"content {number}: {where}", flipped(whole, start + BLOCK + offset, 3)
        if size % BLOCK:
            yield f"padding {number}", flipped(whole, start + BLOCK + size)


def swapped(whole, parts):
    (one, size_one), (other, size_other) = parts[2], parts[3]
    end_one, end_other = (start + BLOCK + size + -size % BLOCK for start, size in ((one, size_one), (other, size_other)))
    return whole[:one] + whole[other:end_other] + whole[one:end_one] + whole[end_other:]


def other_files(bundles):
    """Files that are no bundle, and archives that are none of ours."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("signatures", b"\0" * 50_000_000)
    yield "zip bomb", zipped.getvalue()
    yield "gzip bomb", gzip.compress(bytes(50_000_000))
    yield "gzipped bundle", gzip.compress(bundles.Toy().content())
    yield "zeros", bytes(10_000)
    yield "noise", os.urandom(10_000)
    yield "text", b"edgekit-bundle 1\n" * 100
    for size in (0o77777777777, 10_000_000, 1_000_000):
        yield f"a first member of {size} bytes", bundles.as_tar_writes("signatures", size) + bytes(4096)
    yield "a first member of 8 GiB by the binary form of sizes", bundles.as_tar_writes("signatures", 2**33) + bytes(4096)
    for kind in b"1234567LKxgSV":
        yield f"a first member of kind {chr(kind)}", bundles.as_tar_writes("signatures", 100, bytes([kind]), "/etc/passwd") + bytes(4096)


def crafted(bundles, signer):
    """Signed by a key that is trusted, and hostile all the same."""
    for name in ("../out", "/tmp/out", "a/../../out", "engine/../../../out", "..", ".ssh/authorized_keys", "a\\..\\b", "x" * 101, "a//b", "ä"):
        toy = bundles.Toy()
        toy.files[name] = b"out"
        yield f"a member named {name[:20]}", toy.content(signer)
    for names in (("run.py", "run.py"), ("engine/toy.json", "ENGINE/toy.json"), ("manifest.json", "x"), ("signatures", "y"), ("run.py/x", "z")):
        toy = bundles.Toy()
        toy.members = [*toy.listed(), *({"path": name, "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()} for name in names)]
        yield f"members {names}", toy.content(signer)
    for kind, link in (
        (b"1", "/etc/passwd"),
        (b"2", "/etc/passwd"),
        (b"2", "../../state.json"),
        (b"3", ""),
        (b"4", ""),
        (b"5", ""),
        (b"6", ""),
        (b"S", ""),
    ):
        toy = bundles.Toy()
        toy.files["zz"] = b""
        whole = toy.content(signer)
        start = whole.rindex(b"zz" + bytes(98))
        yield f"a link or device of kind {kind.decode()} to {link}", whole[:start] + bundles.as_tar_writes("zz", 0, kind, link) + whole[start + 512 :]
    for key, value in manifests():
        toy = bundles.Toy()
        toy.manifest[key] = value
        yield f"manifest: {key} = {str(value)[:30]}", toy.content(signer)
    for key in ("schema", "name", "version", "title", "target", "engine", "health", "build"):
        toy = bundles.Toy()
        del toy.manifest[key]
        yield f"manifest without {key}", toy.content(signer)
    for members in members_of(bundles.Toy()):
        toy = bundles.Toy()
        toy.members = members
        yield f"manifest: members {str(members)[:40]}", toy.content(signer)
    for text in (b"", b"null", b"[]", b"1", b"{", b'"' + b"x" * 100, b"\xff\xfe", b"[" * 100_000, b'{"schema": NaN}', b'{"a": ' * 50_000, b"{}"):
        yield f"manifest {text[:12]!r}", bundles.Toy().around(text, signer)
    yield "a manifest of 5 MB", bundles.Toy().around(b'{"x": "' + b"y" * 5_000_000 + b'"}', signer)


def manifests():
    yield from (("schema", value) for value in (0, 2, "1", None, True))
    yield from (("version", value) for value in (0, -1, 1.5, "9", True, None, 2**60, [1]))
    yield from (("name", value) for value in ("", "../x", "a/b", "/x", ".hidden", "Toy", "a b", None, 7, "x" * 64, "toy\n"))
    yield from (("target", value) for value in ({}, None, {"arch": None}, {"arch": "sparc64"}, {"arch": ""}, {"arch": ["x86_64"]}, []))
    yield from (("engine", value) for value in ({}, None, {"file": "../../etc/passwd"}, {"file": "engine/none"}, {"file": None}, {"file": []}))
    yield from (("health", value) for value in ({}, None, [], {"max_difference": 1}))
    limits = {"max_difference": 0.01, "max_latency_ms": None, "timeout_s": 20.0}
    yield from (("health", {**limits, key: value}) for key in limits for value in ("1", -1, [], True, float("nan")))
    yield ("title", None)


def members_of(toy):
    good = toy.listed()
    yield from ([], None, {}, "run.py", [1], [[]], [{}], good[1:], good[:-1], good + good)
    for change in (
        {"bytes": -1},
        {"bytes": 2**40},
        {"bytes": "1"},
        {"bytes": True},
        {"sha256": "0" * 64},
        {"sha256": "x"},
        {"sha256": None},
        {"path": 1},
    ):
        yield [{**good[0], **change}, *good[1:]]
    yield [{**good[0], "path": f"a{number}"} for number in range(5000)]


def of_other_hands(bundles, signer, revoked):
    """Whole, and signed by nobody, by others, for others, or for another time."""
    thief = bundles.Signer("thief")
    toy = bundles.Toy
    yield "nobody's", toy().content()
    yield "a stranger's", toy().content(thief)
    yield "a stranger's and a revoked key's", toy().content(thief, revoked)
    yield "a revoked key's", toy().content(revoked)
    whole = toy(version=9).content(signer)
    text = trust.statement("0" * 64, bundles.NOW)
    for name, line in (
        ("a stranger's signature under a trusted name", thief.signed(text)[len(text) :].replace(thief.key.id, signer.key.id)),
        ("another bundle's signature", signer.signed(text)[len(text) :]),
        ("a signature of zeros", trust.signature_line(signer.key.id, bytes(64))),
        ("a short signature", f"key {signer.key.id} AAAA\n"),
        ("no base64", f"key {signer.key.id} {'!' * 88}\n"),
    ):
        yield name, signed_instead(whole, line)
    other = toy(version=8).content(signer)
    yield "the signatures of another version", other[:1024] + whole[1024:]
    for signed, expires in ((0, 1), (bundles.NOW - 1000, bundles.NOW - 1), (bundles.NOW, bundles.NOW - 5)):
        late = toy(version=9)
        late.signed, late.expires = signed, expires
        yield f"expired at {expires}", late.content(signer)
    for version in (1, 2, 3, 4):
        yield f"version {version}, replayed", toy(version).content(signer)
    for arch in ("aarch64", "armv7l", "X86_64", "x86_64 "):
        foreign = toy(version=9)
        foreign.manifest["target"]["arch"] = arch if arch != os.uname().machine else "riscv64"
        yield f"for {arch}", foreign.content(signer)


def signed_instead(whole, line):
    size = int(whole[124:135], 8)
    text = whole[BLOCK : BLOCK + size].decode()
    signatures = (text[: text.index("key ")] + line).encode()
    return (
        bundle_file.header("signatures", len(signatures)) + signatures + bundle_file.padding(len(signatures)) + whole[BLOCK + size + -size % BLOCK :]
    )


def unhealthy(bundles, signer):
    """Right in everything but what the engine does here."""
    for name, toy in (
        ("answers otherwise", bundles.Toy(9, factor=2.1)),
        ("answers with nothing finite", bundles.Toy(9, factor=float("inf"))),
        ("crashes", bundles.Toy(9, does="crash")),
        ("hangs", bundles.Toy(9, does="hang")),
        ("is slow", bundles.Toy(9, does="slow")),
    ):
        toy.manifest["health"].update(timeout_s=3.0, max_latency_ms=5.0)
        yield name, toy.content(signer)
    for name, path in (("has no adapter", "runner/edgekit_run/toy.py"), ("has a broken runner", "runner/edgekit_run/agent.py")):
        toy = bundles.Toy(9)
        toy.files[path] = b"def x(:"
        yield name, toy.content(signer)
    beyond = b'{"sets": [[{"name": "y", "dtype": "float32", "shape": [3], "offset": 0, "bytes": 9999}]]}'
    for name, content in (("records nothing", b'{"sets": []}'), ("records what is none", b"x"), ("points beyond", beyond)):
        toy = bundles.Toy(9)
        toy.files["health/outputs.json"] = content
        yield name, toy.content(signer)


def snapshot(folder):
    """Everything below a folder: kinds, contents, links."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def running(bundles, signer, install, tmp_path):
    """Version 5 runs, and a key was revoked."""
    revoked = bundles.Signer("revoked")
    keys = signer.public + f"revoked {revoked.key.id}\n"
    assert install(bundles.Toy(5).write(tmp_path / "first", signer), keys=keys)["error"] is None
    return revoked


def refuses_all(cases, install, folder):
    """How many there were; each is refused with a reason, and the device is as it was."""
    device = folder / "device"
    count = 0
    for name, content in cases:
        path = folder / "bad.edgekit"
        path.write_bytes(content)
        (device / "desk" / "wish.json").unlink(missing_ok=True)
        before = snapshot(device)
        told = install(path)
        (device / "desk" / "wish.json").unlink()
        assert told["error"] is not None, f"{name} was installed"
        assert told["error"]["reason"], name
        assert told["error"]["kind"] in KINDS, f"{name}: {told['error']}"
        assert snapshot(device) == before, name
        count += 1
    return count


KINDS = {"format", "tampered", "unsigned", "trust", "expired", "older", "arch", "too-large", "disk", "health"}


def answers(folder, version):
    ran = subprocess.run(
        [sys.executable, folder / "device" / "apps" / "toy" / "current" / "run.py", "--check"], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout)["version"] == version


def test_hundreds_of_bad_bundles_change_nothing(bundles, signer, install, running, tmp_path):
    groups = {
        "tampered with": tampered(bundles.Toy(9), signer),
        "no bundles": other_files(bundles),
        "crafted": crafted(bundles, signer),
        "of other hands": of_other_hands(bundles, signer, running),
    }
    counts = {name: refuses_all(cases, install, tmp_path) for name, cases in groups.items()}
    print(counts, sum(counts.values()))

    assert sum(counts.values()) >= 200
    assert not (tmp_path / "out").exists() and not Path("/tmp/out").exists()
    answers(tmp_path, 5)


def test_engines_that_do_not_do_here_what_was_recorded_are_not_installed(bundles, signer, install, running, tmp_path):
    desk = tmp_path / "device"
    for name, content in unhealthy(bundles, signer):
        (tmp_path / "bad.edgekit").write_bytes(content)
        told = install(tmp_path / "bad.edgekit")

        assert told["error"] is not None, name
        assert told["error"]["kind"] == "health", (name, told)
        assert [path.name for path in (desk / "apps" / "toy" / "slots").iterdir()] == [
            os.path.basename(os.readlink(desk / "apps" / "toy" / "current"))
        ]
    answers(tmp_path, 5)


def test_a_clock_that_was_set_back_brings_nothing_back_that_had_expired(bundles, signer, install, running, tmp_path):
    """What was signed in a hundred days is installed: by then it is not today any more, whatever the clock says."""
    later = bundles.Toy(6)
    later.signed, later.expires = bundles.NOW + 100 * 86400, None
    assert install(later.write(tmp_path / "later", signer))["error"] is None
    old = bundles.Toy(7)
    old.expires = bundles.NOW + 50 * 86400

    told = install(old.write(tmp_path / "old", signer))

    assert told["error"]["kind"] == "expired"
    assert f"though the clock here says {time.strftime('%Y-%m-%dT', time.gmtime())}" in told["error"]["reason"]


def test_a_clock_that_was_once_far_ahead_does_not_lock_the_device(bundles, signer, install, running, tmp_path):
    path = bundles.Toy(6).write(tmp_path / "b", signer)
    wish = installing.Wish(str(path), "", [], keep=3, most_bytes=10**9, trial_s=0)
    with pytest.raises(RefusedError, match="expired"):
        installing.install(os.environ["EDGEKIT_APPS"], wish, clock=lambda: 1e10)

    assert install(path)["error"] is None


def test_a_bundle_larger_than_allowed_or_than_the_disk_is_refused(bundles, signer, install, running, tmp_path, monkeypatch):
    path = bundles.Toy(9, extra=300_000).write(tmp_path / "b", signer)

    assert install(path, most_bytes=200_000)["error"]["kind"] == "too-large"

    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda where: os.statvfs_result((*real[:4], 10, *real[5:])))
    told = install(path)
    assert told["error"]["kind"] == "disk"
    answers(tmp_path, 5)


def test_a_device_that_trusts_nobody_takes_nothing_and_one_that_trusts_somebody_takes_no_other_keys(bundles, signer, install, tmp_path):
    path = bundles.Toy().write(tmp_path / "b", signer)

    assert install(path, keys="")["error"] == {"kind": "trust", "reason": "this device trusts no key yet"}
    assert install(path)["error"] is None
    assert "trusts other keys already" in install(path, keys=bundles.Signer("other").public)["error"]["reason"]
