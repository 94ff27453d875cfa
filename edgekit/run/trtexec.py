"""Sessions through trtexec, where a board has no Python package of TensorRT: one process a query, times from its own trace.

Sources: samples/common/sampleReporting.cpp of github.com/NVIDIA/TensorRT for the exported times and outputs (``exportJSONTrace``,
``exportJSONOutput``); sampleOptions.cpp for ``--loadInputs``.
"""

from __future__ import annotations

import array
import json
import os
import re
import subprocess
import tempfile
from typing import Any, Dict, List, Sequence, Tuple

from .errors import RunError
from .session import Opening
from .tensors import Tensor
from .timing import Load, Timed
from .trtexec_output import last_error


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
        named = []
        for tensor in tensors:
            self._files += 1
            path = os.path.join(self._folder.name, "%d.bin" % self._files)
            with open(path, "wb") as stream:
                stream.write(tensor.data)
            named.append("'%s':'%s'" % (tensor.name, path))
        return ["--loadInputs=" + ",".join(named)]

    def run(self, ready: List[str]) -> List[Dict[str, Any]]:
        """The outputs of one query, as trtexec exports them."""
        out = os.path.join(self._folder.name, "outputs.json")
        self._ask([*ready, "--iterations=1", "--duration=0", "--warmUp=0", "--exportOutput=" + out])
        return _json(out)

    def read(self, outputs: List[Dict[str, Any]]) -> List[Tensor]:
        """Plain tensors. trtexec prints numbers, to six digits, and not their type: all come as float64."""
        held = {one["name"]: one for one in outputs}
        missing = sorted(set(self._outputs) - set(held))
        if missing:
            raise RunError("engine", "the engine has no output %s; it has %s" % (", ".join(missing), ", ".join(held)))
        return [_tensor(held[name]) for name in self._outputs]

    def time(self, ready: Sequence[List[str]], load: Load) -> Timed:
        """Times of single queries, copies to and from the GPU within them; trtexec runs the first feed again and again."""
        out = os.path.join(self._folder.name, "times.json")
        asked = ["--warmUp=%d" % (load.warmup_s * 1000), "--duration=%d" % max(1, load.min_duration_s), "--iterations=%d" % load.min_queries]
        self._ask([*ready[0], *asked, "--exposeDMA", "--exportTimes=" + out])  # exposeDMA: no query overlaps another
        trace = _json(out)
        times = [round(row["latencyMs"] * 1e6) for row in trace]
        wall_ns = round((trace[-1]["endD2hMs"] - trace[0]["startEnqMs"]) * 1e6)
        return Timed(times, wall_ns, 0, capped=len(times) < load.min_queries)

    def _ask(self, options: List[str]) -> str:
        ran = subprocess.run([*self._base, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = ran.stdout.decode(errors="replace")
        if ran.returncode:
            raise RunError("engine", "trtexec ended with status %d: %s" % (ran.returncode, last_error(text)))
        return text


def _json(path: str) -> List[Dict[str, Any]]:
    """A file of trtexec's; C++ writes what is not finite as JSON does not."""
    try:
        with open(path, encoding="utf-8") as stream:
            rows: List[Dict[str, Any]] = json.loads(
                re.sub(r"(?<=[\s,\[-])(nan|inf)\b", lambda one: {"nan": "NaN", "inf": "Infinity"}[one.group(1)], stream.read())
            )
    except (OSError, ValueError) as error:
        raise RunError("engine", "trtexec wrote no %s that can be read: %s" % (os.path.basename(path), error)) from error
    if not rows:
        raise RunError("engine", "trtexec wrote an empty %s" % os.path.basename(path))
    return rows


def _tensor(told: Dict[str, Any]) -> Tensor:
    shape = tuple(int(size) for size in re.findall(r"\d+", told["dimensions"]))
    return Tensor(told["name"], "float64", shape, array.array("d", told["values"]).tobytes())
