"""What TensorRT made of a graph: its layers as the engine inspector tells them, with the times of a profile.

Releases differ in words: up to 10 a tensor has ``Format/Datatype`` ("Row major linear FP16 format", "Half"), from 11 on
``Format`` and ``DataType`` apart; ``Metadata`` names the ONNX nodes from 8.6 on, before that the layer's name does.

Sources: "Engine Inspector" in NVIDIA's TensorRT developer guide; tools/experimental/trt-engine-explorer of
github.com/NVIDIA/TensorRT, which reads the same two files.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from edgekit.errors import SourceError
from edgekit.run.trtexec_output import parse_profile

Kind = Literal["int8", "float16", "bfloat16", "float8", "float32", "other"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"bf16|bfloat", "bfloat16"),
    (r"fp8|e4m3", "float8"),
    (r"int8", "int8"),
    (r"fp16|half", "float16"),
    (r"fp32|float", "float32"),
)
_METADATA = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_REFORMAT = "Reformatting CopyNode"


class Side(msgspec.Struct, frozen=True):
    """A tensor of a layer: name, number format, and the whole of what TensorRT says of its form."""

    name: str
    kind: Kind
    form: str


class Layer(msgspec.Struct, frozen=True):
    """A layer of an engine.

    Attributes:
        name: TensorRT's.
        type: TensorRT's, such as ``CaskConvolution``.
        nodes: of the ONNX graph that it stands for, as far as TensorRT says.
        inputs, outputs: its tensors.
        tactic: the kernel.
        ms: mean time of a query; None if it was not profiled.
    """

    name: str
    type: str
    nodes: tuple[str, ...]
    inputs: tuple[Side, ...]
    outputs: tuple[Side, ...]
    tactic: str = ""
    ms: float | None = None

    @property
    def is_reformat(self) -> bool:
        """Whether it does nothing but store numbers in another form."""
        return self.type.lower() == "reformat" or self.name.startswith(_REFORMAT)

    @property
    def kind(self) -> Kind:
        """What it computes in: the format of what it reads first."""
        return self.inputs[0].kind if self.inputs else "other"


def read_layers(information: Any, profile: list[dict[str, Any]] | None = None) -> tuple[Layer, ...]:
    """Layers of an engine, in order.

    Args:
        information: what the inspector, or ``trtexec --exportLayerInfo``, wrote.
        profile: what ``trtexec --exportProfile``, or the builder script's ``--run``, wrote.

    Raises:
        SourceError: it holds no layers, or their names alone.
    """
    rows = information.get("Layers") if isinstance(information, dict) else information
    if not isinstance(rows, list) or not rows:
        raise SourceError("the layer information holds no layers", hint="build with build_engine.py, or trtexec --exportLayerInfo=layers.json")
    if not all(isinstance(row, dict) and "Name" in row for row in rows):
        hint = "build with profiling verbosity DETAILED: build_engine.py does, trtexec with --profilingVerbosity=detailed"
        raise SourceError("the layer information holds names alone", hint=hint)
    spent = parse_profile(profile or [])
    return tuple(_layer(row, spent) for row in rows)


def _layer(row: dict[str, Any], spent: dict[str, float]) -> Layer:
    name = str(row["Name"])
    inputs, outputs = (tuple(_side(each) for each in row.get(key, ()) if isinstance(each, dict)) for key in ("Inputs", "Outputs"))
    return Layer(
        name=name,
        type=str(row.get("LayerType", "")),
        nodes=_nodes(name, str(row.get("Metadata", ""))),
        inputs=inputs,
        outputs=outputs,
        tactic=str(row.get("TacticName", "")),
        ms=spent.get(name),
    )


def _side(tensor: dict[str, Any]) -> Side:
    told = str(tensor.get("Format/Datatype") or f"{tensor.get('DataType', '')} {tensor.get('Format', '')}").strip()
    return Side(name=str(tensor.get("Name", "")), kind=kind_of(str(tensor.get("DataType") or told)), form=told)


def kind_of(told: str) -> Kind:
    """The number format in TensorRT's words."""
    lower = told.lower()
    return next((kind for words, kind in _KINDS if re.search(words, lower)), "other")


def _nodes(name: str, metadata: str) -> tuple[str, ...]:
    if told := _METADATA.findall(metadata):
        return tuple(dict.fromkeys(told))
    if name.startswith(_REFORMAT):
        return ()
    bare = re.sub(r"\bPWN\(|\{ForeignNode\[|\]\}|[()]", "", name)
    return tuple(part.strip() for part in re.split(r" \+ |, |\.\.\.", bare) if part.strip())
