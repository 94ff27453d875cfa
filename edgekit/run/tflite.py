"""Adapter to LiteRT (``ai-edge-litert``), or to ``tflite-runtime`` on older boards. Their Python API needs numpy."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .errors import RunError
from .session import Opening, Session, check_options
from .tensors import Tensor

OPTIONS = ("reference", "xnnpack")


class Port(NamedTuple):
    """A tensor of the interpreter, under the name the caller knows it by."""

    name: str
    tensor: int
    dtype: str


def import_runtime() -> Any:
    """The interpreter's module: of the newer package if it is there, otherwise of the older; the session's versions say which.

    Raises:
        RunError: neither can be imported.
    """
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        try:
            from tflite_runtime import interpreter  # type: ignore[import-not-found]
        except ImportError:
            raise RunError("runtime", "neither ai-edge-litert nor tflite-runtime can be imported: %s" % error) from error
    return interpreter


def open_engine(opening: Opening) -> Session:
    """Open a TFLite file.

    Options: ``xnnpack`` (default true): whether the XNNPACK delegate may take what it can; without it, TFLite's own kernels.
    ``reference`` (default false): TFLite's reference kernels, plain loops that other processors' kernels are tested against.

    Raises:
        RunError: no TFLite runtime is installed, or it refuses the file.
    """
    check_options(opening.options, OPTIONS)
    interpreter_module = import_runtime()
    arguments: Dict[str, Any] = {}
    if opening.options.get("reference", False):
        arguments["experimental_op_resolver_type"] = interpreter_module.OpResolverType.BUILTIN_REF
    elif not opening.options.get("xnnpack", True):
        arguments["experimental_op_resolver_type"] = interpreter_module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = interpreter_module.Interpreter(model_path=opening.path, num_threads=opening.threads, **arguments)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise RunError("engine", "TFLite does not open the engine %s: %s" % (os.path.basename(opening.path), error)) from error
    inputs = _ports(opening.inputs, interpreter.get_input_details(), "input")
    outputs = _ports(opening.outputs, interpreter.get_output_details(), "output")
    package = interpreter_module.__name__.partition(".")[0].replace("_", "-")
    return TfliteSession(interpreter, {name: metadata.version(name) for name in (package, "numpy")}, inputs, outputs)


def _ports(names: Sequence[str], details: List[Dict[str, Any]], what: str) -> List[Port]:
    """Match names to the file's tensors: by name, or, where another converter mangled the names, by position."""
    if len(names) != len(details):
        raise RunError("engine", "the engine has %d %ss, not %d" % (len(details), what, len(names)))
    by_name = {detail["name"]: detail for detail in details}
    chosen = [by_name[name] for name in names] if set(names) == set(by_name) else details
    return [Port(name, detail["index"], detail["dtype"].__name__) for name, detail in zip(names, chosen)]


class TfliteSession:
    """A TFLite interpreter on numpy arrays."""

    def __init__(self, interpreter: Any, versions: Dict[str, str], inputs: List[Port], outputs: List[Port]) -> None:
        self.versions = versions
        self._interpreter = interpreter
        self._inputs = {port.name: port for port in inputs}
        self._outputs = outputs
        self._shapes = {detail["index"]: tuple(detail["shape"]) for detail in interpreter.get_input_details()}

    def prepare(self, tensors: Sequence[Tensor]) -> List[Tuple[int, Any]]:
        """Arrays with the index of the tensor each one goes to."""
        import numpy as np

        ready = []
        for tensor in tensors:
            port = self._inputs.get(tensor.name)
            if port is None or port.dtype != tensor.dtype:
                wanted = port.dtype if port else "no such input"
                raise RunError("feeds", "input %s is %s, the engine wants %s" % (tensor.name, tensor.dtype, wanted))
            ready.append((port.tensor, np.frombuffer(tensor.data, tensor.dtype).reshape(tuple(tensor.shape))))
        return ready

    def run(self, ready: List[Tuple[int, Any]]) -> List[Any]:
        """Arrays by output, in order."""
        try:
            self._resize({index: array.shape for index, array in ready if array.shape != self._shapes[index]})
            for index, array in ready:
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(port.tensor) for port in self._outputs]
        except (ValueError, RuntimeError) as error:
            raise RunError("engine", "TFLite fails: %s" % error) from error

    def _resize(self, changed: Dict[int, Tuple[int, ...]]) -> None:
        for index, shape in changed.items():
            self._interpreter.resize_tensor_input(index, shape, strict=True)
            self._shapes[index] = shape
        if changed:
            self._interpreter.allocate_tensors()

    def read(self, outputs: List[Any]) -> List[Tensor]:
        """The arrays as plain tensors."""
        return [Tensor(port.name, port.dtype, array.shape, array.tobytes()) for port, array in zip(self._outputs, outputs)]
