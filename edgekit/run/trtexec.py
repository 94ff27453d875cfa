"""Sessions through trtexec, where a board has no Python package of TensorRT: one process a query, times from its own trace."""

from __future__ import annotations

import array
import os
import re
import tempfile
from typing import Any, Callable, Dict, List, Sequence, Tuple

from .errors import RunError
from .session import Opening
from .tensors import Tensor
from .timing import Load, Timed
from .trtexec_query import CannotAskError, answer, load_option, times


class TrtexecSession:
    """An engine that trtexec opens anew for every query; ``time`` asks it for the times of many.

    Args:
        trtexec: the program.
        version: of its TensorRT.
        opening: what to open.
        shapes: of inputs with open sizes.
    """

    def __init__(self, trtexec: str, version: str, opening: Opening, shapes: Dict[str, Tuple[int, ...]]) -> None:
        self.versions: Dict[str, str] = {"trtexec": version}
        self._outputs = list(opening.outputs)
        self._base = [trtexec, "--loadEngine=" + opening.path]
        if shapes:
            self._base.append("--shapes=" + ",".join("%s:%s" % (name, "x".join(map(str, shape))) for name, shape in shapes.items()))
        self._files = 0
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-trtexec-")

    def prepare(self, tensors: Sequence[Tensor]) -> List[str]:
        """The inputs as files; the option that names them."""
        files = {}
        for tensor in tensors:
            self._files += 1
            files[tensor.name] = os.path.join(self._folder.name, "%d.bin" % self._files)
            with open(files[tensor.name], "wb") as stream:
                stream.write(tensor.data)
        return load_option(files)

    def run(self, ready: List[str]) -> List[Dict[str, Any]]:
        """The outputs of one query, as trtexec exports them."""
        return _asked(answer, [*self._base, *ready], os.path.join(self._folder.name, "outputs.json"))

    def read(self, outputs: List[Dict[str, Any]]) -> List[Tensor]:
        """Plain tensors. trtexec prints numbers, to six digits, and not their type: all come as float64."""
        held = {one["name"]: one for one in outputs}
        missing = sorted(set(self._outputs) - set(held))
        if missing:
            raise RunError("engine", "the engine has no output %s; it has %s" % (", ".join(missing), ", ".join(held)))
        return [_tensor(held[name]) for name in self._outputs]

    def time(self, ready: Sequence[List[str]], load: Load) -> Timed:
        """Times of single queries, copies to and from the GPU within them; trtexec runs the first feed again and again."""
        asked = {"warmup_s": load.warmup_s, "duration_s": load.min_duration_s, "queries": load.min_queries}
        trace = _asked(times, [*self._base, *ready[0]], os.path.join(self._folder.name, "times.json"), asked)
        latencies = [round(row["latencyMs"] * 1e6) for row in trace]
        wall_ns = round((trace[-1]["endD2hMs"] - trace[0]["startEnqMs"]) * 1e6)
        return Timed(latencies, wall_ns, 0, capped=len(latencies) < load.min_queries)


def _asked(ask: Callable[..., List[Dict[str, Any]]], *arguments: Any) -> List[Dict[str, Any]]:
    try:
        return ask(*arguments)
    except CannotAskError as error:
        raise RunError("engine", str(error)) from error


def _tensor(told: Dict[str, Any]) -> Tensor:
    shape = tuple(int(size) for size in re.findall(r"\d+", told["dimensions"]))
    return Tensor(told["name"], "float64", shape, array.array("d", told["values"]).tobytes())
