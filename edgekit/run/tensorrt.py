"""Adapter to TensorRT, and to TensorRT-RTX: an engine on this machine's GPU. Needs no numpy.

Where a board has no Python package of TensorRT, trtexec opens the engine (:mod:`edgekit_run.trtexec`).
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Dict, List, Sequence, Tuple

from . import board, cuda_memory, plan_header
from .errors import RunError
from .session import Opening, Session, check_options
from .tensorrt_run import CannotRunError, Runner
from .tensors import Tensor
from .trtexec import TrtexecSession
from .trtexec_path import find_trtexec

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
    "INT32": "int32",
    "INT64": "int64",
}
MADE_BY = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
OPTIONS = ("package", "shapes")
FAILURES = (CannotRunError, cuda_memory.NoCudaError, RuntimeError, TypeError)  # TypeError: a factory returned nullptr, the driver is missing


def import_runtime(package: str = "tensorrt") -> Any:
    """TensorRT's Python package, or None where trtexec stands in for it.

    Raises:
        RunError: there is neither.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if package == "tensorrt" and find_trtexec():
            return None
        raise RunError("runtime", "%s cannot be imported: %s" % (package, error)) from error


def open_engine(opening: Opening) -> Session:
    """Open a plan, after asking its header whether it belongs to this machine.

    Options: ``package`` (``tensorrt``, ``tensorrt_rtx``), ``shapes`` (of inputs with open sizes, by name).

    Raises:
        RunError: neither TensorRT nor trtexec is here, the plan belongs to another machine, or TensorRT refuses it.
    """
    check_options(opening.options, OPTIONS)
    package = opening.options.get("package", "tensorrt")
    shapes = {name: tuple(shape) for name, shape in opening.options.get("shapes", {}).items()}
    trt = import_runtime(package)
    machine = {"made_by": MADE_BY[package], **cuda_memory.read_device()}
    machine["tensorrt"] = str(trt.__version__) if trt is not None else board.installed_tensorrt()
    wrong = plan_header.why_not_here(opening.path, machine)
    if wrong:
        raise RunError("engine", "; ".join(wrong))
    if trt is None:
        return TrtexecSession(find_trtexec(), machine["tensorrt"], opening, shapes)
    return TensorrtSession(trt, package, opening, shapes)


class TensorrtSession:
    """An execution context with one buffer for each port; what is timed goes from the host's memory to the host's memory."""

    def __init__(self, trt: Any, package: str, opening: Opening, shapes: Dict[str, Tuple[int, ...]]) -> None:
        self.versions = {package: str(trt.__version__)}
        self._complaints: List[str] = []
        self._logger = _logger(trt, self._complaints)
        name = os.path.basename(opening.path)
        try:
            with open(opening.path, "rb") as stream:
                engine = trt.Runtime(self._logger).deserialize_cuda_engine(stream.read())
            if engine is None:
                raise CannotRunError("it says nothing more")
            self._runner = Runner(trt, engine, cuda_memory.open_memory(), shapes)
        except FAILURES as error:
            raise RunError("engine", "TensorRT does not open the engine %s: %s" % (name, self._reason(error))) from error
        self._dtypes = {port: DTYPES.get(kind, kind) for port, kind in self._runner.kinds.items()}
        missing = sorted(set(opening.outputs) - set(self._runner.outputs))
        if missing:
            raise RunError("engine", "the engine has no output %s; it has %s" % (", ".join(missing), ", ".join(self._runner.outputs)))
        self._outputs = list(opening.outputs)
        self.versions["CUDA by"] = self._runner.memory_by

    def prepare(self, tensors: Sequence[Tensor]) -> Dict[str, Any]:
        """Buffers of the host by input name."""
        given = {tensor.name: tensor for tensor in tensors}
        ready = {}
        for name, host in self._runner.inputs.items():
            if name not in given:
                raise RunError("feeds", "input %s is missing" % name)
            tensor, shape = given[name], self._runner.shapes[name]
            if (tensor.dtype, tuple(tensor.shape)) != (self._dtypes[name], shape):
                raise RunError("feeds", "input %s is %s %s, the engine takes %s %s" % (name, tensor.dtype, tensor.shape, self._dtypes[name], shape))
            ready[name] = type(host).from_buffer_copy(tensor.data)
        return ready

    def run(self, ready: Dict[str, Any]) -> Dict[str, Any]:
        """The outputs' buffers, which the next query writes to again."""
        try:
            self._runner.query(ready)
        except FAILURES as error:
            raise RunError("engine", "TensorRT fails: %s" % self._reason(error)) from error
        return self._runner.outputs

    def read(self, outputs: Dict[str, Any]) -> List[Tensor]:
        """Copies of the buffers as plain tensors."""
        return [Tensor(name, self._dtypes[name], self._runner.shapes[name], bytes(outputs[name])) for name in self._outputs]

    def _reason(self, error: Exception) -> str:
        return self._complaints[-1] if self._complaints else str(error)


def _logger(trt: Any, complaints: List[str]) -> Any:
    """A logger that keeps errors."""

    class Collector(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                complaints.append(msg)

    return Collector()
