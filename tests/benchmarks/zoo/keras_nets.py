"""Networks for edge devices in Keras, with random weights of a seed: ``keras.applications``, and own definitions of what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

PICTURE = (224, 224, 3)


def application(name: str, shape: tuple[int, int, int] = PICTURE, **settings: Any) -> Callable[[], keras.Model]:
    """A network of ``keras.applications`` that returns logits."""
    return lambda: getattr(keras.applications, name)(weights=None, input_shape=shape, classifier_activation=None, **settings)


def ds_cnn() -> keras.Model:
    """Zhang et al., arXiv:1711.07128: keywords in a spectrogram of 49 x 10."""
    x = given = layers.Input((49, 10, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(64, (10, 4), 2, padding="same", use_bias=False)(x)))
    for _ in range(4):
        x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(64, 1, use_bias=False)(x)))
    return keras.Model(given, layers.Dense(12)(layers.GlobalAveragePooling2D()(x)))


def unet() -> keras.Model:
    """Ronneberger et al., arXiv:1505.04597, with padding, narrow."""

    def two(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(x)))
        return x

    x = given = layers.Input((128, 128, 3))
    kept = []
    for width in (16, 32, 64):
        kept.append(two(x, width))
        x = layers.MaxPooling2D()(kept[-1])
    x = two(x, 128)
    for width, skip in zip((64, 32, 16), reversed(kept), strict=True):
        x = layers.Conv2DTranspose(width, 2, 2)(x) if width > 16 else layers.UpSampling2D(interpolation="bilinear")(x)
        x = two(layers.Concatenate()([skip, x]), width)
    return keras.Model(given, layers.Conv2D(2, 1)(x))


def deeplab() -> keras.Model:
    """DeepLabV3 (Chen et al., arXiv:1706.05587) on MobileNetV2: dilated branches, pooled branch, bilinear resizing."""
    base = application("MobileNetV2", (256, 256, 3), include_top=False)()
    x = base.get_layer("block_12_add").output
    branches = [layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(64, 1, use_bias=False)(x)))]
    for rate in (2, 4, 6):
        depthwise = layers.SeparableConv2D(64, 3, padding="same", dilation_rate=rate, use_bias=False)(x)
        branches.append(layers.ReLU()(layers.BatchNormalization()(depthwise)))
    pooled = layers.Conv2D(64, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    branches.append(layers.Resizing(16, 16)(pooled))
    x = layers.Conv2D(21, 1)(layers.Concatenate()(branches))
    return keras.Model(base.input, layers.Resizing(256, 256)(x))


def lstm() -> keras.Model:
    """Two LSTM layers over 32 steps."""
    x = given = layers.Input((32, 40))
    x = layers.LSTM(64)(layers.LSTM(64, return_sequences=True)(x))
    return keras.Model(given, layers.Dense(12)(x))


def gru() -> keras.Model:
    """A bidirectional GRU over 32 steps."""
    x = given = layers.Input((32, 40))
    x = layers.GlobalAveragePooling1D()(layers.Bidirectional(layers.GRU(48, return_sequences=True))(x))
    return keras.Model(given, layers.Dense(12)(x))


def autoencoder() -> keras.Model:
    """Pictures of 32 x 32 through 16 numbers and back."""
    x = given = layers.Input((32, 32, 3))
    for width in (16, 32):
        x = layers.Conv2D(width, 3, 2, padding="same", activation="relu")(x)
    x = layers.Dense(16)(layers.Flatten()(x))
    x = layers.Reshape((8, 8, 32))(layers.Dense(2048)(x))
    x = layers.Conv2DTranspose(16, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(given, layers.Conv2DTranspose(3, 3, 2, padding="same", activation="sigmoid")(x))


def transformer() -> keras.Model:
    """Two blocks of attention over 64 rows of 96 numbers."""
    x = given = layers.Input((64, 96))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 24)(y, y)])
        y = layers.Dense(192, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(96)(y)])
    return keras.Model(given, layers.Dense(12)(layers.GlobalAveragePooling1D()(x)))


def tones() -> keras.Model:
    """One-dimensional convolutions on 1 s of 8 kHz."""
    x = given = layers.Input((8000, 1))
    for width, size, stride in ((32, 80, 16), (32, 3, 1), (64, 3, 1), (64, 3, 1)):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(width, size, stride, use_bias=False)(x)))
        x = layers.MaxPooling1D(4)(x)
    return keras.Model(given, layers.Dense(35)(layers.GlobalAveragePooling1D()(x)))


NETS: dict[str, Callable[[], keras.Model]] = {
    "mobilenet_v1": application("MobileNet"),
    "mobilenet_v2": application("MobileNetV2"),
    "mobilenet_v3_small": application("MobileNetV3Small"),
    "mobilenet_v3_large": application("MobileNetV3Large"),
    "efficientnet_b0": application("EfficientNetB0"),
    "efficientnet_v2_b0": application("EfficientNetV2B0"),
    "resnet50": application("ResNet50"),
    "resnet50_v2": application("ResNet50V2"),
    "nasnet_mobile": application("NASNetMobile"),
    "densenet121": application("DenseNet121"),
    "xception": application("Xception"),
    "inception_v3": application("InceptionV3"),
    "convnext_tiny": application("ConvNeXtTiny"),
    "deeplab_v3": deeplab,
    "unet": unet,
    "ds_cnn": ds_cnn,
    "tones": tones,
    "lstm": lstm,
    "gru": gru,
    "autoencoder": autoencoder,
    "transformer": transformer,
}


def made(name: str) -> tuple[keras.Model, np.ndarray]:
    """The network, its statistics of batch normalization drawn at random, and an example input."""
    keras.utils.set_random_seed(0)
    net, random = NETS[name](), np.random.default_rng(1)
    for layer in net._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            names = [weight.name for weight in layer.weights]
            drawn = [
                random.uniform(0.8, 1.2, w.shape) if n in ("gamma", "moving_variance") else random.normal(0, 0.1, w.shape)
                for n, w in zip(names, layer.weights, strict=True)
            ]
            layer.set_weights(drawn)
    shape = (1, *net.input_shape[1:])
    pictures = len(shape) == 4 and shape[-1] == 3
    return net, (random.uniform(0, 255, shape) if pictures else random.normal(0, 1, shape)).astype(np.float32)
