"""What a bundle does on its device: files in, answers out, by its descriptor. ``run.py`` in a slot calls it.

    python3 ~/.local/share/edgekit/apps/NAME/current/run.py photo.jpg …     a line of JSON each
    python3 ~/.local/share/edgekit/apps/NAME/current/run.py --check         known inputs against recorded outputs

A classifier answers with its five best classes, a detector with boxes in pixels of the picture, anything else with its outputs'
shapes, least and largest values; inputs that are no pictures come as ``.npz`` with one array a name.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

from . import health
from .boxes import find_boxes
from .bundle_file import RefusedError
from .errors import RunError
from .pictures import View, read_picture, to_real, to_stored
from .session import Opening, Session, adapter_of
from .tensors import Tensor

DESCRIPTOR, PLAN = "descriptor.json", "build-plan.json"
BEST = 5


class Application:
    """An engine, opened once, with what lies before and behind it.

    Args:
        slot: folder of the bundle's files.

    Raises:
        RunError: the engine cannot be opened here.
    """

    def __init__(self, slot: str) -> None:
        self.descriptor = _read(os.path.join(slot, DESCRIPTOR))
        self.manifest = _read(os.path.join(slot, "manifest.json"))
        self._session: Session = adapter_of(self.manifest["engine"]["runtime"]).open_engine(opening_of(slot, self.manifest))

    def answer(self, path: str) -> Dict[str, Any]:
        """What the engine says of a file.

        Raises:
            RunError: it cannot be read, or does not fit the engine.
        """
        feeds, view = self._inputs(path)
        told = self._session.read(self._session.run(self._session.prepare(feeds)))
        ports = {port["name"]: port for port in self.descriptor["outputs"]}
        outputs = {tensor.name: to_real(tensor, ports[tensor.name]) for tensor in told}
        how = self.descriptor["postprocess"]
        if how is not None and view is not None:
            return {"boxes": [self._named(box.class_index, box.score, box=box.corners) for box in find_boxes(outputs, how, view)]}
        scores = _scores(outputs)
        if scores is not None:
            return {"classes": [self._named(index, float(scores[index])) for index in scores.argsort()[::-1][:BEST].tolist()]}
        return {
            "outputs": {name: {"shape": list(one.shape), "least": float(one.min()), "largest": float(one.max())} for name, one in outputs.items()}
        }

    def _inputs(self, path: str) -> Tuple[List[Tensor], Optional[View]]:
        if self.descriptor["preprocess"] is not None and not path.endswith(".npz"):
            tensor, view = read_picture(path, self.descriptor)
            return [tensor], view
        return read_arrays(path, self.descriptor["inputs"]), None

    def _named(self, index: int, score: float, **more: Any) -> Dict[str, Any]:
        labels = self.descriptor["labels"]
        return dict({"label": labels[index] if index < len(labels) else str(index), "index": index, "score": score}, **more)


def opening_of(slot: str, manifest: Dict[str, Any]) -> Opening:
    """How a slot's engine is opened; one that was built here lies beside what it was built of.

    Raises:
        RunError: it was to be built here, and what says how cannot be read.
    """
    engine = manifest["engine"]
    path, options = os.path.join(slot, engine["file"]), engine["options"]
    if manifest["build"] is not None:
        plan = _read(os.path.join(os.path.dirname(path), PLAN))
        path = os.path.join(os.path.dirname(path), plan["engine"])
        options = dict(options, shapes={one["input"]: one["opt"] for one in plan["profiles"]})
    return Opening(path, engine["threads"], options, engine["inputs"], engine["outputs"])


def read_arrays(path: str, ports: List[Dict[str, Any]]) -> List[Tensor]:
    """Inputs from an ``.npz`` file, in the ports' layout; where ports hold integers, real values or those integers.

    Raises:
        RunError: an array is missing.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {port["name"]: held[port["name"]] for port in ports}
    except (OSError, ValueError, KeyError) as wrong:
        raise RunError("feeds", "%s: %s" % (path, wrong)) from wrong
    tensors = []
    for port in ports:
        array = arrays[port["name"]]
        array = array[None] if array.ndim == len(port["shape"]) - 1 else array
        stored = np.ascontiguousarray(array if array.dtype == port["dtype"] else to_stored(array, port))
        tensors.append(Tensor(port["name"], port["dtype"], stored.shape, stored.tobytes()))
    return tensors


def _scores(outputs: Dict[str, Any]) -> Any:
    """The scores of a classifier: one output with one number a class; None if it is none."""
    if len(outputs) != 1:
        return None
    values = next(iter(outputs.values()))
    return values.ravel() if values.ndim and values.shape[-1] > 1 and values.size == values.shape[-1] else None


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            return dict(json.load(stream))
    except (OSError, ValueError) as wrong:
        raise RunError("file", "%s: %s" % (path, wrong)) from wrong


def main(slot: str, arguments: List[str]) -> int:
    """Answer for each file, or check the engine."""
    if not arguments or (arguments[0].startswith("-") and arguments != ["--check"]):
        sys.stderr.write("usage: run.py FILE… | run.py --check\n")
        return 2
    try:
        if arguments == ["--check"]:
            manifest = _read(os.path.join(slot, "manifest.json"))
            found = health.check(slot, manifest)
            _say({"name": manifest["name"], "version": manifest["version"], **found})
            return 0
        application = Application(slot)
        for path in arguments:
            _say(dict({"file": path}, **application.answer(path)))
    except (RunError, RefusedError) as wrong:
        sys.stderr.write("run.py: %s\n" % wrong.reason)
        return 1
    except OSError as refused:
        sys.stderr.write("run.py: %s: %s\n" % (refused.filename, refused.strerror))
        return 1
    return 0


def _say(told: Dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    sys.stdout.flush()
