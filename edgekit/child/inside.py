"""The side that is asked: what runs in the fresh interpreter."""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
import typing
from types import TracebackType

import msgspec

from edgekit.child.envelope import Answer, Limits, Question, Refused, decode, encode
from edgekit.child.sandbox import SandboxUnavailableError, enter
from edgekit.errors import EdgekitError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer the question on standard input; never returns."""
    question = decode(sys.stdin.buffer.read(), Question)
    die_with_parent(question.parent)
    _limit(question.limits)
    _answer_crashes(question.answer)
    if question.sandbox is not None:
        try:
            enter(question.sandbox)
        except SandboxUnavailableError as error:
            _leave(question.answer, Answer(no_sandbox=str(error)))
    try:
        value = _function(question)
    except EdgekitError as error:
        _leave(question.answer, Answer(refused=Refused(kind=type(error).__name__, message=error.message, hint=error.hint)))
    _leave(question.answer, Answer(value=value))


def nothing(request: Limits) -> Limits:
    """Give back what was given."""
    return request


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def _answer_crashes(descriptor: int) -> None:
    """Put an exception that nobody expected into the answer; its traceback is printed as always."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        _leave(descriptor, Answer(crashed=f"{kind.__name__}: {error}"))

    sys.excepthook = hook


def _function(question: Question) -> msgspec.Raw:
    module, _, name = question.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    (parameter, *_) = typing.get_type_hints(function).values()
    return msgspec.Raw(encode(function(decode(question.request, parameter))))


def _leave(descriptor: int, answer: Answer) -> typing.NoReturn:
    """Write the answer and end at once: some frameworks hang or crash when the interpreter is taken down."""
    with open(descriptor, "wb") as stream:
        stream.write(encode(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
