"""Any ONNX graph in the one form that edgekit keeps: opset 21, IR 10, default domain only, no local functions, integers by Q/DQ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgekit.errors import UnsupportedError
from edgekit.graph.batch_first import has_batch_first, to_sequence_first
from edgekit.graph.light import with_weights_of, without_weights
from edgekit.graph.qoperators import MICROSOFT, is_known, to_qdq

if TYPE_CHECKING:
    import onnx

OPSET = 21
IR_VERSION = 10
_OLDEST_OPSET = 7
_LAST_PLAIN_RESIZE = 10
_WITHOUT_ADAPTER = frozenset({"GlobalMaxPool"})
"""Opset 22 added bfloat16 to it, and onnx's converter, up to 1.23 at least, has no adapter from there; it has one for all others."""
_DISGUISE = "edgekit.kept"


def to_store_form(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in opset 21 and IR 10; every initializer is a constant, also where an old file lists it as an input.

    Operators on integers that a quantizer wrote become Q/DQ, see :mod:`edgekit.graph.qoperators`.

    Returns:
        A new model without inferred shapes of its own making; ``proto`` is left alone.

    Raises:
        UnsupportedError: an operator of another domain, one that ONNX does not know, one that cannot be converted to
            opset 21, or an opset below 7 with an operator that became another until 7.
    """
    light = without_weights(proto)
    light.ir_version = IR_VERSION
    _drop_weight_inputs(light)
    light = _inlined(light)
    _repair(light.graph)
    if has_batch_first(light.graph):
        to_sequence_first(light.graph)
    version = _opset_of(light)
    _check_operators(light, version)
    del light.opset_import[:]
    light.opset_import.add(domain="", version=version)
    if any(node.domain == MICROSOFT for node in light.graph.node):
        light.opset_import.add(domain=MICROSOFT, version=1)
    if version != OPSET:
        light = _converted(light, version)
    light.ir_version = IR_VERSION
    whole = with_weights_of(light, proto)
    _drop_weight_inputs(whole)
    to_qdq(whole)
    del whole.opset_import[:]
    whole.opset_import.add(domain="", version=OPSET)
    return whole


def _drop_weight_inputs(model: onnx.ModelProto) -> None:
    """Files before IR 4 list every initializer as an input, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _inlined(light: onnx.ModelProto) -> onnx.ModelProto:
    import onnx.inliner

    return onnx.inliner.inline_local_functions(light) if light.functions else light


def _opset_of(light: onnx.ModelProto) -> int:
    """The opset of a graph; an older one is 7 if its operators are what they are in 7."""
    versions = [entry.version for entry in light.opset_import if entry.domain in ("", "ai.onnx")]
    changed = _changed_until_oldest(light, versions[0]) if versions else []
    if not versions or changed:
        said = f"opset {versions[0]}, in which {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} another" if versions else "no opset"
        raise UnsupportedError(f"the graph has {said}; edgekit reads opset {_OLDEST_OPSET} and later", hint="export the model with opset 17 or later")
    return max(int(versions[0]), _OLDEST_OPSET)


def _changed_until_oldest(light: onnx.ModelProto, version: int) -> list[str]:
    """The operators of a graph that opset 7 has in another version, or not at all."""
    import onnx

    def since(op: str, opset: int) -> int:
        return int(onnx.defs.get_schema(op, opset, "").since_version) if onnx.defs.has(op, max_inclusive_version=opset, domain="") else 0

    plain = {node.op_type for node in light.graph.node if node.domain in ("", "ai.onnx")}
    return sorted(op for op in plain if version < _OLDEST_OPSET and since(op, version) != since(op, _OLDEST_OPSET))


def _repair(graph: onnx.GraphProto) -> None:
    """Erfc, which tf2onnx writes though ONNX has no such operator, becomes 1 - Erf."""
    import numpy as np
    import onnx

    for index in [index for index, node in enumerate(graph.node) if node.op_type == "Erfc" and not node.domain][::-1]:
        erfc = graph.node[index]
        one, erf = f"{erfc.output[0]}_one", f"{erfc.output[0]}_erf"
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), one))
        graph.node.insert(index, onnx.helper.make_node("Erf", list(erfc.input), [erf], name=erf))
        erfc.op_type = "Sub"
        del erfc.input[:]
        erfc.input.extend([one, erf])


def refuse_foreign(proto: onnx.ModelProto) -> None:
    """Operators that are neither ONNX's own nor functions of the file, and opsets that are too old.

    Raises:
        UnsupportedError: there are some; all are named.
    """
    _refuse(_foreign(proto))
    _opset_of(proto)


def _foreign(proto: onnx.ModelProto) -> list[str]:
    functions = {(function.domain, function.name) for function in proto.functions}
    others = (node for node in proto.graph.node if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions)
    foreign = [node for node in others if not is_known(node)]
    return [f"{_label(node)}: domain {node.domain} is not ONNX's own" for node in foreign]


def _check_operators(light: onnx.ModelProto, version: int) -> None:
    import onnx

    for node in light.graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""
    plain = [node for node in light.graph.node if not node.domain]
    unknown = [node for node in plain if not onnx.defs.has(node.op_type, max_inclusive_version=version, domain="")]
    _refuse([*(f"{_label(node)}: no such operator in ONNX opset {version}" for node in unknown), *_foreign(light)])


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or ', '.join(node.output)}".rstrip()


def _refuse(refusals: list[str]) -> None:
    if refusals:
        hint = "export the model with plain ONNX operators only"
        raise UnsupportedError("this graph holds operators that are not ONNX's own", hint=hint, refusals=refusals)


def _converted(light: onnx.ModelProto, version: int) -> onnx.ModelProto:
    import onnx.inliner
    import onnx.version_converter

    newer = sorted({node.op_type for node in light.graph.node if not onnx.defs.has(node.op_type, max_inclusive_version=OPSET, domain="")})
    try:
        if newer:
            _say_types(light)
            light = onnx.inliner.inline_selected_functions(light, [("", op) for op in newer], False, inline_schema_functions=True)
        converted = onnx.version_converter.convert_version(_disguised(light) if version > OPSET else light, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = " ".join(str(error).split())
        named = _culprit(light, reason)
        hint = f"export the model with opset {OPSET}, or without this operator"
        raise UnsupportedError(f"{named} cannot be converted from opset {version} to {OPSET}: {reason}", hint=hint) from error
    for node in converted.graph.node:
        if node.domain == _DISGUISE:
            node.domain = ""
    if version <= _LAST_PLAIN_RESIZE:
        _say_how_resized(converted.graph)
    return converted


def _disguised(light: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with another domain for what the converter does not know its way back from, though nothing has to be changed."""
    if any(node.op_type in _WITHOUT_ADAPTER for node in light.graph.node):
        light.opset_import.add(domain=_DISGUISE, version=1)
        for node in light.graph.node:
            if node.op_type in _WITHOUT_ADAPTER and not node.domain:
                node.domain = _DISGUISE
    return light


def _say_how_resized(graph: onnx.GraphProto) -> None:
    """Write out how Resize and Upsample worked up to opset 10, which onnx's converter leaves out.

    Coordinates were "asymmetric"; nearest meant the pixel before, and the one after where the image was made smaller
    (so in ONNX Runtime, the operator's text is silent).
    """
    import onnx

    known = {tensor.name: tensor for tensor in graph.initializer}
    known |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.attribute[0].HasField("t")}
    for node in graph.node:
        if node.op_type == "Resize":
            scales = known.get(node.input[2])
            smaller = scales is not None and bool((onnx.numpy_helper.to_array(scales) <= 1).all())
            kept = [attribute for attribute in node.attribute if attribute.name == "mode"]
            kept.append(onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            kept.append(onnx.helper.make_attribute("nearest_mode", "ceil" if smaller else "floor"))
            del node.attribute[:]
            node.attribute.extend(kept)


def _say_types(light: onnx.ModelProto) -> None:
    """The inliner asks for the types of an operator's inputs, those of constants among them."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(light)
    light.graph.CopyFrom(inferred.graph)
    known = {value.name for value in light.graph.value_info}
    said = [onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in light.graph.initializer]
    light.graph.value_info.extend(value for value in said if value.name not in known)


def _culprit(light: onnx.ModelProto, reason: str) -> str:
    """The operators of the graph that the converter's message names; it names no node."""
    ops = {node.op_type for node in light.graph.node}
    named = [op for op in sorted(ops) if re.search(rf"\b{op}\b", reason)]
    return ", ".join(named) or "a node of this graph"
