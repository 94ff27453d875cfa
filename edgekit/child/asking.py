"""Ask a child process: the side that asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from edgekit import errors
from edgekit.child.envelope import Answer, Limits, Question, Sandbox, decode, encode, one_line

T = TypeVar("T")

_OUTPUT_KEPT_BYTES = 64 << 10
_ANSWER_MAX_BYTES = 16 << 20
_SIGNAL_STATUS = 128
_ENVIRONMENT_IN_SANDBOX = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_TRANSPORTED = {kind.__name__: kind for kind in (errors.SourceError, errors.SamplesError, errors.UsageError, errors.StoreError)}

_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
"""Converters run on the CPU, with plain float arithmetic, and say little; tf2onnx goes through sets, whose order is that of the hashes."""


def call(function: str, request: msgspec.Struct, reply: type[T], *, limits: Limits | None = None, sandbox: Sandbox | None = None) -> T:
    """Call a function in a fresh interpreter with limits, and in a sandbox if one is given.

    The child and whatever it started end with this call, with an exception (Ctrl-C too) and with this process.

    Args:
        function: ``package.module:function``. Its one parameter and its return value are annotated msgspec structs.
        request: its argument.
        reply: type of its return value.
        limits: what it may use.
        sandbox: no network, no new processes, no view of other files than these; see :mod:`edgekit.child.sandbox`.

    Raises:
        EdgekitError: the same error of edgekit that the function raised.
        ChildError: it crashed or went beyond a limit, or the sandbox is not to be had on this system.
    """
    limits = limits or Limits()
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answered, tempfile.TemporaryFile() as printed:
        question = Question(
            function=function,
            request=msgspec.Raw(encode(request)),
            parent=os.getpid(),
            answer=answered.fileno(),
            limits=limits,
            sandbox=sandbox,
        )
        asked.write(encode(question))
        asked.seek(0)
        status = _run(asked, answered, printed, question)
        output = _tail(printed)
        if sandbox is not None:
            _remove_links(sandbox.writes)
        if status != 0:
            raise _ended(status, limits, output)
        return _opened(answered, reply, output)


def sandbox_refusal() -> str:
    """Why foreign files cannot be opened in a sandbox on this system; "" if they can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            call("edgekit.child.inside:nothing", Limits(), Limits, sandbox=Sandbox(reads=(), writes=Path(folder)))
        except errors.ChildError as error:
            return error.message
    return ""


def _run(asked: IO[bytes], answered: IO[bytes], printed: IO[bytes], question: Question) -> int:
    """The child's exit status; of a signal, 128 and its number."""
    environment = dict(os.environ)
    if question.sandbox is not None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT_IN_SANDBOX if name in os.environ}
        environment |= {"HOME": "/tmp", "USER": "sandbox", "TMPDIR": "/tmp"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgekit.child.inside"],
        stdin=asked,
        stdout=printed,
        stderr=subprocess.STDOUT,
        pass_fds=(answered.fileno(),),
        env=environment | _SETTINGS,
        start_new_session=True,
    )
    with _ending(process):
        try:
            status = process.wait(question.limits.wall_s)
        except subprocess.TimeoutExpired as error:
            raise errors.ChildError(
                f"a child process ran longer than {question.limits.wall_s:g} s and was ended",
                hint="allow more with --set ingest.timeout_s=…",
                output=_tail(printed),
            ) from error
    return _SIGNAL_STATUS - status if status < 0 else status


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the child's process group if it has not ended by itself."""
    try:
        yield
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _remove_links(folder: Path) -> None:
    """Remove what is no plain file or folder: a link made in the sandbox would point at a file outside when followed here."""
    for root, folders, files in os.walk(folder, topdown=False, followlinks=False):
        for path in (Path(root, name) for name in [*folders, *files]):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                path.unlink()


def _tail(printed: IO[bytes]) -> str:
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(0, size - _OUTPUT_KEPT_BYTES))
    return printed.read().decode(errors="replace")


def _ended(status: int, limits: Limits, output: str) -> errors.ChildError:
    if status - _SIGNAL_STATUS in (signal.SIGKILL, signal.SIGXCPU):
        return errors.ChildError(
            f"a child process used more than {limits.cpu_s} s of CPU time, or the system had no memory left, and was killed",
            hint="allow more with --set ingest.timeout_s=…, or free some memory",
            output=output,
        )
    how = f"by signal {status - _SIGNAL_STATUS}" if status > _SIGNAL_STATUS else f"with status {status}"
    said = next((one_line(line) for line in reversed(output.splitlines()) if line.strip()), "it printed nothing")
    return errors.ChildError(f"a child process ended {how}: {said}", hint="is the file damaged, or made by another version?", output=output)


def _opened(answered: IO[bytes], reply: type[T], output: str) -> T:
    answered.seek(0)
    try:
        answer = decode(answered.read(_ANSWER_MAX_BYTES), Answer)
        if bytes(answer.value):
            return decode(answer.value, reply)
    except msgspec.DecodeError as error:
        raise errors.ChildError("a child process ended without an answer", hint="is the file damaged?", output=output) from error
    raise _error(answer, output)


def _error(answer: Answer, output: str) -> errors.EdgekitError:
    if answer.no_sandbox:
        return errors.ChildError(
            f"files that can run code are opened in a sandbox only, and this system has none: {one_line(answer.no_sandbox)}",
            hint="--trust opens it without one; do so only if you know who made the file",
        )
    refused: Any = answer.refused
    if refused is not None and refused.kind in _TRANSPORTED:
        return _TRANSPORTED[refused.kind](one_line(refused.message), hint=one_line(refused.hint))
    if answer.crashed.startswith("MemoryError"):
        return errors.ChildError("a child process needed more memory than it may use", hint="--set ingest.memory_gib=…", output=output)
    crashed = one_line(answer.crashed) or "it gave no reason"
    return errors.ChildError(crashed, hint="is the file damaged, or made by another version?", output=output)
