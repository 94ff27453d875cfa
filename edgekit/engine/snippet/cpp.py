"""The C++ snippet. Its preprocessing needs nothing but the standard library and gives the same bytes as Pillow."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.engine.contract import Port
from edgekit.engine.snippet.facts import Facts, Picture
from edgekit.engine.snippet.python import wrapped
from edgekit.engine.snippet.templates import template

TYPES = {
    "float32": ("float", 4),
    "float64": ("double", 8),
    "float16": ("uint16_t", 2),
    "int8": ("int8_t", 1),
    "uint8": ("uint8_t", 1),
    "int16": ("int16_t", 2),
    "uint16": ("uint16_t", 2),
    "int32": ("int32_t", 4),
    "uint32": ("uint32_t", 4),
    "int64": ("int64_t", 8),
    "uint64": ("uint64_t", 8),
    "bool": ("bool", 1),
}
ORT_TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
BUILDS = {
    "onnxruntime": "g++ -std=c++17 -O2 run.cc -I onnxruntime/include -L onnxruntime/lib -lonnxruntime -o run",
    "tflite": "g++ -std=c++17 -O2 run.cc -ltensorflow-lite -o run        (LiteRT's CMake package links all it needs)",
}
INCLUDES = {
    "onnxruntime": "#include <onnxruntime_cxx_api.h>",
    "tflite": """#if __has_include("tflite/interpreter.h")  // LiteRT
#include "tflite/interpreter.h"
#include "tflite/interpreter_builder.h"
#include "tflite/kernels/register.h"
#include "tflite/model_builder.h"
#include "tflite/signature_runner.h"
#else  // TensorFlow
#include "tensorflow/lite/interpreter.h"
#include "tensorflow/lite/interpreter_builder.h"
#include "tensorflow/lite/kernels/register.h"
#include "tensorflow/lite/model_builder.h"
#include "tensorflow/lite/signature_runner.h"
#endif""",
}
KERNELS = {
    "bilinear": ("1.0", "  x = std::fabs(x);\n  return x < 1 ? 1 - x : 0;"),
    "bicubic": (
        "2.0",
        "  x = std::fabs(x);\n"
        "  if (x < 1) return ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1;\n"
        "  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;",
    ),
    "lanczos": (
        "3.0",
        "  const double pi = 3.14159265358979323846;\n"
        "  if (x < -3 || x >= 3) return 0;\n"
        "  if (x == 0) return 1;\n"
        "  return std::sin(x * pi) / (x * pi) * std::sin(x / 3 * pi) / (x / 3 * pi);",
    ),
}
TOP_FIVE = """
    const std::vector<float> scores = Scores(outputs[0]);
    std::vector<int> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    const size_t top = std::min<size_t>(5, order.size());
    std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](int a, int b) { return scores[a] > scores[b]; });
    for (size_t i = 0; i < top; ++i) $print
""".strip("\n")
PRINT_INDEX = 'std::printf("%9.4f  %d\\n", scores[order[i]], order[i]);'
PRINT_LABEL = """{
      const size_t index = order[i];
      const std::string label = index < kLabels.size() ? kLabels[index] : std::to_string(index);
      std::printf("%9.4f  %s\\n", scores[index], label.c_str());
    }"""
EACH_OUTPUT = """
    for (size_t i = 0; i < outputs.size(); ++i) std::printf("%s: %zu bytes\\n", kOutputs[i], outputs[i].bytes.size());
""".strip("\n")


def cpp_snippet(facts: Facts) -> str:
    """A C++17 file that runs the engine."""
    engine = facts.engine
    common = {
        "file": engine.file,
        "runtime": facts.runtime,
        "target": engine.target,
        "build": BUILDS[engine.runtime],
        "ports": "\n".join(f"// {line}" for line in facts.lines()),
        "includes": INCLUDES[engine.runtime],
        "inputs": ", ".join(literal(port.name) for port in engine.inputs),
        "outputs": ", ".join(literal(port.name) for port in engine.outputs),
        "model": _model(facts).rstrip("\n"),
    }
    if facts.picture is None:
        shapes = ", ".join("{" + ", ".join(_sizes(port)) + "}" for port in engine.inputs)
        return template("arrays.cc").substitute(common, shapes=f"const std::vector<int64_t> kShapes[] = {{{shapes}}};\n")
    return template("image.cc").substitute(common, **_image(facts, facts.picture))


def literal(text: str) -> str:
    """A C++ string literal: quotes, backslashes and trigraphs escaped, control characters in octal, all else as UTF-8."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?")
    return '"' + "".join(char if char.isprintable() else "".join(f"\\{byte:03o}" for byte in char.encode()) for char in escaped) + '"'


def _sizes(port: Port) -> Iterable[str]:
    """Sizes of a shape; 1 for one that is left open."""
    return [str(size) if isinstance(size, int) else "1" for size in port.shape]


def _image(facts: Facts, picture: Picture) -> dict[str, str]:
    how, port = picture.how, facts.engine.inputs[0]
    nhwc = picture.layout == "nhwc"
    is_resized = bool(how.resize_short or picture.resize)
    scores = facts.scores
    return {
        "outcome": "classes" if scores else "outputs",
        "labels": _labels(facts),
        "resample": _resample(how.interpolation) if is_resized else "",
        "crop": template("crop.cc").substitute() if picture.crop else "",
        "grey": template("grey.cc").substitute() if how.colour == "grey" else "",
        "stored": TYPES[port.dtype][0],
        "mean": ", ".join(f"float({value!r})" for value in picture.per_channel(how.mean)),
        "std": ", ".join(f"float({value!r})" for value in picture.per_channel(how.std)),
        "steps": "".join(f"{line}\n" for line in _steps(picture)),
        "shape": "{1, picture.height, picture.width, picture.channels}" if nhwc else "{1, picture.channels, picture.height, picture.width}",
        "channel": "2 - c" if how.colour == "bgr" else "c",
        "index": "(size_t{1} * y * picture.width + x) * picture.channels + c" if nhwc else "(size_t{1} * c * picture.height + y) * picture.width + x",
        "store": _stored(port),
        "scores": template("scores.cc").substitute(stored=TYPES[scores.dtype][0], real=_real(scores)) if scores else "",
        "shown": TOP_FIVE.replace("$print", PRINT_LABEL if facts.signature.labels else PRINT_INDEX) if scores else EACH_OUTPUT,
    }


def _labels(facts: Facts) -> str:
    if not facts.scores or not facts.signature.labels:
        return ""
    return wrapped("const std::vector<const char*> kLabels = {", (literal(label) for label in facts.signature.labels), "};") + "\n"


def _resample(interpolation: str) -> str:
    if interpolation == "nearest":
        return template("nearest.cc").substitute()
    support, kernel = KERNELS[interpolation]
    return template("resample.cc").substitute(filter=interpolation, support=support, kernel=kernel)


def _steps(picture: Picture) -> Iterable[str]:
    if picture.how.colour == "grey":
        yield "  picture = Grey(picture);"
    short = picture.how.resize_short
    if short:
        yield f"  const double scale = {short}.0 / std::min(width, height);"
        sides = (f"std::max({short}, static_cast<int>(std::nearbyint({side} * scale)))" for side in ("width", "height"))
        yield f"  picture = Resized(picture, {', '.join(sides)});"
    elif picture.resize:
        yield f"  picture = Resized(picture, {picture.resize[1]}, {picture.resize[0]});"
    if picture.crop:
        yield f"  picture = Cropped(picture, {picture.crop[1]}, {picture.crop[0]});"


def limits(dtype: str) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    bits = TYPES[dtype][1] * 8
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _stored(port: Port) -> str:
    if port.scale is None:
        return "value" if port.dtype == "float32" else "static_cast<Stored>(value)"
    low, high = limits(port.dtype)
    return f"static_cast<Stored>(std::clamp(std::nearbyint(value / float({port.scale!r})) + {port.zero_point or 0}.0f, {low}.0f, {high}.0f))"


def _real(port: Port) -> str:
    if port.scale is None:
        return "static_cast<float>(values[i])"
    return f"(static_cast<float>(values[i]) - {port.zero_point or 0}.0f) * float({port.scale!r})"


def _model(facts: Facts) -> str:
    engine = facts.engine
    if engine.runtime == "tflite":
        plain = "BuiltinOpResolver" if engine.options.get("xnnpack", True) else "BuiltinOpResolverWithoutDefaultDelegates"
        return template("tflite.cc").substitute(resolver=plain)
    return template("onnxruntime.cc").substitute(
        input_types=", ".join(f"ONNX_TENSOR_ELEMENT_DATA_TYPE_{ORT_TYPES.get(port.dtype, port.dtype.upper())}" for port in engine.inputs),
        output_sizes=", ".join(str(TYPES[port.dtype][1]) for port in engine.outputs),
        options="\n".join(_session_options(facts)),
    )


def _session_options(facts: Facts) -> Iterable[str]:
    levels = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "disabled": "ORT_DISABLE_ALL"}
    yield f"    options.SetGraphOptimizationLevel({levels[facts.engine.options.get('graph_optimization', 'all')]});"
    for key, value in sorted(facts.engine.options.get("session_config", {}).items()):
        yield f"    options.AddConfigEntry({literal(str(key))}, {literal(str(value))});"
