"""What a TFLite file says of how it is called, for tools that read it: MediaPipe Tasks, Android Studio, Netron.

All of it is the signature's; what that does not know is left out. Associated files are a zip behind the flatbuffer,
its offsets counted from the file's first byte, as tflite-support appends them; not compressed, so that a reader who maps
the file finds them as they are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgekit.engine.contract import Port
from edgekit.engine.tflite.metadata_tables import Tree, packed
from edgekit.model import Preprocess, Signature

ENTRY = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
_PARSER_VERSION = "1.0.0"
"""No field is written that came later; see the schema's history."""
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
_LARGEST_PIXEL = 255.0


def metadata_of(signature: Signature, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> bytes:
    """The flatbuffer of the entry ``TFLITE_METADATA``.

    Args:
        signature: what is known of the model.
        inputs, outputs: the engine's ports, in the file's order.
    """
    picture, labelled = _picture(signature, inputs), _labelled(signature, outputs)
    graph = {
        "input_tensor_metadata": [_of_picture(port, signature.preprocess) if port is picture else {"name": port.name} for port in inputs],
        "output_tensor_metadata": [_of_classes(port) if port is labelled else {"name": port.name} for port in outputs],
    }
    return packed({"subgraph_metadata": [graph], "min_parser_version": _PARSER_VERSION})


def files_of(signature: Signature, outputs: tuple[Port, ...]) -> dict[str, bytes]:
    """The files that the metadata speaks of, by name."""
    if _labelled(signature, outputs) is None:
        return {}
    return {LABELS_FILE: "".join(f"{' '.join(label.split())}\n" for label in signature.labels).encode()}


def append_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Append files to a TFLite file; the same files give the same bytes, whatever the day."""
    if not files:
        return
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _FIRST_DATE), content)


def _picture(signature: Signature, inputs: tuple[Port, ...]) -> Port | None:
    """The input that pictures become, if the signature says how."""
    if signature.preprocess is None or len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    return inputs[0]


def _labelled(signature: Signature, outputs: tuple[Port, ...]) -> Port | None:
    """The first output that has one number a label."""
    return next((port for port in outputs if signature.labels and _classes(port) == len(signature.labels)), None)


def _classes(port: Port) -> int:
    """How many classes a port has: its last size, where all before it are 1."""
    return int(port.shape[-1]) if len(port.shape) > 1 and all(size == 1 for size in port.shape[:-1]) else 0


def _of_picture(port: Port, how: Preprocess | None) -> Tree:
    assert how is not None
    tree: Tree = {"name": port.name, "description": _described(how, port)}
    if port.layout == "nhwc":  # whoever reads of an image takes its channels to be last
        image: Tree = {"color_space": {"rgb": "RGB", "grey": "GRAYSCALE", "bgr": "UNKNOWN"}[how.colour]}
        image["default_size"] = {"width": int(port.shape[2]), "height": int(port.shape[1])}
        tree["content"] = {"content_properties_type": "ImageProperties", "content_properties": image}
    count = max(len(how.mean), len(how.std))  # readers want as many of the one as of the other
    means, stds = (list(values * count if len(values) == 1 else values) for values in (how.mean, how.std))
    tree["process_units"] = [{"options_type": "NormalizationOptions", "options": {"mean": means, "std": stds}}]
    if port.dtype == "float32":
        largest, least = ([(pixel - mean) / std for mean, std in zip(means, stds, strict=True)] for pixel in (_LARGEST_PIXEL, 0.0))
        tree["stats"] = {"max": largest, "min": least}
    return tree


def _described(how: Preprocess, port: Port) -> str:
    """The way from a decoded picture to this input, in words."""
    steps = [f"{'grey' if how.colour == 'grey' else how.colour.upper()} picture"]
    if how.resize_short is not None:
        steps.append(f"shorter side resized to {how.resize_short} ({how.interpolation})")
    elif how.resize is not None:
        steps.append(f"resized to {_size(how.resize)} ({how.interpolation})")
    if how.crop is not None:
        steps.append(f"middle {_size((how.crop, how.crop) if isinstance(how.crop, int) else how.crop)} cut out")
    steps.append(f"(pixel - {_listed(how.mean)}) / {_listed(how.std)}")
    return "; ".join(steps) + ("" if port.layout != "nchw" else "; channels first")


def _size(sizes: tuple[int, int]) -> str:
    return f"{sizes[0]} x {sizes[1]} (height x width)"


def _listed(values: Iterable[float]) -> str:
    words = [f"{value:g}" for value in values]
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _of_classes(port: Port) -> Tree:
    file = {"name": LABELS_FILE, "description": "The names of the classes, one a line.", "type": "TENSOR_AXIS_LABELS"}
    return {
        "name": port.name,
        "description": f"One number a class; {LABELS_FILE} names them.",
        "content": {"content_properties_type": "FeatureProperties", "content_properties": {}},
        "associated_files": [file],
    }
