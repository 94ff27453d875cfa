"""ONNX files, opset 7 and later, with their weights inside or beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.feeds import record_parity
from edgekit.ingest.finish import Draft, finish, pin
from edgekit.ingest.naming import naming
from edgekit.ingest.shapes import Sizes, pinned
from edgekit.ingest.sniff import Kind, kind_of
from edgekit.ingest.tools import versions
from edgekit.model import Model, Signature
from edgekit.samples import Samples
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

    from edgekit.ingest.feeds import Arrays


class OnnxFrontend:
    """Reads ``.onnx``."""

    def claims(self, source: Path) -> bool:
        """Whether it is a serialized ONNX model."""
        return kind_of(source) is Kind.ONNX

    def read(self, source: Path, *, options: IngestOptions, out: Path, samples: Samples | None, watcher: Watcher) -> Model:
        """Pin its shapes and bring it into the store's form; compared with the file itself as ONNX Runtime runs it.

        ONNX Runtime has no recurrent layers with their batch first, so a file with such is run by ONNX's reference evaluator.
        """
        from edgekit.graph.batch_first import has_batch_first
        from edgekit.graph.onnx_file import load
        from edgekit.graph.opset import refuse_foreign

        proto = load(source)
        _check(proto, source)
        refuse_foreign(proto)
        _drop_weight_inputs(proto)
        with naming(str(source)):
            shapes = pinned(_declared(proto), options.shape)
            signature = _signature(proto, shapes)
            original = _reference(source) if has_batch_first(proto.graph) else _original(source, signature)
            record_parity(original, signature, out, samples=samples, count=options.check_samples, divisors=_divisors(proto))
        draft = Draft(proto=proto, shapes=shapes, tools=self.tools(), did={"format": Kind.ONNX.value})
        return finish(draft, str(source), options=options, out=out)

    def tools(self) -> dict[str, str]:
        """Versions of onnx and ONNX Runtime."""
        return versions("onnx", "onnxruntime")


def _check(proto: onnx.ModelProto, source: Path) -> None:
    """What later steps take for granted; protobuf, for one, gives text that is not UTF-8 as bytes.

    Raises:
        SourceError: the file is damaged, or its inputs and outputs are not arrays of numbers.
    """
    import onnx

    graph = proto.graph
    named = [graph.name, *(item.name for item in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *graph.node))]
    for node in graph.node:
        named += [node.op_type, node.domain, *node.input, *node.output, *(attribute.name for attribute in node.attribute)]
    if not all(isinstance(name, str) for name in named) or not all(node.output for node in graph.node):
        raise SourceError(f"{source}: damaged: a name in it is not text, or a node has no output", hint="download or export it again")
    if not graph.output:
        raise SourceError(f"{source}: the graph has no output", hint="export it again")
    numbers = set(onnx.helper.get_all_tensor_dtypes()) - {onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED}
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if value.type.WhichOneof("value") not in ("tensor_type", None) or (kind and kind not in numbers):
            raise SourceError(f"{source}: {value.name} is no array of numbers", hint="cut off what handles text or sequences, and export the rest")


def _drop_weight_inputs(proto: onnx.ModelProto) -> None:
    """Files before IR 4 list every weight as an input, too."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) < len(proto.graph.input):
        del proto.graph.input[:]
        proto.graph.input.extend(inputs)
        proto.ir_version = max(proto.ir_version, 4)


def _declared(proto: onnx.ModelProto) -> dict[str, tuple[int | str | None, ...] | None]:
    """Sizes by input; some exporters write an open one as 0 or -1."""
    declared: dict[str, tuple[int | str | None, ...] | None] = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        dims = tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param or None for dim in kind.shape.dim)
        declared[value.name] = dims if kind.HasField("shape") else None
    return declared


def _signature(proto: onnx.ModelProto, shapes: dict[str, Sizes]) -> Signature:
    """Of the inputs alone: what the outputs are is not known before shapes are inferred."""
    import onnx

    from edgekit.graph.signature import signature_of

    bare = onnx.ModelProto()
    bare.graph.input.extend(proto.graph.input)
    pin(bare, shapes)
    return signature_of(bare)


def _divisors(proto: onnx.ModelProto) -> frozenset[str]:
    """Inputs that something is divided by; runtimes end on integers divided by 0."""
    return frozenset(node.input[1] for node in proto.graph.node if node.op_type in ("Div", "Mod") and len(node.input) > 1)


def _reference(source: Path) -> Callable[[Arrays], Arrays]:
    """The file as it is, in ONNX's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(source))

    def run(feed: Arrays) -> Arrays:
        return dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))

    return run


def _original(source: Path, signature: Signature) -> Callable[[Arrays], Arrays]:
    """The file as it is, in ONNX Runtime."""
    from edgekit.graph.run import Runner

    try:
        runner = Runner(source)
    except SourceError as error:
        raise SourceError(error.message, hint="download or export it again") from error
    sizes = "; ".join(f"{tensor.name}:{','.join(map(str, tensor.shape))}" for tensor in signature.inputs)

    def run(feed: Arrays) -> Arrays:
        try:
            return runner(feed)
        except SourceError as error:
            raise SourceError(error.message, hint=f"does it run at {sizes}? others with --shape") from error

    return run
