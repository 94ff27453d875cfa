"""The other end of a connection: files, commands and a lease for a client far away, over standard input and output.

Every frame (:mod:`edgekit_run.frames`) from the client has ``op``; all but ``beat``, ``cancel``, ``chunk`` and ``bye`` are answered, in
order, by a frame that is empty or has ``error``. Both sides send ``beat`` when they have nothing else to say: a cable
that was pulled closes nothing, and only silence tells. After ``SILENCE_S`` without a word the command is killed with all
that it started, the lease given back, and the process ends; it ends at once when the connection is closed. Workspaces go
with the goodbye alone, so that who was cut off finds them again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Optional, Tuple

from .depot import Depot, depot_root, sha256_of
from .errors import one_line
from .frames import CHUNK_BYTES, GREETING, Frame, pack, read_frame
from .lease import Lease, lock_path
from .probe import read_probe

BEAT_S = 2.0
SILENCE_S = 20.0
AHEAD = 16  # chunks that may wait for the disk
PR_SET_PDEATHSIG = 1  # Linux, <sys/prctl.h>


class Attendant:
    """One visit of a client.

    Args:
        inward: descriptor that frames come from.
        outward: descriptor that frames go to.
    """

    def __init__(self, inward: int, outward: int) -> None:
        self._inward, self._outward = inward, outward
        self._frames: "queue.Queue[Optional[Frame]]" = queue.Queue(AHEAD)
        self._sending = threading.Lock()
        self._heard = time.monotonic()
        self._child: Optional[subprocess.Popen[bytes]] = None
        self._cancelled = False
        self._lease = Lease(lock_path())
        self._depot: Optional[Depot] = None
        self._token = ""
        self._waiting_as = ""
        self._ops: Dict[str, Callable[[Dict[str, Any], bytes], Tuple[Dict[str, Any], bytes]]] = {
            "hello": self._hello,
            "ping": lambda told, _: ({}, b""),
            "run": self._run,
            "lease": self._take,
            "workspace": lambda told, _: ({"path": self._files.workspace()}, b""),
            "offer": lambda told, _: ({"have": self._files.offer(told["pieces"])}, b""),
            "place": lambda told, _: ({"wrong": self._files.place(told["folders"], told["files"])}, b""),
            "look": self._look,
            "read": self._read,
        }

    def attend(self) -> None:
        """Answer until the client says goodbye or is gone."""
        self._send_raw(GREETING)
        for task in (self._listen, self._beat, self._watch):
            threading.Thread(target=task, daemon=True).start()
        while True:
            frame = self._frames.get()
            if frame is None:
                self._end()
                return
            header, payload = frame
            if header["op"] == "bye":
                if self._depot is not None:
                    self._depot.leave()
                self._lease.release()  # last: who waits for it may be about to send the very pieces that go
                return
            if header["op"] == "chunk":
                self._files.add(header["sha"], header["offset"], payload)
                continue
            self._send(*self._answered(header, payload))

    @property
    def _files(self) -> Depot:
        if self._depot is None:
            raise OSError(errno.EINVAL, "nobody said hello")
        return self._depot

    def _answered(self, header: Dict[str, Any], payload: bytes) -> Tuple[Dict[str, Any], bytes]:
        try:
            return self._ops[header["op"]](header, payload)
        except OSError as refused:
            reason = refused.strerror or str(refused)
            return {"error": {"errno": errno.errorcode.get(refused.errno or 0, ""), "reason": one_line(reason), "file": refused.filename}}, b""
        except Exception as wrong:  # noqa: BLE001 - what nobody foresaw must not leave the client waiting
            return {"error": {"errno": "", "reason": one_line("%s: %s" % (type(wrong).__name__, wrong)), "file": None}}, b""

    def _hello(self, told: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        self._token = told["token"]
        self._depot = Depot(depot_root(), self._token)
        self._depot.come_back()
        return {"facts": read_probe(), "called": sys.argv[2]}, b""  # not sys.executable, which an emulator may name as it lies within

    def _take(self, told: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        """A build of this very visit, begun before its connection broke, holds the lease for it; it is taken over when that ends."""
        found = self._lease.take(told["holder"], visit=self._token)
        is_ours = found is not None and found["visit"] == self._token
        self._waiting_as = told["holder"] if is_ours else ""
        return {"holder": None if is_ours else found}, b""

    def _look(self, told: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        return {"bytes": os.stat(told["path"]).st_size, "sha": sha256_of(told["path"])}, b""

    def _read(self, told: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        with open(told["path"], "rb") as stream:
            stream.seek(told["offset"])
            return {}, stream.read(min(told["bytes"], 8 * CHUNK_BYTES))

    def _run(self, told: Dict[str, Any], stdin: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Run a command in a session of its own; whatever ends it ends all that it started."""
        self._cancelled = False
        child = subprocess.Popen(
            told["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_dies_with_us,
        )
        self._child = child
        late = False
        try:
            stdout, stderr = child.communicate(stdin, timeout=told["timeout_s"])
        except subprocess.TimeoutExpired:
            late = True
            _kill(child)
            stdout, stderr = b"", b""
        finally:
            self._child = None
            _kill(child)
            child.wait()
        return {"status": child.returncode, "late": late, "cancelled": self._cancelled, "stdout_bytes": len(stdout)}, stdout + stderr

    def _listen(self) -> None:
        """Read frames as they come: a ``cancel`` must be heard while a command runs."""
        try:
            while True:
                header, payload = read_frame(self._exactly)
                if header["op"] == "cancel":
                    self._cancelled = True
                    _kill(self._child)
                elif header["op"] != "beat":
                    self._frames.put((header, payload))
        except (EOFError, OSError, ValueError, KeyError):
            self._end()

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self._inward, min(count, CHUNK_BYTES))
            if not part:
                raise EOFError
            self._heard = time.monotonic()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            self._send({"op": "beat"})

    def _watch(self) -> None:
        """End in silence. Apart from the beats, which wait when nobody takes them."""
        while True:
            time.sleep(BEAT_S / 2)
            silent_s = time.monotonic() - self._heard
            if silent_s > SILENCE_S:
                self._end()
            with suppress(OSError):
                if self._waiting_as and self._lease.take(self._waiting_as, visit=self._token) is None:
                    self._waiting_as = ""
            if silent_s < 2 * BEAT_S:
                self._lease.touch()
                if self._depot is not None:
                    self._depot.touch()

    def _send(self, header: Dict[str, Any], payload: bytes = b"") -> None:
        self._send_raw(pack(header, payload))

    def _send_raw(self, content: bytes) -> None:
        view = memoryview(content)
        with self._sending:
            try:
                while view:
                    view = view[os.write(self._outward, view) :]
            except OSError:
                self._end()

    def _end(self) -> None:
        """Nobody is there any more: kill what runs and go. The kernel gives the lease back."""
        _kill(self._child)
        os._exit(1)


_LIBC = ctypes.CDLL(None)


def _dies_with_us() -> None:
    """Runs in the child: where this process is killed, the command is, too."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill(child: "Optional[subprocess.Popen[bytes]]") -> None:
    """Kill all that is left of a command's session."""
    if child is not None:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)


def main() -> None:
    """Attend to whoever is at the other end of standard input and output."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(os.umask(0o077) | 0o022)  # adbd's is 0, and what is put here is run: nobody else may write to it
    outward = os.dup(1)
    os.dup2(2, 1)  # nothing else may get in between the frames
    Attendant(0, outward).attend()
