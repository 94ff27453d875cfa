"""From a picture to an input on the device: the same numbers, to the last bit, as where the engine was judged."""

import msgspec
import numpy as np
import pytest
from PIL import Image

from edgekit.engine.contract import Port
from edgekit.measure.ports import from_port, to_port
from edgekit.model import Preprocess, Tensor
from edgekit.run.errors import RunError
from edgekit.run.pictures import read_picture, to_real
from edgekit.samples import image_input

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def descriptor(how, port):
    return msgspec.to_builtins({"preprocess": how, "inputs": [port]})


@pytest.mark.parametrize(
    "how",
    [
        Preprocess(resize_short=32, crop=24, mean=MEAN, std=STD),
        Preprocess(resize=(24, 24), interpolation="bilinear", colour="bgr", mean=(127.0,), std=(128.0,)),
        Preprocess(interpolation="nearest"),
        Preprocess(resize=(40, 30), crop=(24, 24), interpolation="lanczos", mean=MEAN, std=STD),
        Preprocess(crop=24, mean=(0.0,), std=(255.0,)),
        Preprocess(resize_short=24, crop=(24, 24), colour="grey", mean=(127.5,), std=(127.5,)),
    ],
    ids=["short side and crop", "stretched, BGR", "as the input is", "stretched and cropped", "cropped", "grey"],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_a_picture_becomes_what_the_samples_make_of_it(picture, how, layout, stored):
    channels = 1 if how.colour == "grey" else 3
    tensor = Tensor("x", "float32", (1, channels, 24, 24), "nchw")
    grid = {"scale": 0.02, "zero_point": -3} if stored == "int8" else {}
    shape = (1, channels, 24, 24) if layout == "nchw" else (1, 24, 24, channels)
    port = Port("x", stored, shape, layout, **grid)

    told, _ = read_picture(str(picture), descriptor(how, port))

    expected = to_port(image_input(picture, tensor, how), tensor, port)
    assert (told.dtype, tuple(told.shape)) == (stored, expected.shape)
    assert told.data == expected.tobytes()


def test_a_photo_that_lies_on_its_side_is_turned(tmp_path):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF 2.3, Orientation: the 0th row is the right side
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    port = Port("x", "float32", (1, 3, 4, 6), "nchw")

    told, view = read_picture(str(tmp_path / "a.png"), descriptor(Preprocess(), port))

    turned = np.rot90(pixels, -1).transpose(2, 0, 1)
    assert np.array_equal(np.frombuffer(told.data, np.float32).reshape(3, 4, 6), turned)
    assert (view.width, view.height) == (6, 4)


def test_grey_of_16_bits_is_scaled_as_the_samples_scale_it(tmp_path):
    Image.fromarray(np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "a.png")
    tensor, port = Tensor("x", "float32", (1, 3, 8, 8), "nchw"), Port("x", "float32", (1, 3, 8, 8), "nchw")

    told, _ = read_picture(str(tmp_path / "a.png"), descriptor(Preprocess(), port))

    assert told.data == image_input(tmp_path / "a.png", tensor, Preprocess()).tobytes()


def test_outputs_stand_for_what_they_stand_for_on_the_host():
    from edgekit.run import tensors

    port = Port("y", "int8", (1, 4), "", scale=0.5, zero_point=-7)
    stored = np.array([[-128, -7, 0, 127]], np.int8)

    found = to_real(tensors.Tensor("y", "int8", (1, 4), stored.tobytes()), msgspec.to_builtins(port))

    assert np.array_equal(found, from_port(stored, Tensor("y", "float32", (1, 4)), port))
    assert found.tolist() == [[-60.5, 0.0, 3.5, 67.0]]


def test_what_is_no_picture_or_too_small_is_said_in_one_line(tmp_path, picture):
    port = Port("x", "float32", (1, 3, 24, 24), "nchw")
    (tmp_path / "b.png").write_bytes(b"no picture")

    for path, how, said in (
        (tmp_path / "b.png", Preprocess(), "cannot be decoded"),
        (picture, Preprocess(crop=100), "53x37 pixels before the crop to 100x100"),
        (picture, Preprocess(crop=20), "the engine takes"),
    ):
        with pytest.raises(RunError, match=said):
            read_picture(str(path), descriptor(how, port))
