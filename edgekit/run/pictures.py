"""From a picture to an engine's input and back to the picture's own pixels, as the bundle's descriptor says. Needs numpy and Pillow.

The same steps, filters and rounding as where the engine was judged: EXIF orientation, resize with antialiasing, crop from the
middle, ``(pixel - mean) / std``, the port's layout and integers.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

from .errors import RunError
from .tensors import Tensor


class View(NamedTuple):
    """How a picture lies in the input.

    Attributes:
        scale_x, scale_y: pixels of the input for one of the picture.
        left, top: what was cut off, in pixels of the input.
        width, height: of the picture.
        input_width, input_height: of the input.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int
    input_width: int
    input_height: int


def read_picture(path: str, descriptor: Dict[str, Any]) -> Tuple[Tensor, View]:
    """A picture as the engine's one input.

    Args:
        path: of the picture.
        descriptor: ``inputs`` and ``preprocess`` of a bundle's descriptor.

    Raises:
        RunError: it cannot be decoded, or does not become what the engine takes.
    """
    import numpy as np

    how, port = descriptor["preprocess"], descriptor["inputs"][0]
    picture = _opened(path, how["colour"])
    size = picture.size
    resized = _resized(picture, how, _spatial(port))
    left, top, cropped = _cropped(resized, how["crop"], path)
    pixels = np.asarray(cropped, np.float32)
    if how["colour"] == "grey":
        pixels = pixels[:, :, None]
    if how["colour"] == "bgr":
        pixels = pixels[:, :, ::-1]
    values = (pixels - np.asarray(how["mean"], np.float32)) / np.asarray(how["std"], np.float32)
    laid = values[None] if port["layout"] == "nhwc" else values.transpose(2, 0, 1)[None]
    if len(laid.shape) != len(port["shape"]) or any(type(want) is int and want != have for have, want in zip(laid.shape, port["shape"])):
        raise RunError("feeds", "%s becomes %s, the engine takes %s" % (path, list(laid.shape), port["shape"]))
    stored = np.ascontiguousarray(to_stored(laid, port))
    view = View(resized.width / size[0], resized.height / size[1], left, top, size[0], size[1], cropped.width, cropped.height)
    return Tensor(port["name"], port["dtype"], stored.shape, stored.tobytes()), view


def to_stored(values: Any, port: Dict[str, Any]) -> Any:
    """Real values as a port holds them."""
    import numpy as np

    if port["scale"] is None or values.dtype.kind != "f":
        return values.astype(port["dtype"])
    grid = np.iinfo(port["dtype"])
    return np.clip(np.rint(values / np.float32(port["scale"])) + (port["zero_point"] or 0), grid.min, grid.max).astype(port["dtype"])


def to_real(tensor: Tensor, port: Dict[str, Any]) -> Any:
    """What a port's values stand for, as an array."""
    import numpy as np

    stored = np.frombuffer(tensor.data, tensor.dtype).reshape(tuple(tensor.shape))
    if port["scale"] is None:
        return stored
    return (stored.astype(np.float32) - np.float32(port["zero_point"] or 0)) * np.float32(port["scale"])


def _spatial(port: Dict[str, Any]) -> Tuple[Any, Any]:
    shape = port["shape"]
    height, width = shape[1:3] if port["layout"] == "nhwc" else shape[-2:]
    return height, width


def _opened(path: str, colour: str) -> Any:
    """The picture, upright, with 8 bits a channel; Pillow would cut 16-bit grey off at 255."""
    try:
        import numpy as np
        from PIL import Image, ImageOps
    except ImportError as missing:
        raise RunError("runtime", "Pillow and numpy are needed to read pictures: %s" % missing) from missing
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode.startswith("I"):
                values = np.asarray(picture, np.int64)
                if values.min() < 0 or values.max() > 65535:
                    raise RunError("feeds", "%s: pixels of more than 16 bits" % path)
                return ImageOps.exif_transpose(Image.fromarray((values // 257).astype(np.uint8))).convert("L" if colour == "grey" else "RGB")
            return ImageOps.exif_transpose(picture).convert("L" if colour == "grey" else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as wrong:
        raise RunError("feeds", "%s: cannot be decoded: %s" % (path, wrong)) from wrong


def _resized(picture: Any, how: Dict[str, Any], spatial: Tuple[Any, Any]) -> Any:
    from PIL import Image

    filter_ = getattr(Image, "Resampling", Image)  # Pillow before 9.1 has the filters in the module
    filter_ = getattr(filter_, how["interpolation"].upper())
    short = how["resize_short"]
    if short:
        scale = short / min(picture.size)
        return picture.resize((max(short, round(picture.width * scale)), max(short, round(picture.height * scale))), filter_)
    height, width = how["resize"] or spatial
    if how["resize"] or (how["crop"] is None and type(height) is int and type(width) is int):
        return picture.resize((width, height), filter_)
    return picture


def _cropped(picture: Any, crop: Any, path: str) -> Tuple[int, int, Any]:
    if crop is None:
        return 0, 0, picture
    height, width = (crop, crop) if type(crop) is int else crop
    if picture.height < height or picture.width < width:
        raise RunError("feeds", "%s has %dx%d pixels before the crop to %dx%d" % (path, picture.width, picture.height, width, height))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return left, top, picture.crop((left, top, left + width, top + height))
