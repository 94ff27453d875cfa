"""A graph that takes several samples at once where it was written for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.view import View, attributes

if TYPE_CHECKING:
    import onnx


def with_open_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose Reshapes take a batch of any size where they say that it is 1.

    Whether that 1 is a batch is not known here: whoever runs the copy on several samples looks whether they come out as alone.
    """
    import onnx
    from onnx import numpy_helper

    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    view = View(proto)
    for node in copied.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in view.constants:
            continue
        sizes = view.value(node.input[1])
        is_empty = bool(attributes(node).get("allowzero", 0)) and 0 in sizes
        if len(sizes) and sizes[0] == 1 and not is_empty and (view.shape(node.input[0]) or (0,))[0] == 1:
            name = f"{node.output[0]}/sizes with open batch"
            copied.graph.initializer.append(numpy_helper.from_array(np.array([0, *sizes[1:]], np.int64), name))
            node.input[1] = name
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return copied


def opened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same, its inputs and outputs declared for any batch, for runtimes that hold to what is declared."""
    made = with_open_batch(proto)
    constants = {tensor.name for tensor in made.graph.initializer}
    for value in made.graph.input:
        if value.name not in constants and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    del made.graph.value_info[:]
    return made
