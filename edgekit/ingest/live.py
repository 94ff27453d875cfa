"""A model that is in memory already: a ``keras.Model`` or a ``torch.nn.Module`` given to the Python API."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import UsageError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.finish import finish
from edgekit.ingest.job import Exported, Job, draft_of
from edgekit.ingest.keras import KerasFrontend
from edgekit.ingest.sniff import Kind
from edgekit.ingest.tools import require
from edgekit.ingest.torch import TorchFrontend
from edgekit.model import Model
from edgekit.samples import Samples

if TYPE_CHECKING:
    import keras
    import torch


def ingest_live(model: Any, *, out: Path, options: IngestOptions | None = None, example: Any = None, samples: Samples | None = None) -> Model:
    """Make a Model of a live ``keras.Model`` or ``torch.nn.Module``, in this process; the live one is left as it is.

    Args:
        model: the network.
        out: an empty folder.
        options: ``shape`` and ``dtype`` say what a torch module is to be exported for, where ``example`` does not.
        example: an input, a sequence of inputs, or inputs by name: arrays or tensors. A torch module needs it or ``options.shape``.
        samples: the parity is checked on some of these too.

    Raises:
        UsageError: it is neither, or its inputs are not known.
        SourceError: it cannot be exported, or the Model does not compute what it does.
    """
    label = type(model).__name__
    job = Job(label=label, source=Path(label), kind=Kind.KERAS, options=options or IngestOptions(), out=out, samples=samples)
    if _is_instance(model, "torch", "jit.ScriptModule"):
        raise UsageError(f"{label} is TorchScript, which cannot be exported", hint="give the torch.nn.Module that it was made from")
    with _quiet():
        if _is_instance(model, "torch", "nn.Module"):
            found, kind, tools = _torch(model, example, job), "torch.nn.Module", TorchFrontend().tools()
        elif _is_instance(model, "keras", "Model"):
            found, kind, tools = _keras(model, example, job), "keras.Model", KerasFrontend().tools()
        else:
            raise UsageError(f"{label} is no model", hint="give a path, a keras.Model or a torch.nn.Module")
    return finish(draft_of(found, out, kind=kind, tools=tools), label, options=job.options, out=out)


def _is_instance(model: Any, package: str, name: str) -> bool:
    """Whether it is of a class of a package; where that was never imported, nothing is."""
    found: Any = sys.modules.get(package)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(model, found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print, log and warn; the library is silent."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _torch(module: torch.nn.Module, example: Any, job: Job) -> Exported:
    require("torch", "onnxscript")
    import torch

    from edgekit.ingest.torch_export import export_module, parameters

    options = _with_example(job.options, example, parameters(module, job.options.shape))
    with torch.no_grad():
        return export_module(copy.deepcopy(module).cpu().eval(), msgspec.structs.replace(job, options=options))


def _keras(model: keras.Model, example: Any, job: Job) -> Exported:
    require("keras", "tensorflow", "tf2onnx")
    from edgekit.ingest.keras_export import export
    from edgekit.keras_source import keras_model

    callee = keras_model(model, job.label)
    options = _with_example(job.options, example, tuple(callee.shapes))
    return export(callee, msgspec.structs.replace(job, options=options))


def _with_example(options: IngestOptions, example: Any, names: Sequence[str]) -> IngestOptions:
    """The options, shapes and element types taken from an example where they say nothing."""
    if example is None:
        return options
    inputs = example if isinstance(example, Mapping) else dict(zip(names, example if isinstance(example, list | tuple) else [example], strict=False))
    if unknown := inputs.keys() - set(names):
        raise UsageError(f"example: no such input: {', '.join(sorted(unknown))}", hint=f"the inputs are {', '.join(names)}")
    shape = {name: tuple(value.shape) for name, value in inputs.items()}
    dtype = {name: str(value.dtype).removeprefix("torch.") for name, value in inputs.items()}
    return msgspec.structs.replace(options, shape={**shape, **options.shape}, dtype={**dtype, **options.dtype})
