"""A command on this machine, run to its end with everything it starts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from edgekit.device.contract import Ran
from edgekit.errors import DeviceError


def run_to_end(argv: Sequence[str], *, called: str, timeout_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end; it and its children are killed when time is up or this process is interrupted.

    Args:
        argv: the command.
        called: device and command, as an error names them.
        timeout_s: seconds it may take.
        stdin: what it is given.
        env: its environment; this process's if None.

    Raises:
        OSError: it cannot be started.
        DeviceError: it ran longer than ``timeout_s``.
    """
    child = subprocess.Popen(  # a session of its own: Ctrl-C reaches us alone, and then we end all of it
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=env
    )
    try:
        stdout, stderr = child.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{called} ran longer than {timeout_s:g} s", hint="is the machine busy, or the engine very slow?") from error
    finally:
        dropped(child)
    return Ran(status=child.returncode, stdout=stdout, stderr=stderr)


def dropped(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's session, and wait for the child."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
