"""Keras files and SavedModel folders, opened: runs where TensorFlow may be imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.extras import extra
from edgekit.model import Preprocess
from edgekit.model.signature import RAW_PIXELS, unique

if TYPE_CHECKING:
    import keras

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
        owner: holds the variables; those of a SavedModel go with it.
    """

    call: Callable[..., Sequence[Any]]
    shapes: Mapping[str, tuple[int | None, ...] | None]
    dtypes: Mapping[str, str]
    outputs: tuple[str, ...]
    preprocess: Preprocess | None = None
    owner: Any = None


def opened(source: Path, label: str, *, trust: bool) -> Callee:
    """The computation that a Keras file or a SavedModel folder holds.

    Args:
        source: its path.
        label: what messages call it.
        trust: let Keras load layers that run code of the file.

    Raises:
        SourceError: it cannot be loaded, or does not say what its inputs are.
    """
    return saved_model(source, label) if source.is_dir() else keras_model(loaded(source, label, trust=trust), label)


def loaded(source: Path, label: str, *, trust: bool) -> keras.Model:
    """A Keras model from its file.

    Raises:
        SourceError: Keras cannot load it, or only by running code of the file.
    """
    with extra("keras"):
        import keras
    archive = source.suffix in (".keras", ".h5", ".hdf5")
    if not archive:
        raise SourceError(f"{label}: Keras goes by suffixes, and knows .keras and .h5", hint="rename the file to what it is")
    known = {"DepthwiseConv2D": _depthwise_shim()} if source.suffix != ".keras" else None
    try:
        return keras.models.load_model(source, compile=False, safe_mode=not trust, custom_objects=known)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{label}: Keras cannot load it: {reason}", hint=_remedy(str(error))) from error


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
        # As TensorFlow has them: whoever reads a SavedModel of the Keras model itself finds variables without values.
        owner=[variable.value for variable in model.variables],
    )


def saved_model(source: Path, label: str) -> Callee:
    """The serving signature of a SavedModel.

    Raises:
        SourceError: TensorFlow cannot load it, or it has no one signature to serve by.
    """
    with extra("keras"):
        import tensorflow as tf
    try:
        held = tf.saved_model.load(str(source))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{label}: TensorFlow cannot load it: {reason}", hint="export it again: model.export(FOLDER)") from error
    names = list(held.signatures)
    chosen = "serving_default" if "serving_default" in names else names[0] if len(names) == 1 else ""
    if not chosen:
        said = ", ".join(names) or "none"
        raise SourceError(f"{label}: no signature serving_default; it has {said}", hint="export it again: model.export(FOLDER)")
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
