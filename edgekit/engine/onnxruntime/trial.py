"""Which nodes ONNX Runtime refuses: the whole graph is tried, and if it fails each node by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.engine.contract import Refusal
from edgekit.graph.node import Node
from edgekit.plugins import version_of

if TYPE_CHECKING:
    import onnx

_SILENT_BELOW_FATAL = 4
_SMALL_BYTES = 8192
"""Constants up to this size may be shapes or axes that a node needs the value of."""


def refused_nodes(proto: onnx.ModelProto) -> tuple[Refusal, ...]:
    """Every node that ONNX Runtime's CPU provider does not take; empty if it takes the graph.

    Args:
        proto: the graph; each node by itself is judged by the types and shapes it has been given.
    """
    whole = _fault(proto)
    if not whole:
        return ()
    values = {value.name: value for value in [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        reason = _fault(_alone(proto, node, values, constants))
        if reason:
            found.append(_refusal(node.name, node.op_type, _shapes(node, values, constants), reason))
    return tuple(found) or (_refusal("graph", "", "", whole),)


def is_opened(proto: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime opens a graph with all of its rewrites, by the rules of this machine."""
    return not _fault(proto, rewritten=True)


def _refusal(node: str, op: str, shapes: str, reason: str) -> Refusal:
    version = version_of("onnxruntime")["onnxruntime"]
    remedy = f"write this part of the model with operators that ONNX Runtime {version} runs on the CPU, or choose another runtime"
    return Refusal(node=node, op=op, shapes=shapes, reason=reason, remedy=remedy)


def _fault(proto: onnx.ModelProto, *, rewritten: bool = False) -> str:
    """Why ONNX Runtime does not open a graph, in one line; "" if it does."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = tuple(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT_BELOW_FATAL
    options.intra_op_num_threads = 1
    if not rewritten:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except own as error:
        said = " ".join(str(error).split())
        return (said.split(" : ", 3)[-1] if said.startswith("[ONNXRuntimeError]") else said).rstrip(".")
    return ""


def _alone(
    proto: onnx.ModelProto, node: onnx.NodeProto, values: dict[str, onnx.ValueInfoProto], constants: dict[str, onnx.TensorProto]
) -> onnx.ModelProto:
    """A graph of that node alone; large constants become inputs."""
    import onnx

    alone = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    alone.graph.name = node.name
    alone.graph.node.append(node)
    for name in dict.fromkeys([*node.input, *sorted(Node(node).captured())]):
        constant = constants.get(name)
        if constant is not None and constant.ByteSize() <= _SMALL_BYTES:
            alone.graph.initializer.append(constant)
        elif constant is not None:
            alone.graph.input.append(onnx.helper.make_tensor_value_info(name, constant.data_type, constant.dims))
        elif name:
            alone.graph.input.append(values.get(name) or onnx.ValueInfoProto(name=name))
    alone.graph.output.extend(values.get(name) or onnx.ValueInfoProto(name=name) for name in node.output if name)
    return alone


def _shapes(node: onnx.NodeProto, values: dict[str, onnx.ValueInfoProto], constants: dict[str, onnx.TensorProto]) -> str:
    """What a node reads and makes, such as ``float32[1,3,8,8] -> float32[1,3]``."""

    def said(name: str) -> str:
        import onnx

        if name in constants:
            kind, sizes = constants[name].data_type, list(map(str, constants[name].dims))
        elif name in values and values[name].type.HasField("tensor_type"):
            tensor = values[name].type.tensor_type
            kind = tensor.elem_type
            sizes = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
        else:
            return "?"
        return f"{onnx.helper.tensor_dtype_to_np_dtype(kind).name}[{','.join(sizes)}]"

    return f"{', '.join(said(name) for name in node.input if name)} -> {', '.join(said(name) for name in node.output if name)}"
