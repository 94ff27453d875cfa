"""Keras and SavedModel to ONNX by tf2onnx: runs where TensorFlow may be imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.extras import extra
from edgekit.graph.onnx_file import save
from edgekit.ingest.feeds import RAW_PIXELS, record_parity
from edgekit.ingest.job import EXPORT_FOLDER, Exported, Job
from edgekit.ingest.names import name_constants, number_names, rename, unique
from edgekit.ingest.naming import naming
from edgekit.ingest.shapes import Sizes, pinned
from edgekit.ingest.sniff import Kind
from edgekit.model import Layout, Preprocess, Signature, Tensor
from edgekit.model.store import writing

if TYPE_CHECKING:
    import keras
    import onnx

    from edgekit.ingest.feeds import Arrays

OPSET = 17
"""The newest in which tf2onnx still writes GlobalAveragePool; from 18 on it is a Transpose and a ReduceMean."""

_RAW_RESCALING_MAX = 1 / 64
_PIXEL_MEAN_MIN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A TensorFlow computation with flat inputs and outputs.

    Attributes:
        call: tensors in, tensors out.
        shapes: sizes of the inputs by name, in order; None for an open size, None if not even the rank is known.
        dtypes: of the inputs.
        outputs: names of the outputs, in order.
        preprocess: if the first layers show that the input is raw pixels.
        owner: what must live as long as ``call``: the variables of a SavedModel go with it.
    """

    call: Callable[..., Sequence[Any]]
    shapes: Mapping[str, tuple[int | None, ...] | None]
    dtypes: Mapping[str, str]
    outputs: tuple[str, ...]
    preprocess: Preprocess | None = None
    owner: Any = None


def convert(job: Job) -> Exported:
    """Export ``job.source`` to a graph below ``job.out``, and its outputs on a few inputs beside it."""
    callee = saved_model(job) if job.kind is Kind.SAVEDMODEL else keras_model(loaded(job), job.label)
    return export(callee, job)


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


def loaded(job: Job) -> keras.Model:
    """A Keras model from its file.

    Raises:
        SourceError: Keras cannot load it, or only by running code of the file.
    """
    with extra("keras"):
        import keras
    archive = job.source.suffix in (".keras", ".h5", ".hdf5")
    if not archive:
        raise SourceError(f"{job.label}: Keras goes by suffixes, and knows .keras and .h5", hint="rename the file to what it is")
    known = {"DepthwiseConv2D": _depthwise_shim()} if job.source.suffix != ".keras" else None
    try:
        return keras.models.load_model(job.source, compile=False, safe_mode=not job.options.trust, custom_objects=known)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{job.label}: Keras cannot load it: {reason}", hint=_remedy(str(error))) from error


def keras_model(model: keras.Model, label: str) -> Callee:
    """A Keras model with inputs of known names."""
    import keras

    tensors = keras.tree.flatten(model.inputs) if getattr(model, "inputs", None) else []
    if not tensors:
        hint = "make it functional: inputs = keras.Input(SHAPE), keras.Model(inputs, model(inputs))"
        raise SourceError(f"{label}: this Keras model does not say what its inputs are", hint=hint)
    structure = getattr(model, "_inputs_struct", None)

    def call(*values: Any) -> Sequence[Any]:
        packed = keras.tree.pack_sequence_as(structure, list(values)) if structure is not None else values[0]
        return list(keras.tree.flatten(model(packed, training=False)))

    names = unique(_layer_names(tensors))
    return Callee(
        call=call,
        shapes={name: tuple(tensor.shape) for name, tensor in zip(names, tensors, strict=True)},
        dtypes={name: str(tensor.dtype) for name, tensor in zip(names, tensors, strict=True)},
        outputs=tuple(unique([*names, *_output_names(model)])[len(names) :]),
        preprocess=_preprocess(model),
    )


def saved_model(job: Job) -> Callee:
    """The serving signature of a SavedModel.

    Raises:
        SourceError: TensorFlow cannot load it, or it has no one signature to serve by.
    """
    with extra("keras"):
        import tensorflow as tf
    try:
        held = tf.saved_model.load(str(job.source))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{job.label}: TensorFlow cannot load it: {reason}", hint="export it again: model.export(FOLDER)") from error
    names = list(held.signatures)
    chosen = "serving_default" if "serving_default" in names else names[0] if len(names) == 1 else ""
    if not chosen:
        said = ", ".join(names) or "none"
        raise SourceError(f"{job.label}: no signature serving_default; it has {said}", hint="export it again: model.export(FOLDER)")
    signature = held.signatures[chosen]
    specs: dict[str, Any] = signature.structured_input_signature[1]
    inputs = {name: specs[name] for name in sorted(specs, key=_by_number)}
    outputs = sorted(signature.structured_outputs, key=_by_number)

    def call(*values: Any) -> Sequence[Any]:
        found = signature(**dict(zip(inputs, values, strict=True)))
        return [found[name] for name in outputs]

    return Callee(
        call=call,
        shapes={name: None if spec.shape.rank is None else tuple(spec.shape) for name, spec in inputs.items()},
        dtypes={name: spec.dtype.name for name, spec in inputs.items()},
        outputs=tuple(outputs),
        owner=held,
    )


def _by_number(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts ``output_2`` before ``output_10``: a SavedModel keeps no order."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


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
    with _inlined():
        proto, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
        captured = _captured(function.get_concrete_function(*specs))
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


def _output_names(model: keras.Model) -> list[str]:
    """The keys of a dictionary of outputs, otherwise the names of the layers that make them."""
    import keras

    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict):
        return [".".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(structure)]
    return _layer_names(keras.tree.flatten(model.outputs))


def _layer_names(tensors: Sequence[Any]) -> list[str]:
    """Names of the layers that make these tensors; the tensors' own are numbers of the session for want of better."""
    return [str(tensor._keras_history.operation.name) for tensor in tensors]


def _preprocess(model: keras.Model) -> Preprocess | None:
    """Raw pixels, if the first thing that the only image input meets is a layer that scales pixels."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        return None
    users = _users_of_input(model)
    if not users or not all(map(_scales_pixels, users)):
        return None
    return Preprocess(colour="grey") if model.inputs[0].shape[-1] == 1 else RAW_PIXELS


def _users_of_input(model: keras.Model) -> list[Any]:
    import keras

    if isinstance(model, keras.Sequential):
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)][:1]
    else:
        tensor = model.inputs[0]
        operations = getattr(model, "operations", model.layers)
        layers = [
            operation
            for operation in operations
            if any(any(given is tensor for given in keras.tree.flatten(node.input_tensors)) for node in operation._inbound_nodes)
        ]
    found: list[Any] = []
    for layer in layers:
        found += _users_of_input(layer) if isinstance(layer, keras.Model) and len(layer.inputs) == 1 else [layer]
    return found


def _scales_pixels(layer: Any) -> bool:
    """Whether a layer expects 0 to 255: others of its kind expect 0 to 1."""
    import keras

    if isinstance(layer, keras.layers.Rescaling):
        return bool(np.max(np.abs(np.asarray(layer.scale, np.float64))) <= _RAW_RESCALING_MAX)
    if isinstance(layer, keras.layers.Normalization):
        return bool(layer.mean is not None and np.max(np.asarray(layer.mean)) >= _PIXEL_MEAN_MIN)
    return False


def _depthwise_shim() -> type:
    """Keras 2 saved ``groups`` with this layer, which Keras 3 does not take; it never had an effect there."""
    import keras

    layer = keras.layers.DepthwiseConv2D

    def from_config(config: dict[str, Any]) -> Any:
        return layer.from_config({key: value for key, value in config.items() if key != "groups"})

    return type(layer.__name__, (layer,), {"from_config": staticmethod(from_config)})


def _remedy(reason: str) -> str:
    if "unsafe" in reason or "safe_mode" in reason or "safe mode" in reason:
        return "--trust loads it all the same; do so only if you know who made the file"
    if "Could not locate" in reason or "Unknown layer" in reason or "custom" in reason:
        return "it has layers of its own: give the live model to edgekit.build() from Python, or model.export(FOLDER) and give that"
    if "No model config" in reason or "no model" in reason.lower():
        return "the file holds weights only: model.save('net.keras') saves the network with them"
    return "with the Keras it was made with: model.export(FOLDER), and give that folder"
