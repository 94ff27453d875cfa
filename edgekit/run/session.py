"""A session is an engine, opened. Each runtime has one adapter, a module of this folder with the function ``open_engine``."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Dict, List, NamedTuple, Protocol, Sequence

from .errors import RunError
from .tensors import Tensor


class Opening(NamedTuple):
    """What a session is opened with.

    Attributes:
        path: the engine's file.
        threads: how many the runtime may compute with.
        options: of the runtime; each adapter lists its own and refuses others.
        inputs, outputs: names of the ports, in the engine's order.
    """

    path: str
    threads: int
    options: Dict[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]


class Session(Protocol):
    """An engine, ready to be run. Keeps nothing from one query to the next."""

    versions: Dict[str, str]

    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        """The inputs of one query as the runtime wants them, lying in memory. Not timed.

        Raises:
            RunError: they do not fit the engine.
        """

    def run(self, ready: Any) -> Any:
        """One query: from inputs lying in memory to outputs lying in memory. This is what is timed.

        Raises:
            RunError: the runtime failed.
        """

    def read(self, outputs: Any) -> List[Tensor]:
        """The outputs of one query as plain tensors, in the order of the ports. Not timed."""


def adapter_of(runtime: str) -> Any:
    """The module that opens engines of a runtime; imports the adapter, not the runtime.

    Args:
        runtime: its name.

    Raises:
        RunError: there is no adapter.
    """
    here = __package__ or ""
    name = runtime.replace("-", "_")
    if name.isidentifier() and importlib.util.find_spec("." + name, here) is not None:
        module = importlib.import_module("." + name, here)
        if hasattr(module, "open_engine"):
            return module
    raise RunError("job", "no adapter for the runtime %s" % runtime)


def check_options(options: Dict[str, Any], known: Sequence[str]) -> None:
    """Refuse runtime options that the adapter does not have.

    Raises:
        RunError: it names all of them.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise RunError("job", "unknown runtime options: %s; known are %s" % (", ".join(unknown), ", ".join(known) or "none"))
