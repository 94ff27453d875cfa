"""The Python snippet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from string import Template

from edgekit.engine.contract import Port
from edgekit.engine.snippet.facts import Facts, Picture
from edgekit.engine.snippet.templates import template

WIDTH = 110
PACKAGES = {"onnxruntime": "onnxruntime", "tflite": "ai-edge-litert"}
IMPORTS = {
    "onnxruntime": "import onnxruntime",
    "tflite": """
try:
    from ai_edge_litert.interpreter import Interpreter$classes
except ImportError:  # older boards
    from tflite_runtime.interpreter import Interpreter$classes""",
}
TOP_FIVE = """
        scores = outputs[OUTPUTS[0]].ravel()
        for index in np.argsort(scores)[::-1][:5]:
            print(f"  {scores[index]:9.4f}  $named")
""".strip("\n")
EACH_OUTPUT = """
        for name, values in outputs.items():
            print(f"  {name}: {values.dtype} {list(values.shape)}, {values.min()} to {values.max()}")
""".strip("\n")


def python_snippet(facts: Facts) -> str:
    """A file that runs the engine from Python 3.8 on."""
    engine = facts.engine
    common = {
        "file": engine.file,
        "runtime": facts.runtime,
        "target": engine.target,
        "package": PACKAGES[engine.runtime],
        "ports": "".join(f"\n# {line}" for line in facts.lines()) + "\n",
        "imports": Template(IMPORTS[engine.runtime]).substitute(classes=", OpResolverType" if _without_xnnpack(facts) else ""),
        "outputs": f"[{', '.join(literal(port.name) for port in engine.outputs)}]",
        "constants": _constants(facts),
        "model": _model(facts),
    }
    if facts.picture is None:
        return _tidy(template("arrays.py").substitute(common, inputs="\n".join(_array_inputs(facts))))
    return _tidy(template("image.py").substitute(common, **_image(facts, facts.picture)))


def literal(text: str) -> str:
    """A Python string literal; every string of JSON is one."""
    return json.dumps(text, ensure_ascii=False)


def _tidy(text: str) -> str:
    """At most two empty lines in a row."""
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _image(facts: Facts, picture: Picture) -> dict[str, str]:
    how, port = picture.how, facts.engine.inputs[0]
    laid = "values[None]" if picture.layout == "nhwc" else "values.transpose(2, 0, 1)[None]"
    stored = f"to_stored(INPUT, {laid})" if port.scale is not None else f'np.ascontiguousarray({laid}.astype("{port.dtype}"))'
    named = "{LABELS[index] if index < len(LABELS) else index}" if facts.signature.labels else "{index}"
    return {
        "input": literal(port.name),
        "outcome": "classes" if facts.scores else "outputs",
        "mode": "L" if how.colour == "grey" else "RGB",
        "steps": "".join(f"{line}\n" for line in _steps(picture)),
        "channels": {"grey": "    pixels = pixels[:, :, None]\n", "bgr": "    pixels = pixels[:, :, ::-1]\n"}.get(how.colour, ""),
        "mean": repr(list(how.mean)),
        "std": repr(list(how.std)),
        "stored": stored,
        "shown": TOP_FIVE.replace("$named", named) if facts.scores else EACH_OUTPUT,
    }


def _steps(picture: Picture) -> Iterable[str]:
    filter_ = f"Image.{picture.how.interpolation.upper()}"
    short = picture.how.resize_short
    if short:
        yield f"    scale = {short} / min(picture.size)"
        yield f"    size = (max({short}, round(picture.width * scale)), max({short}, round(picture.height * scale)))"
        yield f"    picture = picture.resize(size, {filter_})"
    elif picture.resize:
        yield f"    picture = picture.resize(({picture.resize[1]}, {picture.resize[0]}), {filter_})"
    if picture.crop:
        height, width = picture.crop
        yield f"    left, top = (picture.width - {width}) // 2, (picture.height - {height}) // 2"
        yield f"    picture = picture.crop((left, top, left + {width}, top + {height}))"


def _array_inputs(facts: Facts) -> Iterable[str]:
    layouts = {tensor.name: tensor.layout for tensor in facts.signature.inputs}
    for port in facts.engine.inputs:
        values = f"with_batch(held[{literal(port.name)}], {len(port.shape)})"
        if {layouts[port.name], port.layout} == {"nchw", "nhwc"}:
            values = f"np.moveaxis({values}, {'1, -1' if port.layout == 'nhwc' else '-1, 1'})"
        stored = f"to_stored({literal(port.name)}, {values})" if port.scale is not None else f'np.ascontiguousarray({values}.astype("{port.dtype}"))'
        yield f"            {literal(port.name)}: {stored},"


def _constants(facts: Facts) -> str:
    parts = []
    if facts.picture is not None and facts.scores and facts.signature.labels:
        parts.append(wrapped("LABELS = [", (literal(label) for label in facts.signature.labels), "]"))
    if facts.has_integers:
        ports: list[Port] = [port for port in (*facts.engine.inputs, *facts.engine.outputs) if port.scale is not None]
        grids = (f'    {literal(port.name)}: ("{port.dtype}", {port.scale!r}, {port.zero_point or 0}),' for port in ports)
        parts.append(template("integers.py").substitute(grids="\n".join(grids)))
    return "\n".join(parts) + "\n\n"


def wrapped(opening: str, items: Iterable[str], closing: str) -> str:
    """A list over several lines, as many items on each as fit."""
    lines, line = [opening], "   "
    for item in items:
        if len(line) + len(item) > WIDTH and line.strip():
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line, closing])


def _without_xnnpack(facts: Facts) -> bool:
    return facts.engine.runtime == "tflite" and not facts.engine.options.get("xnnpack", True)


def _model(facts: Facts) -> str:
    returned = "{name: to_real(name, values) for name, values in outputs.items()}" if facts.has_integers else "outputs"
    if facts.engine.runtime == "tflite":
        resolver = ", experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES" if _without_xnnpack(facts) else ""
        return template("tflite.py").substitute(options=resolver, returned=returned)
    return template("onnxruntime.py").substitute(options="".join(f"{line}\n" for line in _session_options(facts)), returned=returned)


def _session_options(facts: Facts) -> Iterable[str]:
    levels = {"extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "disabled": "ORT_DISABLE_ALL"}
    level = facts.engine.options.get("graph_optimization", "all")
    if level in levels:
        yield f"        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{levels[level]}"
    for key, value in sorted(facts.engine.options.get("session_config", {}).items()):
        yield f"        options.add_session_config_entry({literal(str(key))}, {literal(str(value))})"
