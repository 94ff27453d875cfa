"""Samples: what a folder or a samples file becomes, and which of them calibrate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.errors import SamplesError, UsageError
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.samples import image_input, read_samples, with_preprocess

IMAGE = Tensor(name="x", dtype="float32", shape=(1, 3, 4, 6), layout="nchw")
SIGNATURE = Signature(inputs=(IMAGE,), outputs=(Tensor(name="y", dtype="float32", shape=(1, 2)),))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six 6 x 4 pictures in ``photos``, each of one colour."""
    folder = tmp_path / "photos"
    for index in range(6):
        path = folder / ("a" if index < 2 else "b") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (index, 10 * index, 100)).save(path)
    return folder


def describe(folder: Path, text: str) -> Path:
    file = folder.parent / "described.toml"
    file.write_text(f'schema = 1\nname = "described"\npath = "{folder.name}"\n{text}\n', encoding="utf-8")
    return file


def names(samples) -> list[str]:
    return [sample.path.name for sample in samples]


def test_half_of_a_folder_calibrates_the_other_half_judges_and_never_both(photos):
    samples = read_samples(photos)

    assert len(samples.calibrating) == 3
    assert sorted(names(samples.calibrating) + names(samples.judging)) == [f"{index}.png" for index in range(6)]
    assert read_samples(photos) == samples


def test_class_folders_give_labels_in_the_order_of_their_names(photos):
    samples = read_samples(photos)

    assert {sample.path.name: sample.label for sample in (*samples.calibrating, *samples.judging)} == {
        "0.png": 0, "1.png": 0, "2.png": 1, "3.png": 1, "4.png": 1, "5.png": 1,
    }  # fmt: skip


def test_labels_csv_wins_over_folders_and_need_not_name_every_file(photos):
    (photos / "labels.csv").write_text("file,class_index\nb/3.png,7\n", encoding="utf-8")

    samples = read_samples(photos)

    assert {sample.path.name: sample.label for sample in (*samples.calibrating, *samples.judging)}["3.png"] == 7
    assert sum(sample.label is not None for sample in (*samples.calibrating, *samples.judging)) == 1


def test_a_samples_file_may_name_the_files_that_calibrate(photos):
    samples = read_samples(describe(photos, 'calibrate_files = ["a/*.png", "b/5.png"]'))

    assert names(samples.calibrating) == ["0.png", "1.png", "5.png"]
    assert names(samples.judging) == ["2.png", "3.png", "4.png"]


def test_another_split_of_the_same_files_is_another_set(photos):
    one = read_samples(describe(photos, 'calibrate_files = ["a/*"]'))
    other = read_samples(describe(photos, 'calibrate_files = ["b/2.png", "b/3.png"]'))

    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('calibrate_files = ["c/*.png"]', r"no sample fits c/\*\.png"),
        ('calibrate_files = ["*"]', "leaves none of 6 samples to judge by"),
        ('calibrate_files = ["a/*"]\ncalibrate = 2', "both calibrate and calibrate_files"),
        ("calibrate = 6", "calibrate = 6 leaves none of 6 samples to judge by"),
        ("calibrate = 0", "calibrate = 0 leaves none"),
        ("calibrate = -1", "calibrate = -1 leaves none"),
    ],
)
def test_a_split_that_cannot_be_is_refused(photos, text, words):
    with pytest.raises(SamplesError, match=words):
        read_samples(describe(photos, text))


def test_a_misspelt_key_of_a_samples_file_is_answered_with_the_right_one(photos):
    with pytest.raises(UsageError, match=r"calibrate_file: no such key; did you mean calibrate_files\?"):
        read_samples(describe(photos, 'calibrate_file = ["a/*"]'))


def test_samples_that_were_never_fetched_say_how_to_get_them(tmp_path):
    with pytest.raises(SamplesError, match="the samples described are not there") as caught:
        read_samples(describe(tmp_path / "photos", 'fetch = "python tools/fetch_demo.py"'))

    assert caught.value.hint == "python tools/fetch_demo.py"


def test_samples_other_than_those_described_are_refused(photos):
    with pytest.raises(SamplesError, match="samples are not those described"):
        read_samples(describe(photos, f'sha256 = "{"0" * 64}"'))


def test_unreadable_pictures_are_all_named_at_once_or_left_out_on_wish(photos):
    (photos / "a" / "0.png").write_bytes(b"")
    (photos / "b" / "4.png").write_text("not a picture at all", encoding="utf-8")

    with pytest.raises(SamplesError, match=r"2 of 6 samples cannot be read: 0\.png: empty file; 4\.png: not a picture"):
        read_samples(photos)
    assert read_samples(photos, skip_bad=True).skipped == ("0.png: empty file", "4.png: not a picture")


@pytest.mark.parametrize("given", ["nowhere", "photos/a/0.png"])
def test_what_is_neither_folder_nor_samples_file_is_refused(photos, given):
    with pytest.raises(SamplesError):
        read_samples(photos.parent / given)


def test_a_picture_becomes_the_input_by_mean_and_std_in_the_layout_of_the_signature(photos):
    how = Preprocess(mean=(127.0,), std=(128.0,))

    values = image_input(photos / "b" / "2.png", IMAGE, how)

    assert values.shape == (1, 3, 4, 6)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[0, :, 0, 0], np.float32([(2 - 127) / 128, (20 - 127) / 128, (100 - 127) / 128]))


def test_bgr_is_the_colours_turned_round(photos):
    values = image_input(photos / "b" / "2.png", IMAGE, Preprocess(colour="bgr"))

    np.testing.assert_array_equal(values[0, :, 0, 0], np.float32([100, 20, 2]))


def test_arrays_are_matched_to_inputs_by_name_and_may_lack_the_batch(tmp_path):
    for index in range(3):
        np.savez(tmp_path / f"{index}.npz", x=np.full((3, 4, 6), index, np.float64))

    samples = read_samples(tmp_path)
    feeds = list(samples.feeds("calibrating", SIGNATURE)) + list(samples.feeds("judging", SIGNATURE))

    assert samples.kind == "arrays"
    assert [feed["x"].shape for feed in feeds] == [(1, 3, 4, 6)] * 3
    assert {feed["x"].dtype.name for feed in feeds} == {"float32"}


def test_an_array_the_model_wants_and_the_file_lacks_is_named(tmp_path):
    for index in range(2):
        np.savez(tmp_path / f"{index}.npz", z=np.zeros((3, 4, 6), np.float32))

    with pytest.raises(SamplesError, match=r"no array named x; it has z"):
        list(read_samples(tmp_path).feeds("judging", SIGNATURE))


def test_preprocessing_is_filled_in_only_where_the_signature_says_nothing(photos):
    samples = read_samples(describe(photos, "[preprocess]\nmean = [1.0]"))
    said = Signature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs, preprocess=Preprocess(mean=(2.0,)))

    assert with_preprocess(SIGNATURE, samples).preprocess == Preprocess(mean=(1.0,))
    with pytest.raises(SamplesError, match="disagree"):
        with_preprocess(said, samples)


def test_pictures_without_any_preprocessing_are_refused(photos):
    with pytest.raises(SamplesError, match="how pictures become the model's input is not known"):
        with_preprocess(SIGNATURE, read_samples(photos))


def test_samples_know_where_they_are_wherever_they_are_read(tmp_path, monkeypatch):
    from edgekit.samples import read_samples

    monkeypatch.chdir(tmp_path)
    Path("some").mkdir()
    for index in range(4):
        np.savez(Path("some", f"{index}.npz"), x=np.zeros(3, np.float32))

    samples = read_samples(Path("some"))

    assert all(sample.path.is_absolute() for sample in (*samples.calibrating, *samples.judging))


def test_sixteen_bits_of_grey_are_scaled_not_cut_off(tmp_path):
    from PIL import Image

    from edgekit.model import Preprocess, Tensor
    from edgekit.samples import image_input

    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")

    got = image_input(tmp_path / "ramp.png", Tensor("x", "float32", (1, 1, 16, 16), "nchw"), Preprocess(colour="grey", crop=16))

    np.testing.assert_array_equal(got[0, 0], ramp // 257)


def test_class_folders_named_by_numbers_are_those_classes(tmp_path):
    from PIL import Image

    from edgekit.samples import read_samples

    for name in ("2", "10", "1"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")

    samples = read_samples(tmp_path)

    assert {(sample.path.parent.name, sample.label) for sample in (*samples.calibrating, *samples.judging)} == {("1", 1), ("2", 2), ("10", 10)}
