"""A connection to an attendant (:mod:`edgekit.run.attendant`) through a child process, ended when nothing moves on it any more."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from edgekit.errors import DeviceError, UnreachableError
from edgekit.run.frames import CHUNK_BYTES, GREETING, pack, read_frame

BEAT_S = 2.0
SILENCE_S = 12.0
GREETING_S = 30.0  # logging in and starting Python, on the slowest device
NOISE_BYTES = 256 * 1024
SAID_BYTES = 16 * 1024
CANCEL_S = 3.0

Answer = tuple[dict[str, Any], bytes]


class LostError(UnreachableError):
    """The connection broke: what was asked may or may not have been done."""


class Connection:
    """One child process that carries frames.

    Args:
        argv: what connects; its standard input and output are the connection's.
        script: what the other end reads first.
        called: the device, as an error names it.
        fault: the error that a child stands for which ended before the greeting, from its exit status and standard error.

    Raises:
        DeviceError: there is no connection.
    """

    def __init__(self, argv: Sequence[str], script: bytes, *, called: str, fault: Callable[[int, str], DeviceError]) -> None:
        self._called = called
        self._said = b""
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._child = subprocess.Popen(  # a session of its own: Ctrl-C reaches us alone, and then we say goodbye
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        assert self._child.stdin is not None and self._child.stdout is not None and self._child.stderr is not None
        self._outward, self._inward = self._child.stdin.fileno(), self._child.stdout.fileno()
        self._errors = self._child.stderr.fileno()
        os.set_blocking(self._outward, False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._write(script)
            self._greeted()
        except LostError as lost:
            self._drop()
            raise (fault(self._child.returncode, self._said.decode(errors="replace")) if self._child.returncode > 0 else lost) from lost
        except BaseException:
            self._drop()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether it is known to be of no more use."""
        return self._child.poll() is not None

    def ask(self, header: dict[str, Any], payload: bytes = b"", *, timeout_s: float) -> Answer:
        """Say something and wait for the answer.

        Raises:
            LostError: the connection broke, or was silent.
            DeviceError: no answer within ``timeout_s``, though the other end lives.
        """
        try:
            self.tell(header, payload)
            return self._answer(timeout_s)
        except (LostError, DeviceError):
            self._drop()
            raise
        except BaseException:
            self._cancel()
            raise

    def tell(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Say something that has no answer.

        Raises:
            LostError: the connection broke, or was silent.
        """
        try:
            with self._sending:
                if self._closed.is_set():
                    raise self._lost("the connection was closed")
                self._write(pack(header, payload))
        except LostError:
            self._drop()
            raise

    def close(self) -> None:
        """Say goodbye, and wait until the other end has cleared up."""
        with suppress(LostError):
            self.tell({"op": "bye"})
            self._closed.set()
            self._exhaust()
        self._drop()

    def _answer(self, timeout_s: float) -> Answer:
        end = time.monotonic() + timeout_s
        while True:
            header, payload = self._frame()
            if header.get("op") != "beat":
                return header, payload
            if time.monotonic() > end:
                raise DeviceError(f"{self._called}: no answer within {timeout_s:g} s", hint="is the machine busy, or its disk very slow?")

    def _frame(self) -> Answer:
        try:
            return read_frame(self._exactly)
        except (ValueError, KeyError) as error:
            raise LostError(f"{self._called}: what came is no answer: {error}", hint="does a login script of that user print something?") from error

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._read(min(count, CHUNK_BYTES), SILENCE_S)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _read(self, most: int, patience_s: float) -> bytes:
        ready, _, _ = select.select([self._inward], [], [], patience_s)
        if not ready:
            raise self._lost(f"silent for {patience_s:g} s")
        part = os.read(self._inward, most)
        if not part:
            self._ended()
            raise self._lost("the connection was closed")
        return part

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            _, ready, _ = select.select([], [self._outward], [], SILENCE_S)
            if not ready:
                raise self._lost(f"took nothing for {SILENCE_S:g} s")
            try:
                view = view[os.write(self._outward, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                self._ended()
                raise self._lost("the connection was closed") from error

    def _greeted(self) -> None:
        """Pass over what a login script prints, up to the greeting."""
        said, end = b"", time.monotonic() + GREETING_S
        while not said.endswith(GREETING):
            said += self._read(1, max(0.1, end - time.monotonic()))
            if len(said) > NOISE_BYTES:
                raise DeviceError(f"{self._called}: its login shell prints without end", hint="ssh HOST true should print nothing")

    def _lost(self, why: str) -> LostError:
        last = self._said.decode(errors="replace").strip().splitlines()[-1:]
        return LostError(
            f"{self._called}: {why}{': ' if last else ''}{''.join(last)}",
            hint="is it on, and its cable in? The same command goes on where this one stopped",
        )

    def _listen(self) -> None:
        with suppress(OSError):
            while part := os.read(self._errors, 4096):
                self._said = (self._said + part)[-SAID_BYTES:]

    def _beat(self) -> None:
        """Say every other second that we are there; where more is being said, that will do."""
        while not self._closed.wait(BEAT_S):
            if self._sending.acquire(blocking=False):
                try:
                    if self._closed.is_set():
                        return
                    os.write(self._outward, pack({"op": "beat"}))  # below PIPE_BUF: all of it or none
                except BlockingIOError:
                    pass
                except OSError:
                    return
                finally:
                    self._sending.release()

    def _cancel(self) -> None:
        """Who was interrupted ends what runs there, and keeps the connection if that is answered at once."""
        try:
            self.tell({"op": "cancel"})
            self._answer(CANCEL_S)
        except DeviceError:
            self._drop()

    def _exhaust(self) -> None:
        end = time.monotonic() + SILENCE_S
        while time.monotonic() < end and self._read(CHUNK_BYTES, SILENCE_S):
            pass

    def _ended(self) -> None:
        """Let a child that closes its pipes say why."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(2)
        self._listener.join(1)

    def _drop(self) -> None:
        self._closed.set()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._listener.join(1)
        with self._sending:
            for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
