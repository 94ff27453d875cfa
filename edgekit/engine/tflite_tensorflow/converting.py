"""TensorFlow's own converter at work: runs in a child process, where TensorFlow may be imported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgekit.engine.tflite_tensorflow.modes import Mode
from edgekit.extras import extra
from edgekit.keras_source import Callee, opened
from edgekit.model import Signature
from edgekit.samples import Samples

_SIGNATURE = "serving_default"


class Order(msgspec.Struct, frozen=True):
    """A source to convert.

    Attributes:
        label: what messages call it.
        source: Keras file or SavedModel folder.
        out: the file to write.
        mode: what the converter shall make.
        signature: of the Model that was made of the same source: sizes, and how samples become inputs.
        samples: those that calibrate set the ranges of activations.
        trust: let Keras load layers that run code of the file.
    """

    label: str
    source: Path
    out: Path
    mode: Mode
    signature: Signature
    samples: Samples | None = None
    trust: bool = False


class Converted(msgspec.Struct, frozen=True):
    """How it went; ``refused`` is why nothing was written."""

    refused: str = ""


def convert(order: Order) -> Converted:
    """Write the TFLite file that TensorFlow makes of a source."""
    with extra("keras"):
        import tensorflow as tf
        from tensorflow.lite.python.convert_phase import ConverterError

    callee = opened(order.source, order.label, trust=order.trust)
    with tempfile.TemporaryDirectory(dir=order.out.parent) as folder:
        _save(callee, order.signature, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE])
        _ask(converter, order)
        try:
            order.out.write_bytes(converter.convert())
        except (ConverterError, ValueError, RuntimeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Converted(refused=next((line for line in lines if "error:" in line), lines[0] if lines else type(error).__name__))
    return Converted()


def _save(callee: Callee, signature: Signature, folder: str) -> None:
    """A SavedModel of a computation: inputs and outputs are numbered, since names of either need be no words to TensorFlow.

    A converter that is handed the traced function itself forgets a Keras 3 model's weights without a word.
    """
    import tensorflow as tf

    specs = [tf.TensorSpec(one.shape, one.dtype, name=f"input_{index}") for index, one in enumerate(signature.inputs)]

    def call(*values: Any) -> dict[str, Any]:
        return {f"output_{index}": value for index, value in enumerate(callee.call(*values))}

    holder = tf.Module()
    holder.owner = callee.owner
    holder.call = tf.function(call, input_signature=specs)
    tf.saved_model.save(holder, folder, signatures={_SIGNATURE: holder.call.get_concrete_function()})


def _ask(converter: Any, order: Order) -> None:
    """Set what the converter shall make, as TensorFlow's guide to post-training quantization has it."""
    import tensorflow as tf

    if order.mode == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if order.mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if order.samples is not None:
        converter.representative_dataset = _feeds(order.samples, order.signature)
    if order.mode == "int16":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen, tf.lite.OpsSet.TFLITE_BUILTINS]


def _feeds(samples: Samples, signature: Signature) -> Callable[[], Iterator[dict[str, Any]]]:
    def feeds() -> Iterator[dict[str, Any]]:
        for feed in samples.feeds("calibrating", signature):
            yield {f"input_{index}": feed[one.name] for index, one in enumerate(signature.inputs)}

    return feeds
