"""This machine as a device."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edgekit.device.contract import DeviceFacts, Ran
from edgekit.device.process import run_to_end
from edgekit.errors import DeviceError, UsageError
from edgekit.run.state import read_facts
from edgekit.target import cpu_features


@contextmanager
def _refusals(doing: str) -> Iterator[None]:
    try:
        yield
    except shutil.Error as error:
        raise DeviceError(f"local: {doing}: {error.args[0][0][2]}", hint="free space in the temporary folder, or set TMPDIR to another") from error
    except OSError as error:
        raise DeviceError(
            f"local: {doing}: {error.strerror or error}", hint="free space in the temporary folder, or set TMPDIR to another"
        ) from error


class LocalDevice:
    """This machine, reached as a remote board is: files are copied, commands run in processes of their own.

    Args:
        url: ``local``.

    Raises:
        UsageError: the URL says more than that.
    """

    def __init__(self, url: str = "local") -> None:
        if url.rstrip(":/") != "local":
            raise UsageError(f"--device {url}: this machine has no address", hint="--device local")
        told = read_facts()
        self.facts = DeviceFacts(
            url="local",
            name=told["name"],
            arch=told["arch"],
            cpu=told["cpu"],
            features=tuple(sorted(cpu_features())),
            python=sys.executable,
        )
        self._workspaces: list[Path] = []

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file or folder.

        Raises:
            DeviceError: it cannot be written.
        """
        with _refusals(f"{local.name} cannot be copied"):
            if local.is_dir():
                shutil.copytree(local, remote, dirs_exist_ok=True)
            else:
                shutil.copyfile(local, remote)

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file back.

        Raises:
            DeviceError: it is not there.
        """
        with _refusals(f"{remote.name} cannot be fetched"):
            shutil.copyfile(remote, local)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a command to its end; it and its children are killed when time is up or this process is interrupted.

        Raises:
            DeviceError: it cannot be started, or ran longer than ``timeout_s``.
        """
        with _refusals(f"{argv[0]} cannot be run"):
            return run_to_end(argv, called=f"local: {argv[0]}", timeout_s=timeout_s, stdin=stdin)

    def workspace(self) -> PurePosixPath:
        """A fresh temporary folder.

        Raises:
            DeviceError: it cannot be made.
        """
        with _refusals("no folder can be made"):
            folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
        self._workspaces.append(folder)
        return PurePosixPath(folder)

    def close(self) -> None:
        """Remove all workspaces."""
        while self._workspaces:
            shutil.rmtree(self._workspaces.pop(), ignore_errors=True)
