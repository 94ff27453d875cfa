"""What is started on a device to install a bundle, and for all that comes after.

    python -m edgekit_run.apps install WISH.json        check, unpack, build, try and switch; then have it watched
    python -m edgekit_run.apps status                   what is installed
    python -m edgekit_run.apps back NAME                return to the slot before
    python -m edgekit_run.apps mark NAME good|bad       say what became of the slot that runs
    python -m edgekit_run.apps trial NAME SECONDS       watch its first minutes, and return where it fails
    python -m edgekit_run.apps keep NAME SECONDS EVERY  what a service does: the same from each start on

``WISH.json`` has ``bundle`` (relative to it), ``keys``, ``rotations``, ``keep``, ``most_bytes``, ``trial_s``. One line of JSON
comes back, with ``error`` null or its kind and reason. The exit status is 0 only without an error.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any, Callable, Dict, List

from . import trial
from .bundle_file import RefusedError
from .errors import one_line
from .installing import Wish, all_told, install, told_of
from .slots import BAD, GOOD, App, app_names, apps_root, locked

SCHEMA = 1


def _install(root: str, path: str) -> Dict[str, Any]:
    with open(path, encoding="utf-8") as stream:
        told = json.load(stream)
    told["bundle"] = os.path.join(os.path.dirname(os.path.abspath(path)), told["bundle"])
    found = install(root, Wish(**told))
    app = App(root, found["app"])
    if app.state()["slots"][found["slot"]]["status"] != GOOD:
        trial.begin(root, app.name, found["trial_s"])
    return dict(found, installed=told_of(root, app.name))


def _status(root: str) -> Dict[str, Any]:
    trial.resume(root)
    return {"apps": all_told(root)}


def _back(root: str, name: str) -> Dict[str, Any]:
    with locked(root):
        app = _known(root, name)
        before = app.current()
        return {"before": before, "slot": app.back("", is_bad=False), "installed": told_of(root, app.name)}


def _mark(root: str, name: str, status: str) -> Dict[str, Any]:
    with locked(root):
        app = _known(root, name)
        current = app.current()
        if current is None:
            raise RefusedError("state", "%s: nothing runs" % name)
        if status == BAD:
            app.back("it was marked bad", is_bad=True)
        else:
            app.mark(current, GOOD)
        return {"slot": app.current(), "installed": told_of(root, app.name)}


def _trial(root: str, name: str, trial_s: str) -> Dict[str, Any]:
    return {"became": trial.watch(_known(root, name), root, float(trial_s))}


def _keep(root: str, name: str, trial_s: str, every_s: str) -> Dict[str, Any]:
    trial.keep(root, _known(root, name).name, float(trial_s), float(every_s))
    return {}


def _known(root: str, name: str) -> App:
    """An application that is installed; with no name, the only one."""
    names = app_names(root)
    if not name and len(names) == 1:
        return App(root, names[0])
    if name not in names:
        raise RefusedError("state", "%s is not installed; installed: %s" % (name or "nothing of one name", ", ".join(names) or "nothing"))
    return App(root, name)


VERBS: Dict[str, Callable[..., Dict[str, Any]]] = {
    "install": _install,
    "status": _status,
    "back": _back,
    "mark": _mark,
    "trial": _trial,
    "keep": _keep,
}


def answer(arguments: List[str]) -> Dict[str, Any]:
    """What a verb says, or why it cannot be done."""
    try:
        return dict(VERBS[arguments[0]](apps_root(), *arguments[1:]), schema=SCHEMA, error=None)
    except RefusedError as refused:
        error = {"kind": refused.kind, "reason": one_line(refused.reason)}
    except OSError as refused:
        kind = "disk" if refused.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else "file"
        error = {"kind": kind, "reason": one_line("%s: %s" % (refused.filename or "a file", refused.strerror or refused))}
    except MemoryError:
        error = {"kind": "memory", "reason": "not enough memory on this device"}
    except Exception as wrong:  # noqa: BLE001 - what nobody foresaw is said, too, and not thrown at whoever waits
        error = {"kind": "defect", "reason": one_line("%s: %s" % (type(wrong).__name__, wrong))}
    return {"schema": SCHEMA, "error": error}


def main(arguments: List[str]) -> int:
    """Do what is asked and print the answer."""
    if not arguments or arguments[0] not in VERBS:
        sys.stderr.write("usage: python -m edgekit_run.apps " + "|".join(VERBS) + "\n")
        return 2
    told = answer(arguments)
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if told["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
