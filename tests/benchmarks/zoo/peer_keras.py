"""In the peer's environment (keras, tensorflow): what the zoo needs of Keras.

python peer_keras.py make NAME FOLDER        NAME.keras, and NAME.npz with an input and what the network makes of it
python peer_keras.py convert FOLDER/NAME.keras OUT.tflite     by tf.lite.TFLiteConverter
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np


def make(name: str, folder: Path) -> None:
    """Save the network and its outputs."""
    import keras_nets

    net, given = keras_nets.made(name)
    net.save(folder / f"{name}.keras")
    np.savez(folder / f"{name}.npz", x=given, y0=np.asarray(net(given, training=False)))


def convert(source: Path, out: Path) -> None:
    """As TensorFlow's manual says, from the network, for inputs of one row."""
    import tensorflow as tf

    net = keras.models.load_model(source, compile=False)
    fixed = keras.Input(batch_shape=(1, *net.input_shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, net(fixed)))
    out.write_bytes(converter.convert())


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]))
    else:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
