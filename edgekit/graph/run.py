"""Run an ONNX graph on this machine's CPU, inner tensors included: for calibration, comparison and constant folding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SamplesError, SourceError
from edgekit.graph.opset import IR_VERSION, OPSET

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Array = np.ndarray[Any, np.dtype[Any]]

_SILENT_BELOW_FATAL = 4
_BROKEN_FUSIONS = {"optimization.disable_specified_optimizers": "MatMulAddFusion;Pad_Fusion;QDQPropagationTransformer;WeightBiasQuantization"}
"""By the first, ONNX Runtime 1.31 makes int8 graphs with MatMul and Add on three axes invalid, on x86; by the second, the
zeros before a MaxPool never are its maximum; by the third, int8 graphs of opset 21 with Reshape or Transpose are invalid, on
x86; by the fourth, weights that a graph keeps in float between integers are rounded."""
_AS_WRITTEN = {"session.qdq_matmulnbits_accuracy_level": "1"}
"""ONNX Runtime multiplies by integer weights with a kernel of its own, which otherwise rounds activations that the graph does not."""
_WHILE_RUNNING = "while running"
"""ONNX Runtime says so of errors inside the graph; of inputs that do not fit it speaks before."""


class Runner:
    """A graph that is open and can be called.

    Args:
        model: an ONNX file, or its bytes.
        outputs: tensors to return, inner ones too; the graph's outputs if None.
        threads: threads of one call; 0 leaves it to ONNX Runtime.

    Raises:
        SourceError: ONNX Runtime does not load the graph, or a wanted tensor is not in it.
    """

    def __init__(self, model: Path | bytes, *, outputs: Sequence[str] | None = None, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT_BELOW_FATAL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        for key, value in {**_BROKEN_FUSIONS, **_AS_WRITTEN}.items():
            options.add_session_config_entry(key, value)
        if isinstance(model, Path):
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.parent.absolute()))
        source = str(model) if isinstance(model, Path) else model
        wanted = None if outputs is None else tuple(outputs)
        if wanted is not None:
            source = _with_outputs(model, wanted)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except _foreign() as error:
            raise SourceError(f"ONNX Runtime does not load this graph: {_one_line(error)}", hint="edgekit inspect shows what is in it") from error
        self._inputs = frozenset(value.name for value in self._session.get_inputs())
        self._outputs = wanted if wanted is not None else tuple(value.name for value in self._session.get_outputs())

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The open session."""
        return self._session

    def __call__(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, for inputs by name.

        Raises:
            SamplesError: an input is missing, is not one of the graph's, or does not fit it.
            SourceError: the graph fails while it runs.
        """
        if missing := self._inputs - feed.keys():
            raise SamplesError(f"no values for the input {', '.join(sorted(missing))}", hint="name the arrays as the model's inputs are named")
        if foreign := feed.keys() - self._inputs:
            hint = f"its inputs are {', '.join(sorted(self._inputs))}"
            raise SamplesError(f"the model has no input {', '.join(sorted(foreign))}", hint=hint)
        try:
            values = self._session.run(list(self._outputs), dict(feed))
        except _refusals() as error:
            if _WHILE_RUNNING not in str(error):
                raise SamplesError(f"an input does not fit the model: {_one_line(error)}", hint="edgekit inspect shows its inputs") from error
            raise SourceError(f"the graph fails while it runs: {_one_line(error)}", hint="edgekit inspect shows what is in it") from error
        return dict(zip(self._outputs, values, strict=True))


def run_nodes(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Array], outputs: Sequence[str], feed: Mapping[str, Array] = MappingProxyType({})
) -> dict[str, Array]:
    """What a few nodes of store form compute by themselves: ``outputs`` by name, from constants and inputs by name.

    Raises:
        SourceError: ONNX Runtime does not take them, or they fail.
    """
    import onnx
    from onnx import helper

    given = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in feed.items()]
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    body = helper.make_graph(nodes, "nodes", given, [onnx.ValueInfoProto(name=name) for name in outputs], stored)
    model = helper.make_model(body, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    return Runner(model.SerializeToString(), threads=1)(feed)


def _with_outputs(model: Path | bytes, wanted: tuple[str, ...]) -> bytes:
    """The model's bytes with exactly ``wanted`` as outputs; ONNX Runtime works out their types itself."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(model, load_external_data=False) if isinstance(model, Path) else onnx.ModelProto.FromString(model)
    except (DecodeError, OSError) as error:
        raise SourceError(f"this graph cannot be read: {_one_line(error)}", hint="export or download it again") from error
    declared = {value.name: value for value in proto.graph.output}
    produced = {name for node in proto.graph.node for name in node.output}
    if absent := [name for name in wanted if name not in produced | declared.keys()]:
        raise SourceError(f"no node of this graph produces {', '.join(absent)}", hint="edgekit inspect lists its tensors")
    del proto.graph.output[:]
    proto.graph.output.extend(declared.get(name) or onnx.ValueInfoProto(name=name) for name in wanted)
    return bytes(proto.SerializeToString())


def _foreign() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


def _refusals() -> tuple[type[Exception], ...]:
    return (*_foreign(), RuntimeError, TypeError, ValueError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
