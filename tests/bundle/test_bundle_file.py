"""The archive: what tar reads, and the one way in which it may be written."""

import io
import subprocess
import tarfile

import pytest

from edgekit.run import bundle_file
from edgekit.run.bundle_file import BundleFile, Member, RefusedError

MEMBERS = [Member("a", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]  # FIPS 180-2: SHA-256 of "abc"


def written(path, members=MEMBERS, content=b"abc"):
    with path.open("wb") as stream:
        bundle_file.write(stream, b"signed\n", b"{}", members, lambda name: io.BytesIO(content))
    return path


def test_tar_reads_a_bundle(tmp_path):
    path = written(tmp_path / "x.edgekit")

    listed = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True)

    assert [line.split()[0::5] for line in listed.stdout.splitlines()] == [
        ["-rw-r--r--", "signatures"],
        ["-rw-r--r--", "manifest.json"],
        ["-rw-r--r--", "a"],
    ]
    with tarfile.open(path) as archive:
        assert archive.extractfile("a").read() == b"abc"
        assert archive.getmember("a").mtime == 0


def test_a_bundle_that_is_whole_gives_its_members(tmp_path):
    taken = []
    with BundleFile(str(written(tmp_path / "x"))) as bundle:
        bundle.contents(MEMBERS, lambda member, content: taken.append((member.path, content)))

    assert taken == [("a", b"abc")]
    assert (bundle.signatures, bundle.manifest) == (b"signed\n", b"{}")
    assert bundle.bytes == bundle_file.size_of(7, 2, MEMBERS)


def test_any_byte_that_differs_is_noticed(tmp_path):
    path = written(tmp_path / "x")
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            with BundleFile(str(path)) as bundle:
                bundle.contents(MEMBERS)
        except RefusedError:
            continue
        assert 512 <= position < 512 + 7 or 1536 <= position < 1536 + 2  # signatures and manifest: these are what is signed


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1023, 1024, 2048, 3071])
def test_what_is_cut_short_is_noticed(tmp_path, length):
    path = written(tmp_path / "x")
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(RefusedError), BundleFile(str(path)) as bundle:
        bundle.contents(MEMBERS)


@pytest.mark.parametrize(
    "name",
    ["../a", "/a", "a/../b", "a//b", "a/", ".", "..", ".a", "a/.b", "a\\b", "a\0b", "a\nb", "ä", "", "-a", "a" * 101, "a/./b"],
)
def test_names_that_lead_elsewhere_have_no_header(name):
    with pytest.raises(RefusedError):
        bundle_file.header(name, 1)


@pytest.mark.parametrize(
    "paths",
    [["a", "a"], ["a", "A"], ["manifest.json"], ["signatures"], ["Signatures"], ["manifest.json/a"], ["a", "a/b"], ["a/b", "a"]],
)
def test_members_that_stand_in_each_others_way_are_refused(paths):
    told = {"members": [{"path": path, "bytes": 1, "sha256": "0" * 64} for path in paths]}

    with pytest.raises(RefusedError):
        bundle_file.members_of(told)
