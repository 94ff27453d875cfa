"""A TFLite file as a :class:`Network`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.engine.tflite.delegates.network import Network, Operator, Tensor, few_numbers
from edgekit.engine.tflite.file import op_name, opened, sound_tables, text_of

_ENUMS = {
    "padding": "Padding",
    "fusedActivationFunction": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "weightsFormat": "FullyConnectedOptionsWeightsFormat",
}


def read_network(path: Path) -> Network:
    """The first subgraph of a TFLite file; nothing in it is run.

    Raises:
        SourceError: it cannot be read, or is no TFLite file.
        ExtraMissingError: ``edgekit[tflite]`` is not installed.
    """
    schema, model = opened(path)
    with sound_tables(path):
        graph = model.subgraphs[0]
        types = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
        tensors = tuple(_tensor(one, types, model.buffers) for one in graph.tensors)
        codes = [(op_name(schema, code), int(code.version)) for code in model.operatorCodes or ()]
        operators = graph.operators if graph.operators is not None else []
        return Network(tensors, tuple(_operator(schema, one, codes, tensors) for one in operators))


def _tensor(one: Any, types: dict[int, str], buffers: list[Any]) -> Tensor:
    dtype, shape = types[one.type], tuple(abs(int(size)) for size in one.shape) if one.shape is not None else ()
    content = buffers[one.buffer].data
    is_constant = one.buffer > 0 and content is not None
    quantization = one.quantization
    has_scales = quantization is not None and quantization.scale is not None
    return Tensor(
        name=text_of(one.name),
        shape=shape,
        dtype=dtype,
        scales=tuple(float(scale) for scale in quantization.scale) if has_scales else (),
        zero_points=tuple(int(zero) for zero in quantization.zeroPoint) if has_scales and quantization.zeroPoint is not None else (),
        axis=int(quantization.quantizedDimension) if has_scales else 0,
        is_constant=is_constant,
        numbers=few_numbers(np.asarray(content, np.uint8), dtype, math.prod(shape)) if is_constant else None,
    )


def _operator(schema: Any, one: Any, codes: list[tuple[str, int]], tensors: tuple[Tensor, ...]) -> Operator:
    op, version = codes[one.opcodeIndex]
    inputs, outputs = (tuple(int(index) for index in ones) if ones is not None else () for ones in (one.inputs, one.outputs))
    return Operator(
        node=tensors[outputs[0]].name if outputs else op,
        op=op,
        version=version,
        inputs=inputs,
        outputs=outputs,
        options=_options(schema, one.builtinOptions),
    )


def _options(schema: Any, table: Any) -> dict[str, Any]:
    """The fields of an options table under the schema's names, enums by theirs."""
    if table is None:
        return {}
    found = {name: value for name, value in vars(table).items() if not name.startswith("_")}
    for name, kind in _ENUMS.items():
        if name in found:
            found[name] = next((word for word, value in vars(getattr(schema, kind)).items() if value == found[name]), found[name])
    return {re.sub(r"^[A-Z]", lambda first: first[0].lower(), name): value for name, value in found.items()}
