import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.passes.learn import TrainOptions

torch = pytest.importorskip("torch")
pytest.importorskip("kornia")

from edgekit.passes.learn.augment import augmentation  # noqa: E402 - it imports both


def signature(layout, channels=3, colour="rgb"):
    shape = (1, channels, 8, 8) if layout == "nchw" else (1, 8, 8, channels)
    how = Preprocess(mean=(10.0, 20.0, 30.0)[:channels], std=(2.0, 4.0, 8.0)[:channels], colour=colour)
    return Signature(inputs=(Tensor("x", "float32", shape, layout),), outputs=(), preprocess=how)


def pixels(layout, channels=3, count=16):
    """Different numbers in every place, whole ones from 0 to 255, normalized."""
    raw = np.random.default_rng(0).integers(0, 256, (count, 1, channels, 8, 8)).astype(np.float32)
    how = signature("nchw", channels).preprocess
    value = (raw - np.float32(how.mean)[:, None, None]) / np.float32(how.std)[:, None, None]
    return torch.from_numpy(value if layout == "nchw" else np.ascontiguousarray(np.moveaxis(value, 2, -1)))


def changed(x, told, **options):
    torch.manual_seed(0)
    return augmentation(TrainOptions(**options), told, {"x": 1.0})({"x": x})["x"]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_flipped_picture_is_the_picture_or_its_mirror_image(layout):
    x = pixels(layout)
    axis = -1 if layout == "nchw" else -2
    made = changed(x, signature(layout), flip="horizontal")
    same = [bool(torch.allclose(one, other, atol=1e-3)) for one, other in zip(made, x, strict=True)]
    mirrored = [bool(torch.allclose(one, other, atol=1e-3)) for one, other in zip(made, x.flip(axis), strict=True)]
    assert all(one != other for one, other in zip(same, mirrored, strict=True))
    assert 0 < sum(mirrored) < len(x)


def test_a_moved_picture_is_a_part_of_it_with_black_coming_in():
    x = pixels("nchw")
    made = changed(x, signature("nchw"), crop=2)
    black = -torch.tensor([10.0 / 2, 20.0 / 4, 30.0 / 8])
    padded = torch.zeros(16, 3, 12, 12) + black[:, None, None]
    padded[:, :, 2:10, 2:10] = x[:, 0]
    places = [(row, column) for row in range(5) for column in range(5)]
    found = []
    for one, within in zip(made[:, 0], padded, strict=True):
        found += [[at for at in places if torch.allclose(one, within[:, at[0] : at[0] + 8, at[1] : at[1] + 8], atol=1e-3)]]
    assert all(len(one) == 1 for one in found)
    assert len({one[0] for one in found}) > 4


@pytest.mark.parametrize("crop", [8, 9])
def test_a_move_out_of_the_picture_is_refused(crop):
    """Pictures of 8 pixels that are moved by 8 may be black altogether."""
    with pytest.raises(UsageError, match=f"crop = {crop}: pictures of 8 pixels would be moved out of sight") as caught:
        changed(pixels("nchw"), signature("nchw"), crop=crop)

    assert "7 at most" in caught.value.hint
    assert changed(pixels("nchw"), signature("nchw"), crop=7).shape == (16, 1, 3, 8, 8)


def test_brightness_and_noise_of_a_grey_picture_stay_in_range():
    made = changed(pixels("nchw", 1), signature("nchw", 1, "grey"), brightness=0.5, contrast=0.2, noise=0.1)
    assert made.shape == (16, 1, 1, 8, 8)
    assert not torch.allclose(made, pixels("nchw", 1))


def test_colours_of_grey_pictures_are_refused():
    with pytest.raises(UsageError, match=r"saturation = 0\.3: grey pictures have none"):
        changed(pixels("nchw", 1), signature("nchw", 1, "grey"), saturation=0.3)


def test_noise_has_the_wanted_spread_and_none_is_added_to_integers():
    told = Signature(inputs=(Tensor("x", "float32", (1, 100)), Tensor("ids", "int64", (1, 100))), outputs=())
    torch.manual_seed(0)
    inputs = {"x": torch.zeros(50, 1, 100), "ids": torch.ones(50, 1, 100, dtype=torch.int64)}
    made = augmentation(TrainOptions(noise=0.1), told, {"x": 3.0})(inputs)
    assert made["x"].std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(made["ids"], inputs["ids"])


def test_a_picture_of_blue_first_keeps_its_colours():
    """A red picture stays the only bright channel whichever order the channels have."""
    x = torch.full((4, 1, 3, 8, 8), -1.0)
    x[:, :, 2] = 10.0
    told = signature("nchw", colour="bgr")
    made = changed(x, told, saturation=0.2)
    raw = made[:, 0] * torch.tensor([2.0, 4.0, 8.0])[:, None, None] + torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    assert bool((raw.mean((2, 3)).argmax(1) == 2).all())
