"""Keras and SavedModel to ONNX by tf2onnx: runs where TensorFlow may be imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.extras import extra
from edgekit.graph.onnx_file import save
from edgekit.ingest.feeds import record_parity
from edgekit.ingest.job import EXPORT_FOLDER, Exported, Job
from edgekit.ingest.names import name_constants, number_names, rename
from edgekit.ingest.naming import naming
from edgekit.ingest.shapes import Sizes, pinned
from edgekit.keras_source import Callee, opened
from edgekit.model import Layout, Signature, Tensor
from edgekit.model.store import writing

if TYPE_CHECKING:
    import onnx

    from edgekit.ingest.feeds import Arrays

OPSET = 17
"""The newest in which tf2onnx still writes GlobalAveragePool; from 18 on it is a Transpose and a ReduceMean."""


def convert(job: Job) -> Exported:
    """Export ``job.source`` to a graph below ``job.out``, and its outputs on a few inputs beside it."""
    return export(opened(job.source, job.label, trust=job.options.trust), job)


def export(callee: Callee, job: Job) -> Exported:
    """Write the ONNX graph of a TensorFlow computation, and its outputs on a few inputs."""
    with naming(job.label):
        shapes = pinned(callee.shapes, job.options.shape)
    for name, kind in callee.dtypes.items():
        if kind in ("string", "resource", "variant"):
            raise SourceError(f"{job.label}: input {name} is of type {kind}", hint="cut the model behind its text or lookup layers, and save that")
    proto = _onnx_of(callee, shapes)
    with writing(job.out):
        (job.out / EXPORT_FOLDER).mkdir()
        save(proto, job.out / EXPORT_FOLDER)
    layouts: dict[str, Layout] = {name: "nhwc" for name, sizes in shapes.items() if len(sizes) == 4}
    inputs = tuple(Tensor(name, callee.dtypes[name], sizes, layouts.get(name, "")) for name, sizes in shapes.items())
    signature = Signature(inputs=inputs, outputs=(), preprocess=callee.preprocess)
    with naming(job.label):
        record_parity(_runner(callee), signature, job.out, samples=job.samples, count=job.options.check_samples)
    return Exported(shapes=shapes, layouts=layouts, preprocess=callee.preprocess, did={"exporter_opset": OPSET})


def _onnx_of(callee: Callee, shapes: Mapping[str, Sizes]) -> onnx.ModelProto:
    with extra("keras"):
        import tensorflow as tf
        import tf2onnx
    import onnx

    placeholders = {f"edgekit_input_{index}": name for index, name in enumerate(shapes)}
    specs = [
        tf.TensorSpec([size if isinstance(size, int) else None for size in shapes[name]], callee.dtypes[name], name=placeholder)
        for placeholder, name in placeholders.items()
    ]
    function = tf.function(callee.call)
    with _inlined(), _weights_aside():
        proto, aside = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET, large_model=True)
        captured = _captured(function.get_concrete_function(*specs))
    _put_back(proto.graph, aside.name_to_tensor_data)
    _inputs_to_constants(proto.graph, captured)
    kept = {value.name for value in proto.graph.input}
    for position, (placeholder, name) in enumerate(placeholders.items()):
        if placeholder not in kept:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(callee.dtypes[name]))
            proto.graph.input.insert(position, onnx.helper.make_tensor_value_info(placeholder, kind, shapes[name]))
    outputs = dict(zip((value.name for value in proto.graph.output), callee.outputs, strict=True))
    rename(proto, {**placeholders, **outputs})
    number_names(proto)
    name_constants(proto)
    return proto


@contextmanager
def _inlined() -> Iterator[None]:
    """Functions within what is traced become part of it.

    Keras computes convolutions in groups in a function of its own, to be compiled by XLA, and TensorFlow inlines no such
    function: it would stand in the graph as one call.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextmanager
def _weights_aside() -> Iterator[None]:
    """tf2onnx can keep weights out of the graphs that it copies and optimizes, in a manner that numpy 2 ended.

    ResNet-50 so takes 3.8 GB instead of 6.8, and 11 s instead of 19: measured with tf2onnx 1.17.0 and TensorFlow 2.21.0.
    """
    had = hasattr(np, "product")
    if not had:
        np.product = np.prod  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if not had:
            del np.product  # type: ignore[attr-defined]


def _put_back(graph: onnx.GraphProto, aside: Mapping[str, bytes]) -> None:
    """Weights that were kept aside become those of the graph, and of the graphs in its nodes."""
    import onnx

    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _put_back(attribute.g, aside)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
    for tensor in tensors:
        places = {entry.key: entry.value for entry in tensor.external_data}
        if places:
            tensor.raw_data = aside[places["location"]]
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT


def _captured(function: Any) -> dict[str, Any]:
    """Tensors that a traced function holds on to, such as the mean of a Normalization layer: tf2onnx makes inputs of them."""
    pairs = zip(function.graph.internal_captures, function.captured_inputs, strict=True)
    return {inner.name: value.numpy() for inner, value in pairs if inner.dtype.name != "resource"}


def _inputs_to_constants(graph: onnx.GraphProto, values: Mapping[str, Any]) -> None:
    import onnx

    for value in [value for value in graph.input if value.name in values]:
        graph.initializer.append(onnx.numpy_helper.from_array(values[value.name], value.name))
        graph.input.remove(value)


def _runner(callee: Callee) -> Callable[[Arrays], Arrays]:
    import tensorflow as tf

    def run(feed: Arrays) -> Arrays:
        values = callee.call(*(tf.constant(feed[name]) for name in callee.shapes))
        return {name: np.asarray(value) for name, value in zip(callee.outputs, values, strict=True)}

    return run
