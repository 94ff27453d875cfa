"""Int8 as the DLA of TensorRT up to 10.7 takes it: a float graph, and the scales beside it as a calibration cache.

That TensorRT puts no layer with Q/DQ on a DLA. Weights become float again at the very values that their integers stand for, so
that TensorRT, which rounds them anew by their largest, finds the same integers.
"""

from __future__ import annotations

import struct

import numpy as np

from edgekit.engine.tensorrt.rules import version_of
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

CACHE_FILE = "calibration.cache"


def to_implicit(graph: Graph) -> dict[str, float]:
    """Take Q/DQ out of a graph, in place.

    Returns:
        The real value of one integer step, by the tensor that was stored so.
    """
    scales: dict[str, float] = {}
    for node in graph.walk("DequantizeLinear"):
        quantize = graph.maker(node.inputs[0], "QuantizeLinear")
        scale = graph.constant(node.input(1))
        if scale is None:
            continue
        if quantize is None:
            _fold_weights(graph, node, scale)
            continue
        source, output = quantize.inputs[0], node.outputs[0]
        if not graph.can_bypass(node, source):
            continue
        if scale.size == 1 and not graph.is_constant(source):
            scales[output if output in graph.pinned else source] = float(scale.reshape(()))
        graph.bypass(node, source)
        graph.sweep(quantize)
    return scales


def _fold_weights(graph: Graph, node: Node, scale: np.ndarray) -> None:
    integers = graph.constant(node.inputs[0])
    if integers is None or node.outputs[0] in graph.pinned or node.get("block_size", 0):
        return
    along = [1] * integers.ndim
    if scale.size > 1:
        along[node.get("axis", 1)] = scale.size
    values = integers.astype(np.float32) * scale.astype(np.float32).reshape(along if scale.size > 1 else ())
    graph.remove(node)
    graph.name_constant(node.outputs[0], values.astype(np.float32))


def calibration_cache(scales: dict[str, float], release: str) -> bytes:
    """The text that TensorRT's entropy calibrator reads: a tensor a line, its scale as the bits of a float32.

    TensorRT 10 does not take a cache whose first line names another release, so it has to be the board's.

    Args:
        scales: real value of one integer step, by tensor.
        release: of TensorRT, ``10.3.0``.

    Source:
        github.com/NVIDIA/Deep-Learning-Accelerator-SW, tools/qdq-translator: header ``TRT-8600-EntropyCalibration2``, lines
        ``name: hex``. The number is NV_TENSORRT_VERSION: 8502 of 8.5.2 (1000, 100, 1), 100300 of 10.3.0 (10000, 100, 1).
    """
    major, minor, patch = (*version_of(release), 0, 0)[:3]
    number = major * (10000 if major >= 10 else 1000) + minor * 100 + patch
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join([f"TRT-{number}-EntropyCalibration2", *lines, ""]).encode()
