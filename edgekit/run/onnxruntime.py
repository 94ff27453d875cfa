"""Adapter to ONNX Runtime. Its Python API needs numpy."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any, Dict, List, Sequence, Tuple, Type

from .errors import RunError
from .session import Opening, Session, check_options
from .tensors import Tensor

OPTIONS = ("graph_optimization", "session_config", "providers")
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


def import_runtime() -> Any:
    """The package itself.

    Raises:
        RunError: it cannot be imported.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("runtime", "onnxruntime cannot be imported: %s" % error) from error
    return onnxruntime


def open_engine(opening: Opening) -> Session:
    """Open an ONNX or ORT file.

    Options: ``graph_optimization`` (``all``, ``extended``, ``basic``, ``disabled``), ``session_config`` (entries by
    ONNX Runtime's own keys), ``providers`` (names in order; the CPU alone by default).

    Raises:
        RunError: ONNX Runtime is missing, or refuses the file or an option.
    """
    check_options(opening.options, OPTIONS)
    onnxruntime = import_runtime()
    failures = _failures()
    try:
        session = onnxruntime.InferenceSession(
            opening.path, _session_options(onnxruntime, opening), providers=opening.options.get("providers", ["CPUExecutionProvider"])
        )
    except failures as error:
        raise RunError("engine", "ONNX Runtime does not open the engine %s: %s" % (os.path.basename(opening.path), error)) from error
    return OnnxRuntimeSession(session, list(opening.outputs), failures)


def _session_options(onnxruntime: Any, opening: Opening) -> Any:
    levels = {
        "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    level = opening.options.get("graph_optimization", "all")
    if level not in levels:
        raise RunError("job", "graph_optimization: %s is none of %s" % (level, ", ".join(levels)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = opening.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = levels[level]
    for key, value in sorted(opening.options.get("session_config", {}).items()):
        options.add_session_config_entry(key, str(value))
    return options


def _failures() -> Tuple[Type[Exception], ...]:
    """Every exception class of ONNX Runtime's native module (they share no base), and what its Python layer raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = [kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, OSError)


class OnnxRuntimeSession:
    """An ONNX Runtime session on numpy arrays."""

    def __init__(self, session: Any, outputs: List[str], failures: Tuple[Type[Exception], ...]) -> None:
        self.versions = {"onnxruntime": metadata.version("onnxruntime"), "numpy": metadata.version("numpy")}
        self._session = session
        self._failures = failures
        self._dtypes = {port.name: DTYPES.get(port.type, port.type) for port in session.get_inputs()}
        held = [port.name for port in session.get_outputs()]
        missing = sorted(set(outputs) - set(held))
        if missing:
            raise RunError("engine", "the engine has no output %s; it has %s" % (", ".join(missing), ", ".join(held)))
        self._outputs = outputs

    def prepare(self, tensors: Sequence[Tensor]) -> Dict[str, Any]:
        """Arrays by input name."""
        import numpy as np

        ready = {}
        for tensor in tensors:
            wanted = self._dtypes.get(tensor.name)
            if wanted != tensor.dtype:
                raise RunError("feeds", "input %s is %s, the engine wants %s" % (tensor.name, tensor.dtype, wanted or "no such input"))
            ready[tensor.name] = np.frombuffer(tensor.data, tensor.dtype).reshape(tuple(tensor.shape))
        return ready

    def run(self, ready: Dict[str, Any]) -> List[Any]:
        """Arrays by output, in order."""
        try:
            return list(self._session.run(self._outputs, ready))
        except self._failures as error:
            raise RunError("engine", "ONNX Runtime fails: %s" % error) from error

    def read(self, outputs: List[Any]) -> List[Tensor]:
        """The arrays as plain tensors."""
        return [Tensor(name, str(array.dtype), array.shape, array.tobytes()) for name, array in zip(self._outputs, outputs)]
