"""The last steps of every frontend: the exported graph gets its shapes and the store's form, is checked and compared with the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import SourceError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.feeds import read_parity
from edgekit.ingest.naming import naming
from edgekit.ingest.shapes import Sizes
from edgekit.model import Layout, Model, Preprocess, Signature, Step, seal_model
from edgekit.model.store import writing

if TYPE_CHECKING:
    import onnx

WORST_ERROR = 1e-3
"""Of the largest absolute value of an output: beyond it the Model does not compute what the source does."""

_NO_SCALE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A graph as a framework exported it.

    Attributes:
        proto: the graph; it is changed.
        shapes: sizes of every input.
        layouts: of inputs, where the framework knows them.
        preprocess: what the framework knows of it.
        tools: versions of the packages that made the graph.
        did: what the frontend did, for the report.
    """

    proto: onnx.ModelProto
    shapes: Mapping[str, Sizes]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    did: Mapping[str, Any] = field(default_factory=dict)


def finish(draft: Draft, source: str, *, options: IngestOptions, out: Path) -> Model:
    """Write the Model of a draft into ``out``, where ``parity.npz`` lies already.

    Args:
        draft: what the framework exported.
        source: what messages call the source.
        options: as the user gave them.
        out: the folder.

    Raises:
        SourceError: the graph is not valid ONNX, or computes something else than the source.
        UnsupportedError: it cannot be brought into the store's form.
    """
    from edgekit.graph.onnx_file import save

    proto = prepared(draft, source, out)
    with writing(out):
        save(proto, out)
    checked(out / "model.onnx", source)
    parity = compare(out / "model.onnx", out, source)
    did = {**draft.did, "nodes": len(proto.graph.node), **parity}
    step = Step(name="ingest", options=msgspec.to_builtins(options), tools=dict(draft.tools), did=did)
    return seal_model(out, described(proto, draft, options), (step,))


def prepared(draft: Draft, source: str, out: Path) -> onnx.ModelProto:
    """The draft's graph with its inputs' sizes set, in the store's form, all shapes inferred."""
    from edgekit.graph.onnx_file import infer_shapes
    from edgekit.graph.opset import to_store_form

    strip(draft.proto)
    pin(draft.proto, draft.shapes)
    with naming(source):
        proto = infer_shapes(to_store_form(draft.proto))
    _give_outputs_a_rank(proto, out)
    return proto


def strip(proto: onnx.ModelProto) -> None:
    """Remove what exporters write for debugging: metadata and documentation of the graph, its nodes and tensors."""
    for field_ in ("metadata_props", "doc_string", "producer_name", "producer_version", "model_version", "domain"):
        proto.ClearField(field_)
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, *proto.functions):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for function in proto.functions:
        for node in function.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")


def pin(proto: onnx.ModelProto, shapes: Mapping[str, Sizes]) -> None:
    """Set the sizes of inputs; what else the file says of shapes is forgotten if that changes anything."""
    import onnx

    changed = False
    for value in proto.graph.input:
        if value.name in shapes:
            before = value.type.tensor_type.shape.SerializeToString(deterministic=True)
            wanted = onnx.helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shapes[value.name])
            value.type.CopyFrom(wanted)
            changed |= before != wanted.tensor_type.shape.SerializeToString(deterministic=True)
    if changed:
        del proto.graph.value_info[:]
        for value in proto.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()


def _give_outputs_a_rank(proto: onnx.ModelProto, out: Path) -> None:
    """Outputs about whose shape inference knows nothing have as many axes as the source's, all open."""
    ranks = {name: array.ndim for _, outputs in read_parity(out) for name, array in outputs.items()}
    for value in proto.graph.output:
        shape = value.type.tensor_type.shape
        if not value.type.tensor_type.HasField("shape") and value.name in ranks:
            shape.SetInParent()
            for axis in range(ranks[value.name]):
                shape.dim.add().dim_param = f"{value.name}_{axis}"


def checked(path: Path, source: str) -> None:
    """Have ONNX's own checker look at a file, shapes and types included.

    Raises:
        SourceError: it finds a fault.
    """
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or "no reason given"
        raise SourceError(f"{source}: not a valid graph: {reason}", hint="export it again; python -m onnx.checker says more") from error


def compare(model: Path, out: Path, source: str) -> dict[str, Any]:
    """How near the Model is to the source, on the feeds of ``parity.npz``.

    Returns:
        ``parity_max_abs``, ``parity_sqnr_db`` (None where all is equal bit for bit) and ``parity_samples``.

    Raises:
        SourceError: it is not near enough.
    """
    import numpy as np

    from edgekit.graph.run import Runner
    from edgekit.numerics.fidelity import fidelity

    runner = Runner(model)
    pairs = [(wanted, runner(feed)) for feed, wanted in read_parity(out)]
    for wanted, got in pairs:
        for name, reference in wanted.items():
            if reference.shape != got[name].shape:
                raise _differs(source, f"output {name} has shape {got[name].shape}, in the source {reference.shape}")
    found = fidelity(pairs)
    if found.not_finite:
        raise _differs(source, f"{found.not_finite} values are finite on one side only")
    for wanted, got in pairs:
        for name, reference in wanted.items():
            finite = np.isfinite(reference)
            values, others = reference[finite].astype(np.float64), got[name][finite].astype(np.float64)
            scale = max(float(np.abs(values).max(initial=0.0)), _NO_SCALE)
            worst = float(np.abs(values - others).max(initial=0.0))
            if worst > WORST_ERROR * scale:
                raise _differs(source, f"output {name} is off by {worst:.3g} where values reach {scale:.3g}")
    sqnr = None if found.sqnr_db is None else round(found.sqnr_db, 2)
    return {"parity_max_abs": found.max_abs, "parity_sqnr_db": sqnr, "parity_samples": found.samples}


def described(proto: onnx.ModelProto, draft: Draft, options: IngestOptions) -> Signature:
    """The signature of the graph, with what the user or the framework knows of layouts and preprocessing."""
    from edgekit.graph.signature import signature_of, with_output_layouts

    signature = signature_of(proto)
    inputs = tuple(
        msgspec.structs.replace(tensor, layout=options.layout or draft.layouts.get(tensor.name, tensor.layout)) if len(tensor.shape) == 4 else tensor
        for tensor in signature.inputs
    )
    return with_output_layouts(msgspec.structs.replace(signature, inputs=inputs, preprocess=draft.preprocess))


def _differs(source: str, how: str) -> SourceError:
    hint = "report it with the source; cutting the network in two finds the layer"
    return SourceError(f"{source}: the ONNX graph does not compute what the source does: {how}", hint=hint)
