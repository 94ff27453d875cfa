"""PyTorch to ONNX by torch.onnx: runs where torch may be imported."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError, UsageError
from edgekit.extras import extra
from edgekit.graph.onnx_file import save
from edgekit.graph.signature import guess_layout
from edgekit.ingest.feeds import OPEN_BATCH, OPEN_SIZE, record_parity
from edgekit.ingest.job import EXPORT_FOLDER, Exported, Job
from edgekit.ingest.names import rename
from edgekit.ingest.naming import naming
from edgekit.ingest.shapes import Sizes, pinned
from edgekit.ingest.sniff import Kind
from edgekit.model import Layout, Signature, Tensor
from edgekit.model.signature import unique
from edgekit.model.store import writing

if TYPE_CHECKING:
    import onnx
    import torch
    from torch.export import ExportedProgram

    from edgekit.ingest.feeds import Arrays

OPSET = 21

_WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PARALLEL_PREFIX = "module."
_SHOWN_KEYS = 3
_TRAINING_ARGUMENT = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}
"""Which argument of an operator says that it works as in training."""


@dataclass(frozen=True, slots=True)
class Callee:
    """An exported program with flat inputs and outputs.

    Attributes:
        program: the program.
        shapes: sizes of its tensor inputs by name, in order; a word for an open one.
        dtypes: numpy's names.
        outputs: names of the outputs, in order.
    """

    program: ExportedProgram
    shapes: Mapping[str, tuple[int | str, ...]]
    dtypes: Mapping[str, str]
    outputs: tuple[str, ...]


def convert(job: Job) -> Exported:
    """Export ``job.source`` to a graph below ``job.out``, and its outputs on a few inputs beside it."""
    with extra("torch"):
        import torch
    torch.set_grad_enabled(False)
    if job.kind is Kind.EXPORTED:
        return export(described(_program(job), job.label), job)
    module = built(job.options.factory)
    load_weights(module, job)
    return export_module(module, job)


def export_module(module: torch.nn.Module, job: Job) -> Exported:
    """Export a module that is in evaluation mode, at the sizes and of the types that the options say."""
    with extra("torch"):
        import torch

    names = parameters(module, job.options.shape)
    if not names:
        raise UsageError(f"{job.label}: its forward names no inputs", hint="wrap it in a module whose forward(self, image, …) does")
    try:
        shapes = pinned(dict.fromkeys(names), job.options.shape)
    except SourceError as error:
        raise UsageError(f"{job.label}: {error.message}", hint=error.hint) from error
    dtypes = {name: job.options.dtype.get(name, "float32") for name in names}
    sizes = {name: [_example_size(axis, size) for axis, size in enumerate(shapes[name])] for name in names}
    example = {name: torch.zeros(sizes[name], dtype=_torch_dtype(dtypes[name])) for name in names}
    dynamic = {name: {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shapes[name]) if isinstance(size, str)} or None for name in names}
    try:
        program = torch.export.export(module.eval(), (), example, dynamic_shapes=dynamic)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        hint = "it must run at these sizes (--shape), without Python's own branches on values"
        raise SourceError(f"{job.label}: torch.export cannot trace it: {_reason(error)}", hint=hint) from error
    return export(described(program, job.label), job)


def export(callee: Callee, job: Job) -> Exported:
    """Write the ONNX graph of a program, and its outputs on a few inputs."""
    with extra("torch"):
        import torch
    with naming(job.label):
        shapes = pinned(callee.shapes, job.options.shape)
    layouts: dict[str, Layout] = {name: guess_layout(sizes) or "nchw" for name, sizes in shapes.items() if len(sizes) == 4}
    inputs = tuple(Tensor(name, callee.dtypes[name], sizes, layouts.get(name, "")) for name, sizes in shapes.items())
    try:
        with naming(job.label):
            record_parity(_runner(callee), Signature(inputs=inputs, outputs=()), job.out, samples=job.samples, count=job.options.check_samples)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SourceError(f"{job.label}: it does not run at the sizes {shapes}: {_reason(error)}", hint="choose others with --shape") from error
    try:
        made = torch.onnx.export(callee.program, dynamo=True, external_data=False, opset_version=OPSET, verbose=False)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        hint = "does another way to write that part of the network avoid the operator?"
        raise SourceError(f"{job.label}: torch.onnx cannot export it: {_reason(error)}", hint=hint) from error
    proto = _with_names(made.model_proto, callee)
    with writing(job.out):
        (job.out / EXPORT_FOLDER).mkdir()
        save(proto, job.out / EXPORT_FOLDER)
    return Exported(shapes=shapes, layouts=layouts, did={"exporter_opset": OPSET})


def described(program: ExportedProgram, label: str) -> Callee:
    """A program with what its graph says of inputs and outputs.

    Raises:
        SourceError: it was exported in training mode.
    """
    for node in program.graph.nodes:
        place = _TRAINING_ARGUMENT.get(str(node.target))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise SourceError(f"{label}: it was exported in training mode", hint="call model.eval() before torch.export.export")
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    names = _tensor_inputs(program)
    return Callee(
        program=program,
        shapes={name: tuple(size if isinstance(size, int) else str(size) for size in values[name].shape) for name in names},
        dtypes={name: str(values[name].dtype).removeprefix("torch.") for name in names},
        outputs=tuple(unique([*names, *_output_names(program)])[len(names) :]),
    )


def built(factory: str) -> torch.nn.Module:
    """The module that ``path/to/module.py:function`` returns.

    Raises:
        UsageError: there is no such file or function, or it returns something else.
    """
    import torch

    file, _, name = factory.rpartition(":")
    path = Path(file)
    if not name or path.suffix != ".py" or not path.is_file():
        raise UsageError(f"--factory {factory}: no such file", hint="--factory path/to/module.py:function")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--factory {factory}: not a Python file", hint="--factory path/to/module.py:function")
    code = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = code
    spec.loader.exec_module(code)
    function = getattr(code, name, None)
    if not callable(function):
        raise UsageError(f"--factory {factory}: {file} has no function {name}", hint="--factory path/to/module.py:function")
    module = function()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"--factory {factory}: it returns {type(module).__name__}", hint="it must return the torch.nn.Module, without arguments")
    return module


def load_weights(module: torch.nn.Module, job: Job) -> None:
    """Load a state dict, or the one in a checkpoint, as plain tensors.

    Raises:
        SourceError: it cannot be read, or does not fit the module.
    """
    import torch

    try:
        held = torch.load(job.source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SourceError(f"{job.label}: torch cannot load it as plain tensors: {_reason(error)}", hint="is it cut short? save it again") from error
    weights = _weights(held)
    if weights is None:
        raise SourceError(f"{job.label}: there is no state dict in it", hint="torch.save(model.state_dict(), 'net.pth')")
    try:
        result = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        worst = str(error).splitlines()[-1].strip()
        raise SourceError(f"{job.label}: the weights do not fit {job.options.factory}: {worst}", hint="is it the same network?") from error
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    faults = [f"{word} {_some(keys)}" for word, keys in (("missing", missing), ("unexpected", result.unexpected_keys)) if keys]
    if faults:
        raise SourceError(f"{job.label}: the weights do not fit {job.options.factory}: {'; '.join(faults)}", hint="is it the same network?")


def _program(job: Job) -> ExportedProgram:
    import torch

    try:
        return torch.export.load(str(job.source))
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise SourceError(
            f"{job.label}: torch cannot load it: {_reason(error)}",
            hint="damaged, of another torch version, or doing what the sandbox forbids; save it again with this torch",
        ) from error


def _tensor_inputs(program: ExportedProgram) -> tuple[str, ...]:
    from torch.export.graph_signature import InputKind, TensorArgument

    specs = [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    return tuple(spec.arg.name for spec in specs if isinstance(spec.arg, TensorArgument))


def _output_names(program: ExportedProgram) -> list[str]:
    """The keys of a dictionary or named tuple of tensors; otherwise ``output``, or ``output_0``, ``output_1``, …"""
    count = len(program.graph_signature.user_outputs)
    structure = program.call_spec.out_spec
    keys = structure.context if structure is not None and structure.type is dict else getattr(getattr(structure, "context", None), "_fields", None)
    if keys is not None and len(keys) == count:
        return [str(key) for key in keys]
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _runner(callee: Callee) -> Callable[[Arrays], Arrays]:
    import torch
    from torch.export.graph_signature import InputKind, TensorArgument
    from torch.utils import _pytree

    module = callee.program.module()
    specs = [spec.arg for spec in callee.program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]

    def run(feed: Arrays) -> Arrays:
        given = [torch.from_numpy(feed[spec.name]) if isinstance(spec, TensorArgument) else spec.value for spec in specs]
        arguments, keywords = _pytree.tree_unflatten(given, callee.program.call_spec.in_spec)
        values = _pytree.tree_leaves(module(*arguments, **keywords))
        return {name: np.asarray(value) for name, value in zip(callee.outputs, values, strict=True)}

    return run


def _with_names(proto: onnx.ModelProto, callee: Callee) -> onnx.ModelProto:
    inputs = dict(zip((value.name for value in proto.graph.input), callee.shapes, strict=True))
    outputs = dict(zip((value.name for value in proto.graph.output), callee.outputs, strict=True))
    rename(proto, {**inputs, **outputs})
    return proto


def parameters(module: torch.nn.Module, shape: Mapping[str, Sizes]) -> tuple[str, ...]:
    """Names of the inputs: parameters of ``forward`` without a default, and those that the user gives a shape."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = [parameter for parameter in parameters if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]
    return tuple(parameter.name for parameter in named if parameter.default is parameter.empty or parameter.name in shape)


def _example_size(axis: int, size: int | str) -> int:
    return size if isinstance(size, int) else OPEN_SIZE if axis else OPEN_BATCH


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    kind = getattr(torch, name, None)
    if not isinstance(kind, torch.dtype):
        raise UsageError(f"ingest.dtype: {name} is no element type", hint="such as float32, float16, int64, bool")
    return kind


def _weights(held: Any) -> Mapping[str, torch.Tensor] | None:
    """The state dict in what ``torch.load`` gave, without the prefix that ``DataParallel`` adds."""
    import torch

    if not isinstance(held, Mapping):
        return None
    if held and all(isinstance(value, torch.Tensor) for value in held.values()):
        if all(str(key).startswith(_PARALLEL_PREFIX) for key in held):
            return {str(key).removeprefix(_PARALLEL_PREFIX): value for key, value in held.items()}
        return held
    return next((found for key in _WEIGHT_KEYS if (found := _weights(held.get(key))) is not None), None)


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return ", ".join(keys[:_SHOWN_KEYS]) + more


def _reason(error: BaseException) -> str:
    """The first line of an exception's innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
