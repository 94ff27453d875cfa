"""One command over a route, with a connection of its own: what goes in, what comes out, and how it ended, which is said in-band.

``ssh`` ends with 255 and ``adb`` with 1 where a connection breaks, and so do commands. So the script there says at its end how it
went (:mod:`edgekit.device.shell_scripts`); where nothing is said, the connection broke.
"""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from edgekit.device.attended import CONNECT_S, Route
from edgekit.device.connection import NOISE_BYTES, LostError
from edgekit.device.process import dropped
from edgekit.run.frames import CHUNK_BYTES

_BEGIN = "printf '\\036%s\\036' \"$1\"\n"  # what stands before the mark was printed by a login script
LOOK_S = 0.5
END_S = 5.0  # in which the other end kills what takes too long


class Said(NamedTuple):
    """How a call ended.

    Attributes:
        word: what the script said at its end; None if time was up before.
        stdout, stderr: what was printed besides.
    """

    word: str | None
    stdout: bytes
    stderr: bytes


def marked(said: bytes, mark: str) -> tuple[bytes, str | None]:
    """What was printed without the script's own word, and that word."""
    before, found, after = said.partition(f"\036{mark}\036".encode())
    word, ended, rest = after.partition(b"\036")
    return (before + rest, word.decode(errors="replace")) if found and ended else (said, None)


def opened(route: Route, script: str, arguments: Sequence[str], *, patience_s: int = CONNECT_S) -> subprocess.Popen[bytes]:
    """The client, running a script there. In a session of its own: Ctrl-C reaches us alone, and then the script's input ends.

    Raises:
        UnreachableError: there is no client here, or nothing to be reached.
    """
    argv = route.command(shlex.join(["exec", "sh", "-c", _BEGIN + script, "edgekit", *arguments]), patience_s=patience_s)
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)


def lost(route: Route, why: str, stderr: bytes = b"") -> LostError:
    """A connection broke."""
    last = stderr.decode(errors="replace").strip().splitlines()[-1:]
    return LostError(
        f"{route.url}: {why}{': ' if last else ''}{''.join(last)}",
        hint="is it on, and its cable in? The same command goes on where this one stopped",
    )


class Call:
    """Calls over one route.

    Args:
        route: to the device.
        mark: a word that no command prints.
        is_alive: asked twice a second whether there is still somebody to wait for.
    """

    def __init__(self, route: Route, mark: str, is_alive: Callable[[], bool]) -> None:
        self._route, self._mark, self._is_alive = route, mark, is_alive

    def __call__(
        self, script: str, *arguments: str, timeout_s: float, source: BinaryIO | None = None, sink: BinaryIO | None = None, is_first: bool = False
    ) -> Said:
        """Run a script to its end; where time is up, its input ends, and then it does.

        Args:
            script: one of :mod:`edgekit.device.shell_scripts`.
            arguments: those after the mark.
            timeout_s: seconds that it may take.
            source: goes to its standard input; without one, that stays open while it runs.
            sink: takes its standard output.
            is_first: whether nobody answered yet, so that a fault is the route's.

        Raises:
            LostError: the connection broke.
            DeviceError: there is none.
        """
        child = opened(self._route, script, [self._mark, *arguments])
        exchange = _Exchange(child, source, sink, f"\036{self._mark}\036".encode())
        try:
            is_late = exchange.until_the_end(timeout_s, self._is_alive)
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
        finally:
            dropped(child)
        stderr, word = marked(bytes(exchange.stderr), self._mark)
        if is_late is None:
            raise lost(self._route, "nobody is heard any more", stderr)
        if word is None and is_first and child.returncode > 0:
            raise self._route.fault_of(child.returncode, stderr.decode(errors="replace"))
        if word is None and not is_late:
            raise lost(self._route, "the connection was closed", stderr)
        return Said(None if is_late else word, bytes(exchange.stdout), stderr)


class _Exchange:
    """Bytes in both directions."""

    def __init__(self, child: subprocess.Popen[bytes], source: BinaryIO | None, sink: BinaryIO | None, begin: bytes) -> None:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        self._stdin, self._source, self._sink = child.stdin, source, sink
        self._begin, self._before, self._has_begun = begin, b"", False
        self._left = memoryview(b"")
        self.stdout, self.stderr = bytearray(), bytearray()
        os.set_blocking(child.stdin.fileno(), False)
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(child.stdout, selectors.EVENT_READ, self.stdout)
        self._waiting.register(child.stderr, selectors.EVENT_READ, self.stderr)
        if source is not None:
            self._waiting.register(child.stdin, selectors.EVENT_WRITE)

    def until_the_end(self, timeout_s: float, is_alive: Callable[[], bool]) -> bool | None:
        """Carry until both outputs end; whether time was up before. None if nobody is alive there."""
        end, is_late = time.monotonic() + timeout_s, False
        with self._waiting:
            while any(key.data is not None for key in self._waiting.get_map().values()):
                for key, _ in self._waiting.select(LOOK_S):
                    self._carry(key)
                if not is_alive():
                    return None
                if time.monotonic() > end:
                    if is_late:
                        break
                    is_late, end = True, time.monotonic() + END_S
                    self._close_input()
        return is_late

    def _carry(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            if not self._is_sent():
                self._close_input()
            return
        part = os.read(key.fd, CHUNK_BYTES)
        if not part:
            self._waiting.unregister(key.fileobj)
        elif key.data is self.stderr:
            self.stderr.extend(part)
        else:
            self._keep(part)

    def _keep(self, part: bytes) -> None:
        """Keep standard output, from the mark on."""
        if not self._has_begun:
            self._before = (self._before + part)[-NOISE_BYTES:]
            _, found, part = self._before.partition(self._begin)
            self._has_begun = bool(found)
        if self._sink is not None:
            self._sink.write(part)
        else:
            self.stdout.extend(part)

    def _is_sent(self) -> bool:
        """Send some; whether there was any left. Who takes no more has a reason, which is heard on another way."""
        if not self._left and self._source is not None:
            self._left = memoryview(self._source.read(CHUNK_BYTES))
        if not self._left:
            return False
        try:
            self._left = self._left[os.write(self._stdin.fileno(), self._left) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _close_input(self) -> None:
        if not self._stdin.closed:
            if self._stdin in self._waiting.get_map():
                self._waiting.unregister(self._stdin)
            self._stdin.close()
