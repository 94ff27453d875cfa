"""TFLite's metadata as a flatbuffer: plain dictionaries in, bytes out, and back.

The tables below are the schema's, field by field in its order, so that a field's place is its id in the flatbuffer
(a union takes two: which table it is, and that table). Dictionaries have the form of the schema's JSON: enums by name,
fields that are not there left out.

Source:
    tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs, version 1.1.0, file identifier M001.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.extras import extra

IDENTIFIER = b"M001"
ROOT = "ModelMetadata"

Tree = dict[str, Any]

_FILES = "AssociatedFile[]"
_TABLES: Mapping[str, Mapping[str, str]] = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "SubGraphMetadata[]",
        "author": "string",
        "license": "string",
        "associated_files": _FILES,
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "TensorMetadata[]",
        "output_tensor_metadata": "TensorMetadata[]",
        "associated_files": _FILES,
        "input_process_units": "ProcessUnit[]",
        "output_process_units": "ProcessUnit[]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "string[]",
        "content": "Content",
        "process_units": "ProcessUnit[]",
        "stats": "Stats",
        "associated_files": _FILES,
    },
    "AssociatedFile": {"name": "string", "description": "string", "type": "AssociatedFileType", "locale": "string"},
    "Content": {"content_properties_type": "ContentProperties", "content_properties": "union", "range": "ValueRange"},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": "ColorSpaceType", "default_size": "ImageSize"},
    "ImageSize": {"width": "uint", "height": "uint"},
    "BoundingBoxProperties": {"index": "uint[]", "type": "BoundingBoxType", "coordinate_type": "CoordinateType"},
    "ValueRange": {"min": "int", "max": "int"},
    "ProcessUnit": {"options_type": "ProcessUnitOptions", "options": "union"},
    "NormalizationOptions": {"mean": "float[]", "std": "float[]"},
    "ScoreCalibrationOptions": {"score_transformation": "ScoreTransformationType", "default_score": "float"},
    "ScoreThresholdingOptions": {"global_score_threshold": "float"},
    "BertTokenizerOptions": {"vocab_file": _FILES},
    "SentencePieceTokenizerOptions": {"sentencePiece_model": _FILES, "vocab_file": _FILES},
    "Stats": {"max": "float[]", "min": "float[]"},
}
_ENUMS: Mapping[str, tuple[str, ...]] = {
    "AssociatedFileType": (
        "UNKNOWN",
        "DESCRIPTIONS",
        "TENSOR_AXIS_LABELS",
        "TENSOR_VALUE_LABELS",
        "TENSOR_AXIS_SCORE_CALIBRATION",
        "VOCABULARY",
    ),
    "ColorSpaceType": ("UNKNOWN", "RGB", "GRAYSCALE"),
    "BoundingBoxType": ("UNKNOWN", "BOUNDARIES", "UPPER_LEFT", "CENTER"),
    "CoordinateType": ("RATIO", "PIXEL"),
    "ScoreTransformationType": ("IDENTITY", "LOG", "INVERSE_LOGISTIC"),
    "ContentProperties": ("NONE", "FeatureProperties", "ImageProperties", "BoundingBoxProperties"),
    "ProcessUnitOptions": (
        "NONE",
        "NormalizationOptions",
        "ScoreCalibrationOptions",
        "ScoreThresholdingOptions",
        "BertTokenizerOptions",
        "SentencePieceTokenizerOptions",
    ),
}
_NUMBERS = {"uint": struct.Struct("<I"), "int": struct.Struct("<i"), "float": struct.Struct("<f"), "enum": struct.Struct("<B")}


def packed(tree: Tree) -> bytes:
    """The flatbuffer of a ``ModelMetadata``.

    Raises:
        KeyError, ValueError: it has a field or an enum's name that the schema does not have.
    """
    with extra("tflite"):
        import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, ROOT, tree), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def unpacked(content: bytes) -> Tree:
    """The ``ModelMetadata`` that a flatbuffer holds, of whatever origin; fields of newer schemas are passed over.

    Raises:
        ValueError, struct.error, IndexError: it is none, or damaged.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError("the metadata does not say M001 behind its first four bytes")
    return _Reader(content).table(_read(_NUMBERS["uint"], content, 0), ROOT)


def _table(builder: Any, name: str, tree: Tree) -> int:
    fields = _TABLES[name]
    if unknown := tree.keys() - fields.keys():
        raise KeyError(f"{name} has no field {sorted(unknown)[0]}")
    held = {field: _offset(builder, fields[field], tree[field], tree.get(f"{field}_type", "")) for field in tree if _is_apart(fields[field])}
    builder.StartObject(len(fields))
    for slot, (field, kind) in enumerate(fields.items()):
        if field in held:
            builder.PrependUOffsetTRelativeSlot(slot, held[field], 0)
        elif field in tree and kind in _ENUMS:
            builder.PrependUint8Slot(slot, _ENUMS[kind].index(tree[field]), 0)
        elif field in tree:
            {"uint": builder.PrependUint32Slot, "int": builder.PrependInt32Slot, "float": builder.PrependFloat32Slot}[kind](slot, tree[field], 0)
    return int(builder.EndObject())


def _is_apart(kind: str) -> bool:
    """Whether a field of this kind lies outside its table."""
    return kind not in _NUMBERS and kind not in _ENUMS


def _offset(builder: Any, kind: str, value: Any, table: str) -> int:
    """Write what lies outside the table that speaks of it; ``table`` is which one of a union it is."""
    if kind == "string":
        return int(builder.CreateString(value))
    if not kind.endswith("[]"):
        return _table(builder, table if kind == "union" else kind, value)
    each = kind[:-2]
    prepend: Callable[[Any], None] = builder.PrependUOffsetTRelative
    if each in _NUMBERS:
        prepend, items = {"uint": builder.PrependUint32, "float": builder.PrependFloat32}[each], list(value)
    else:
        items = [_offset(builder, each, one, "") for one in value]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        prepend(item)
    return int(builder.EndVector())


def _read(number: struct.Struct, content: bytes, at: int) -> Any:
    if at < 0:
        raise ValueError("an offset points before the first byte")
    return number.unpack_from(content, at)[0]


class _Reader:
    """Reads a buffer that anybody may have written: it never reads more items than the buffer has room for."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = len(content)

    def table(self, at: int, name: str) -> Tree:
        """The table at a place, as a dictionary."""
        self._spend(1)
        start = at - _read(_NUMBERS["int"], self._content, at)
        size = _read(struct.Struct("<H"), self._content, start)
        tree: Tree = {}
        for slot, (field, kind) in enumerate(_TABLES[name].items()):
            entry = 4 + 2 * slot
            offset = _read(struct.Struct("<H"), self._content, start + entry) if entry + 2 <= size else 0
            if offset:
                self._take(tree, field, kind, at + offset)
        return tree

    def _take(self, tree: Tree, field: str, kind: str, at: int) -> None:
        """Put one field into a tree; a name that only a newer schema knows becomes its number, its table is left out."""
        if kind in _ENUMS:
            number, names = _read(_NUMBERS["enum"], self._content, at), _ENUMS[kind]
            tree[field] = names[number] if number < len(names) else str(number)
        elif kind in _NUMBERS:
            tree[field] = _read(_NUMBERS[kind], self._content, at)
        elif kind != "union":
            tree[field] = self._apart(kind, self._target(at))
        elif tree.get(f"{field}_type", "NONE") in _TABLES:
            tree[field] = self.table(self._target(at), tree[f"{field}_type"])

    def _apart(self, kind: str, at: int) -> Any:
        if kind in _TABLES:
            return self.table(at, kind)
        count, start = int(_read(_NUMBERS["uint"], self._content, at)), at + 4
        self._spend(count)
        if kind == "string":
            return self._content[start : start + count].decode(errors="replace")
        each, places = kind[:-2], range(start, start + 4 * count, 4)
        if each in _NUMBERS:
            return [_read(_NUMBERS[each], self._content, place) for place in places]
        return [self._apart(each, self._target(place)) for place in places]

    def _target(self, at: int) -> int:
        return at + int(_read(_NUMBERS["uint"], self._content, at))

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("it speaks of more than it has room for")
