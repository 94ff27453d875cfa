"""The Kotlin snippet for Android. Its preprocessing gives the same values as Pillow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from string import Template
from textwrap import indent

from edgekit.engine.contract import Port
from edgekit.engine.snippet.cpp import TYPES, limits
from edgekit.engine.snippet.facts import Facts, Picture
from edgekit.engine.snippet.python import wrapped
from edgekit.engine.snippet.templates import template

PACKAGES = {"tflite": "com.google.ai.edge.litert:litert:1.4.0", "onnxruntime": "com.microsoft.onnxruntime:onnxruntime-android:1.22.0"}
IMPORTS = {
    "tflite": "import org.tensorflow.lite.Interpreter",
    "onnxruntime": "\n".join(f"import ai.onnxruntime.{name}" for name in ("OnnxJavaType", "OnnxTensor", "OrtEnvironment", "OrtSession")),
}
JAVA_TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
PUTS = {"float32": "putFloat({})", "int16": "putShort({}.toShort())", "uint16": "putShort({}.toShort())", "int32": "putInt({})"}
GETS = {
    "float32": "output.getFloat(4 * it)",
    "int8": "output.get(it).toFloat()",
    "uint8": "(output.get(it).toInt() and 255).toFloat()",
    "int16": "output.getShort(2 * it).toFloat()",
    "uint16": "(output.getShort(2 * it).toInt() and 65535).toFloat()",
    "int32": "output.getInt(4 * it).toFloat()",
}
KERNELS = {
    "bilinear": ("1.0", "        val x = Math.abs(distance)\n        return if (x < 1) 1 - x else 0.0"),
    "bicubic": (
        "2.0",
        "        val x = Math.abs(distance)\n"
        "        if (x < 1) return ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1\n"
        "        return if (x < 2) (((x - 5) * x + 8) * x - 4) * -0.5 else 0.0",
    ),
    "lanczos": (
        "3.0",
        "        val x = distance * Math.PI\n"
        "        if (distance < -3 || distance >= 3) return 0.0\n"
        "        return if (x == 0.0) 1.0 else Math.sin(x) / x * Math.sin(x / 3) / (x / 3)",
    ),
}
CHANNELS_LAST = "        for (pixel in 0 until size) for (c in 0 until $channels) {"
CHANNELS_FIRST = "        for (c in 0 until $channels) for (pixel in 0 until size) {"


def kotlin_snippet(facts: Facts) -> str:
    """A Kotlin class that runs the engine on Android."""
    engine = facts.engine
    common = {
        "file": engine.file,
        "runtime": facts.runtime,
        "target": engine.target,
        "package": PACKAGES[engine.runtime],
        "ports": "\n".join(f"// {line}" for line in facts.lines()),
        "imports": IMPORTS[engine.runtime],
        "model": _model(facts).rstrip("\n"),
    }
    if facts.picture is None:
        return template("arrays.kt").substitute(common)
    return template("image.kt").substitute(common, **_image(facts, facts.picture))


def literal(text: str) -> str:
    """A Kotlin string literal."""
    return json.dumps(text).replace("$", "\\$")


def _bytes(port: Port) -> int:
    """Size of the whole tensor; a size that is left open counts as 1."""
    return math.prod(size if isinstance(size, int) else 1 for size in port.shape) * TYPES[port.dtype][1]


def _image(facts: Facts, picture: Picture) -> dict[str, str]:
    how, port = picture.how, facts.engine.inputs[0]
    channels = str(picture.channels)
    loops = CHANNELS_LAST if picture.layout == "nhwc" else CHANNELS_FIRST
    is_resized = bool(how.resize_short or picture.resize)
    return {
        "outcome": "classes" if facts.scores else "outputs",
        "input": literal(port.name),
        "scores": _scores(facts),
        "mean": ", ".join(f"{value!r}.toFloat()" for value in picture.per_channel(how.mean)),
        "std": ", ".join(f"{value!r}.toFloat()" for value in picture.per_channel(how.std)),
        "channels": channels,
        "read": "\n".join(_read(how.colour)),
        "steps": "".join(f"{line}\n" for line in _steps(picture)),
        "bytes": str(TYPES[port.dtype][1]),
        "loops": Template(loops).substitute(channels=channels),
        "store": f"input.{PUTS.get(port.dtype, 'put({}.toByte())').format(_stored(port))}",
        "resample": _resample(how.interpolation) if is_resized else "",
        "crop": template("crop.kt").substitute() if picture.crop else "",
    }


def _read(colour: str) -> Iterable[str]:
    if colour == "grey":
        yield "            picture.pixels[i] = red * 19595 + green * 38470 + blue * 7471 + 0x8000 shr 16  // ITU-R 601 luma"
        return
    for index, name in enumerate(("blue", "green", "red") if colour == "bgr" else ("red", "green", "blue")):
        yield f"            picture.pixels[3 * i + {index}] = {name}"


def _steps(picture: Picture) -> Iterable[str]:
    short = picture.how.resize_short
    if short:
        yield f"        val scale = {short}.0 / minOf(width, height)"
        sides = (f"maxOf({short}, Math.rint({side} * scale).toInt())" for side in ("width", "height"))
        yield f"        picture = resized(picture, {', '.join(sides)})"
    elif picture.resize:
        yield f"        picture = resized(picture, {picture.resize[1]}, {picture.resize[0]})"
    if picture.crop:
        yield f"        picture = cropped(picture, {picture.crop[1]}, {picture.crop[0]})"


def _resample(interpolation: str) -> str:
    if interpolation == "nearest":
        return template("nearest.kt").substitute()
    support, kernel = KERNELS[interpolation]
    return template("resample.kt").substitute(filter=interpolation, support=support, kernel=kernel)


def _stored(port: Port) -> str:
    if port.scale is None:
        return "value" if port.dtype == "float32" else "value.toInt()"
    low, high = limits(port.dtype)
    return f"(Math.rint((value / {port.scale!r}.toFloat()).toDouble()).toInt() + {port.zero_point or 0}).coerceIn({low}, {high})"


def _scores(facts: Facts) -> str:
    port = facts.scores
    if port is None or port.dtype not in GETS:
        return ""
    real = GETS[port.dtype]
    if port.scale is not None:
        real = f"({real} - {port.zero_point or 0}) * {port.scale!r}.toFloat()"
    labels = facts.signature.labels
    listed = wrapped("private val labels = listOf(", (literal(label) for label in labels), ")").replace(",\n)", "\n)") if labels else ""
    return template("scores.kt").substitute(
        output=literal(port.name),
        bytes=str(TYPES[port.dtype][1]),
        real=real,
        named="(labels.getOrNull(it) ?: it.toString())" if labels else "it.toString()",
        labels=indent(f"\n{listed}\n", "    ") if labels else "",
    )


def _model(facts: Facts) -> str:
    engine = facts.engine
    if engine.runtime == "tflite":
        outputs = ", ".join(f"{literal(port.name)} to empty({_bytes(port)})" for port in engine.outputs)
        xnnpack = "" if engine.options.get("xnnpack", True) else ".setUseXNNPACK(false)"
        return template("tflite.kt").substitute(file=engine.file, outputs=outputs, options=xnnpack)
    return template("onnxruntime.kt").substitute(
        file=engine.file,
        shapes=", ".join(f"{literal(port.name)} to longArrayOf({_shape(port)})" for port in engine.inputs),
        types=", ".join(f"{literal(port.name)} to OnnxJavaType.{JAVA_TYPES.get(port.dtype, port.dtype.upper())}" for port in engine.inputs),
        outputs=", ".join(literal(port.name) for port in engine.outputs),
        options="".join(f"{line}\n" for line in _session_options(facts)),
    )


def _shape(port: Port) -> str:
    return ", ".join(str(size) if isinstance(size, int) else "1" for size in port.shape)


def _session_options(facts: Facts) -> Iterable[str]:
    levels = {"extended": "EXTENDED_OPT", "basic": "BASIC_OPT", "disabled": "NO_OPT"}
    level = facts.engine.options.get("graph_optimization", "all")
    if level in levels:
        yield f"        setOptimizationLevel(OrtSession.SessionOptions.OptLevel.{levels[level]})"
    for key, value in sorted(facts.engine.options.get("session_config", {}).items()):
        yield f"        addConfigEntry({literal(str(key))}, {literal(str(value))})"
