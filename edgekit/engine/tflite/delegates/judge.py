"""The rules of a delegate, held against each operator of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgekit.engine.contract import Delegation, Fallback
from edgekit.engine.tflite.delegates.checks import CHECKS, Seen
from edgekit.engine.tflite.delegates.network import Network, Operator, Tensor
from edgekit.engine.tflite.delegates.parts import parts
from edgekit.engine.tflite.delegates.rules import Rule, Slot, Span, Table, row_of

_SMALL = frozenset({"int8", "uint8", "int4", "int2"})
_FLOATS = frozenset({"float32", "float16"})
_NO_KERNEL = "replace it by operators that {title} has a kernel for, or let it run in TFLite's own"
_WIDE = "quantize activations to 8 bits: --set quantize.activation_bits=8"
_IN_FLOAT = "keep it in float: --set 'quantize.keep_float=[\"{node}\"]'"
_NARROW = "store the weights in 8 bits or float16: --set quantize.weight_bits=8, or --recipe fp16"
_ELSE = "change the model, or let it run in TFLite's own kernels"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a delegate does not take an operator, and what can be done about it."""

    reason: str
    remedy: str = ""


def delegation(network: Network, table: Table, *, is_foreign: bool = False) -> Delegation:
    """What a delegate takes of a graph, and what it leaves.

    Args:
        network: the graph.
        table: the delegate's rules.
        is_foreign: a file whose model and recipe are not known, so that there is no remedy to be named.
    """
    faults = verdicts(network, table)
    found = parts(network, [fault is None for fault in faults])
    if table.takes == "largest" and len(found) > 1:
        largest = max(found, key=len)
        for at in sorted({at for part in found for at in part} - set(largest)):
            faults[at] = Fault(f"{table.title} takes one connected part, and this is not in the largest")
        found = [largest]
    left = tuple(_fallback(network, network.operators[at], fault) for at, fault in enumerate(faults) if fault is not None)
    if is_foreign:
        left = tuple(msgspec.structs.replace(one, remedy="") for one in left)
    return Delegation(
        delegate=table.title,
        by=table.by,
        operators=len(network.operators),
        taken=len(network.operators) - len(left),
        parts=len(found),
        left=left,
        note=table.note,
    )


def verdicts(network: Network, table: Table) -> list[Fault | None]:
    """For each operator, why the delegate does not take it; ``None`` if it does.

    A DEQUANTIZE of constants that the delegate unpacks goes with all that read it: where one of these is left, so is it.
    """
    faults: list[Fault | None] = []
    unpacked: dict[int, int] = {}
    cut: set[int] = set()
    for at, operator in enumerate(network.operators):
        if _is_unpacked(network, operator, table, unpacked):
            unpacked[operator.outputs[0]] = at
            faults.append(None)
            continue
        fault = _fault(network, operator, table, unpacked)
        if fault is None and table.takes == "first" and not cut.isdisjoint(operator.inputs):
            fault = Fault(f"it comes after what {table.title} does not take")
        if fault is not None:
            cut.update(operator.outputs if operator.op not in table.cuts_not else ())
            for tensor in operator.inputs:
                if tensor in unpacked:
                    reason = f"what it makes is read by {operator.op}, which {table.title} does not take"
                    faults[unpacked[tensor]] = Fault(reason, f"see {operator.node}")
        faults.append(fault)
    return faults


def _is_unpacked(network: Network, operator: Operator, table: Table, unpacked: Mapping[int, int]) -> bool:
    if operator.op != "DEQUANTIZE" or len(operator.inputs) != 1 or len(operator.outputs) != 1:
        return False
    source, result = network.tensors[operator.inputs[0]], network.tensors[operator.outputs[0]]
    is_fixed = source.is_constant or operator.inputs[0] in unpacked
    has_scale = source.dtype == "float16" or bool(source.scales)
    return is_fixed and has_scale and source.dtype in table.unpacks and result.dtype == "float32"


def _fault(network: Network, operator: Operator, table: Table, unpacked: Mapping[int, int]) -> Fault | None:
    rules = table.rules(operator.op)
    if not rules:
        return Fault(f"{table.title} has no kernel for {operator.op}", _NO_KERNEL.format(title=table.title))
    seen = Seen(network, operator, frozenset(unpacked))
    if reason := _against_table(seen, table) or _against_release(seen, table):
        return Fault(reason, _remedy_for_types(network, operator, rules))
    for rule in rules:
        if reason := _against_types(seen, rule, table):
            return Fault(reason, rule.remedy or _remedy_for_types(network, operator, rules))
        if reason := _against(seen, rule, table):
            return Fault(reason, rule.remedy or _remedy_for_constants(seen) or _ELSE)
    return None


def _against_table(seen: Seen, table: Table) -> str:
    for tensor in (*seen.given, *seen.outputs):
        if table.most_axes and len(tensor.shape) > table.most_axes:
            return f"{tensor.name} has {len(tensor.shape)} axes; {table.title} takes {table.most_axes} at most"
    return ""


def _against_release(seen: Seen, table: Table) -> str:
    types = table.leaves.get(seen.operator.op)
    found = {tensor.dtype for tensor in (*seen.given, *seen.outputs)}
    is_left = types is not None and (not types or not found.isdisjoint(types))
    return f"{table.title} of {table.by} has no kernel for {seen.operator.op} of {types_of(seen.network, seen.operator)}" if is_left else ""


def _against_types(seen: Seen, rule: Rule, table: Table) -> str:
    """Why none of the rule's rows of types is that of the operator; "" if one is, or nothing is asked."""
    rows = [row_of(text) for text in rule.types]
    if rows and not any(_fits(row[0], seen.inputs, table) and _fits(row[1], seen.outputs, table) for row in rows):
        return f"{table.title} has no kernel for {types_of(seen.network, seen.operator)}"
    return _against_computed(seen, rule, table) if table.computed else ""


def _against_computed(seen: Seen, rule: Rule, table: Table) -> str:
    for tensors, more in ((seen.given, rule.reads), (seen.outputs, rule.makes)):
        for tensor in tensors:
            if not tensor.is_constant and tensor.dtype not in (*table.computed, *more):
                return f"{tensor.name} is {tensor.dtype}, which {table.title} does not compute {seen.operator.op} on"
    return ""


def _fits(slots: Sequence[Slot], tensors: Sequence[Tensor | None], table: Table) -> bool:
    if len(slots) == 1 and slots[0].repeats:
        return all(tensor is not None and _is_in(slots[0], tensor, table) for tensor in tensors)
    for at in range(max(len(slots), len(tensors))):
        tensor = tensors[at] if at < len(tensors) else None
        slot = slots[min(at, len(slots) - 1)] if slots and (at < len(slots) or slots[-1].repeats) else None
        if tensor is None:
            if slot is not None and not (slot.is_optional or slot.repeats):
                return False
        elif slot is None or not _is_in(slot, tensor, table):
            return False
    return True


def _is_in(slot: Slot, tensor: Tensor, table: Table) -> bool:
    if slot.is_anything:
        return True
    if tensor.dtype not in slot.types:
        return False
    if tensor.dtype not in _SMALL or not table.needs_scale:
        return True
    axis = slot.types[tensor.dtype]
    if len(tensor.scales) == 1:
        return bool(axis) or tensor.axis == 0
    return len(tensor.scales) > 1 and bool(axis) and (axis == "any" or int(axis) == tensor.axis)


def _against(seen: Seen, rule: Rule, table: Table) -> str:
    """Why an operator of the right types is not taken; "" if it is."""
    operator, title = seen.operator, table.title
    computed = [tensor for at, tensor in enumerate(seen.inputs) if tensor is not None and not seen.is_fixed(at)]
    counts = (
        ("inputs", len(seen.given), rule.inputs),
        ("outputs", len(operator.outputs), rule.outputs),
        ("computed inputs", len(computed), rule.computed_inputs),
        ("constant inputs", len(seen.given) - len(computed), rule.constant_inputs),
    )
    for what, count, span in counts:
        if not _is_within(count, span):
            return f"it has {count} {what}; {title} takes {_said(span)}"
    if rule.most_version and operator.version > rule.most_version:
        return f"it is version {operator.version} of {operator.op}; {title} takes {rule.most_version} at most"
    for at in rule.constant:
        tensor = seen.input(at)
        if tensor is not None and not seen.is_fixed(at):
            return _not_constant(seen, at, tensor, title)
    for at, span in enumerate(rule.ranks):
        tensor = seen.input(at)
        if tensor is not None and not _is_within(len(tensor.shape), span):
            return f"{tensor.name} has {len(tensor.shape)} axes; {title} takes {_said(span)}"
    if seen.outputs and not _is_within(len(seen.outputs[0].shape), rule.output_rank):
        return f"what it makes has {len(seen.outputs[0].shape)} axes; {title} takes {_said(rule.output_rank)}"
    return _against_options(operator.options, rule, title) or next(filter(None, (CHECKS[name](seen) for name in rule.checks)), "")


def _against_options(options: Mapping[str, Any], rule: Rule, title: str) -> str:
    for name, allowed in rule.allowed.items():
        value = options.get(name, allowed[0])
        if value not in allowed:
            return f"{name} is {value}; {title} takes {', '.join(map(str, allowed))}"
    for name, least in rule.least.items():
        value = options.get(name, least)
        if value < least:
            return f"{name} is {value}; {title} takes {least} or more"
    return ""


def _not_constant(seen: Seen, at: int, tensor: Tensor, title: str) -> str:
    maker = seen.maker(at)
    if maker is not None and maker.op == "DEQUANTIZE":
        stored = seen.network.inputs(maker)[0]
        if stored is not None and stored.is_constant:
            return f"its weights {stored.name} are {stored.dtype} behind a DEQUANTIZE that {title} does not unpack"
    return f"its input {tensor.name} is computed; {title} takes a constant"


def _is_within(count: int, span: Span) -> bool:
    return not span or span[0] <= count <= span[-1]


def _said(span: Span) -> str:
    return str(span[0]) if span[0] == span[-1] else f"{span[0]} to {span[-1]}"


def _remedy_for_types(network: Network, operator: Operator, rules: Sequence[Rule]) -> str:
    dtypes = {tensor.dtype for tensor in (*network.inputs(operator), *network.outputs(operator)) if tensor is not None}
    if "int16" in dtypes:
        return _WIDE
    if dtypes & {"int4", "int2"}:
        return _NARROW
    has_float = any(slot.types.keys() & _FLOATS for rule in rules for text in rule.types for slot in row_of(text)[1])
    return _IN_FLOAT.format(node=operator.node) if has_float and dtypes & _SMALL and not dtypes & _FLOATS else _ELSE


def _remedy_for_constants(seen: Seen) -> str:
    makers = [seen.maker(at) for at in range(len(seen.inputs))]
    stored = [seen.network.tensors[maker.inputs[0]].dtype for maker in makers if maker is not None and maker.op == "DEQUANTIZE"]
    own = [tensor.dtype for tensor in seen.given]
    return _NARROW if {"int4", "int2"}.intersection((*stored, *own)) else ""


def _fallback(network: Network, operator: Operator, fault: Fault) -> Fallback:
    return Fallback(
        node=operator.node,
        op=operator.op,
        types=types_of(network, operator),
        shapes=_arrow(network, operator, lambda tensor: "x".join(map(str, tensor.shape)) or "()"),
        reason=fault.reason,
        remedy=fault.remedy,
    )


def types_of(network: Network, operator: Operator) -> str:
    """Element types of what an operator reads and makes, as ``int16, int8 -> int16``."""
    return _arrow(network, operator, lambda tensor: tensor.dtype)


def _arrow(network: Network, operator: Operator, said: Any) -> str:
    before = ", ".join(said(tensor) for tensor in network.inputs(operator) if tensor is not None)
    return f"{before} -> {', '.join(said(tensor) for tensor in network.outputs(operator))}".strip()
