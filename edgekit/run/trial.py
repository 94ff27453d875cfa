"""The first minutes of what was installed, and its starts afterwards: who fails them gives way to the slot before.

It runs apart from whoever started it, since the connection may go meanwhile. Outputs that are wrong once are wrong; a query that
takes too long is asked again, as the device may have been busy.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from typing import Any, Callable, Dict, Optional

from . import health
from .bundle_file import RefusedError
from .slots import BAD, GOOD, TRIAL, App, app_names, locked

EVERY_S = 5.0
TRIES = 3
STARTS = 3
PATIENCE_S = 24 * 3600.0  # whoever deploys may build for long


def begin(root: str, name: str, trial_s: float) -> None:
    """Have what runs watched by a process of its own, which goes on when this one ends, or is killed."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:  # a session of its own: whoever kills the connection's processes does not meet it
        os.setsid()
        agent = os.path.join(root, os.readlink(os.path.join(root, "agent")))
        path = os.pathsep.join(filter(None, (agent, os.environ.get("PYTHONPATH"))))  # a runtime may lie where that leads
        environment = dict(os.environ, EDGEKIT_APPS=root, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
        argv = [health.interpreter(), "-m", "edgekit_run.apps", "trial", name, str(trial_s)]
        null = subprocess.DEVNULL
        subprocess.Popen(argv, cwd=root, env=environment, stdin=null, stdout=null, stderr=null)
    finally:
        os._exit(0)


def resume(root: str) -> None:
    """Have trials watched whose watcher was never started, or is gone."""
    for name in app_names(root):
        app = App(root, name)
        known = app.state()["slots"].get(app.current() or "", {})
        if known.get("status") == TRIAL and not is_watched(app):
            begin(root, name, known["trial_s"])


def is_watched(app: App) -> bool:
    """Whether somebody watches it."""
    watching = _watching(app)
    if watching is not None:
        os.close(watching)
    return watching is None


def _watching(app: App) -> Optional[int]:
    """The lock of whoever watches; None if another process has it."""
    lock = os.open(os.path.join(app.folder, "watched"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def watch(app: App, root: str, trial_s: float, sleep: Callable[[float], None] = time.sleep) -> str:
    """Ask what runs again and again until its trial is over.

    Returns:
        What became of it: ``good``, ``bad``, or ``""`` if somebody else decided meanwhile, or watches already.
    """
    watching = _watching(app)
    if watching is None:
        return ""
    try:
        return _watched(app, root, trial_s, sleep)
    finally:
        os.close(watching)


def _watched(app: App, root: str, trial_s: float, sleep: Callable[[float], None]) -> str:
    name = app.current()
    while name is not None:
        known = app.state()["slots"].get(name)
        if known is None or known["status"] != TRIAL or app.current() != name:
            return ""
        wrong = why_bad(app, name, sleep)
        is_over = time.time() - known["since"] >= trial_s
        if wrong is not None or is_over:
            return _decide(app, root, name, wrong)
        sleep(min(EVERY_S, max(0.1, known["since"] + trial_s - time.time())))
    return ""


def _decide(app: App, root: str, name: str, wrong: Optional[str]) -> str:
    with locked(root, PATIENCE_S):
        known = app.state()["slots"].get(name)
        if app.current() != name or known is None or known["status"] != TRIAL:
            return ""
        if wrong is None:
            app.mark(name, GOOD)
            return GOOD
        _give_way(app, wrong)
        return BAD


def _give_way(app: App, wrong: str) -> None:
    """Back to the slot before; where there is none, what runs is marked and goes on running."""
    try:
        app.back(wrong, is_bad=True)
    except RefusedError:
        return


def why_bad(app: App, name: str, sleep: Callable[[float], None] = time.sleep) -> Optional[str]:
    """Why a slot does not do what it should; None if it does."""
    reason: Optional[str] = None
    for tried in range(TRIES):
        try:
            health.check(app.slot(name), manifest_of(app, name))
        except RefusedError as wrong:
            reason = wrong.reason
        except OSError as wrong:
            reason = "%s: %s" % (wrong.filename, wrong.strerror)
        else:
            return None
        if tried + 1 < TRIES:
            sleep(1.0)
    return reason


def manifest_of(app: App, name: str) -> Dict[str, Any]:
    """What a slot's manifest says.

    Raises:
        RefusedError: it cannot be read.
    """
    try:
        with open(os.path.join(app.slot(name), "manifest.json"), encoding="utf-8") as stream:
            return dict(json.load(stream))
    except (OSError, ValueError) as wrong:
        raise RefusedError("health", "its manifest cannot be read: %s" % wrong) from wrong


def keep(root: str, name: str, trial_s: float, every_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """What a service does from each start on: a trial that a restart broke off goes on, what was good is asked now and then.

    A slot on trial that brings the device down is started again and again: after the third time it gives way.
    """
    app = App(root, name)
    with locked(root, PATIENCE_S):
        current = app.current()
        state = app.state()
        if current in state["slots"] and state["slots"][current]["status"] == TRIAL:
            known = state["slots"][current]
            known["starts"] = known.get("starts", 0) + 1
            app.save(state)
            if known["starts"] > STARTS:
                _give_way(app, "it did not outlive its trial in %d starts" % STARTS)
    while True:
        watch(app, root, trial_s, sleep)
        current = app.current()
        wrong = why_bad(app, current, sleep) if current is not None else None
        if wrong is not None:
            with locked(root, PATIENCE_S):
                if app.current() == current:
                    _give_way(app, wrong)
        sleep(every_s)
