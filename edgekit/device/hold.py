"""A lease of a device that has a shell alone: a connection that says every other second that somebody is there, in both directions.

While it lasts, the device is ours and so is a folder on it; when it ends, what we run there is ended.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from contextlib import suppress
from typing import Any

from edgekit.device.attended import ANSWER_S, CONNECT_S, Route
from edgekit.device.call import lost, opened
from edgekit.device.connection import BEAT_S, SILENCE_S
from edgekit.device.process import dropped
from edgekit.device.shell_scripts import HOLD
from edgekit.run.lease import read_holder

BYE_S = 10.0


class Held(Exception):  # noqa: N818 - no fault: somebody else has it
    """Another run has the device.

    Args:
        holder: what is known of it, as :meth:`edgekit.run.lease.Lease.take` tells.
    """

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(holder)
        self.holder = holder


class Hold:
    """The lease.

    Args:
        route: to the device.
        mark: a word that nothing else there prints.
        token: of the visit.
        holder: who takes it, in words.
        patience_s: seconds that connecting may take.

    Raises:
        Held: another run has it.
        OSError: the system there refuses; the text is its own.
        LostError: the connection broke.
    """

    def __init__(self, route: Route, mark: str, token: str, holder: str, *, patience_s: int = CONNECT_S) -> None:
        self._route, self._said, self._heard = route, b"", time.monotonic()
        self._closed = threading.Event()
        told = json.dumps({"holder": holder, "visit": token})
        self._child = opened(route, HOLD, [mark, token, told.removesuffix("}")], patience_s=patience_s)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            self.folder = self._taken(mark, patience_s + ANSWER_S)
        except BaseException:
            self._drop()
            raise

    @property
    def is_lost(self) -> bool:
        """Whether nobody is heard any more."""
        return self._child.poll() is not None or time.monotonic() - self._heard > SILENCE_S

    def close(self) -> None:
        """Say goodbye, and wait until what was put there is gone."""
        if not self.is_lost:
            self._closed.set()
            with suppress(OSError, ValueError, subprocess.TimeoutExpired):
                assert self._child.stdin is not None
                self._child.stdin.write(b"bye\n")
                self._child.stdin.close()
                self._child.wait(BYE_S)
        self._drop()

    def _taken(self, mark: str, patience_s: float) -> str:
        """The folder that is ours."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            found = re.search(rb"\036" + mark.encode() + rb"\036(taken|held|refused) ?([^\036]*)\036", self._said)
            if found is None and not self._listener.is_alive():
                break
            if found is None:
                time.sleep(0.02)
                continue
            said = found[2].decode(errors="replace")
            if found[1] == b"taken":
                return said
            if found[1] == b"held":
                raise Held(_holder(said))
            raise OSError(said)
        raise lost(
            self._route, "the connection was closed", self._child.stderr.read() if self._child.stderr and not self._listener.is_alive() else b""
        )

    def _listen(self) -> None:
        """Hear the beats; the outputs' end is the connection's."""
        assert self._child.stdout is not None
        with suppress(OSError, ValueError):
            while part := os.read(self._child.stdout.fileno(), 4096):
                self._said = (self._said + part)[-65536:]
                self._heard = time.monotonic()

    def _beat(self) -> None:
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):
            while not self._closed.wait(BEAT_S):
                self._child.stdin.write(b".")

    def _drop(self) -> None:
        self._closed.set()
        dropped(self._child)


def _holder(said: str) -> dict[str, Any]:
    """Who has it: JSON as it stands in the lock, for how many seconds nothing was heard of it, and the time there."""
    times = re.search(r" (-?[0-9]{1,15}) ([0-9]{1,15})$", said)
    silent_s, now = (float(times[1]), float(times[2])) if times else (0.0, 0.0)
    found = read_holder(said[: times.start()] if times else "", now=now)
    return {**found, "silent_s": silent_s, "held_s": max(0.0, now - found["since"])}
