"""A real adbd on a loopback port, a server of adb's own for it, and a cable that can be cut. It opens this machine's shell: Linux, not Android."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PROGRAM = os.environ.get("EDGEKIT_ADBD", "")
WHY_NOT = "" if shutil.which("adb") else "needs adb: apt-get install adb"
if not PROGRAM or not Path(PROGRAM).is_file():
    WHY_NOT = "needs adbd: tools/build_adbd.sh FOLDER, and EDGEKIT_ADBD=FOLDER/adbd"


class Adbd:
    """A device whose files lie in ``folder / "device"``; ``serial`` leads to it, ``cable.port`` through a cable.

    Args:
        folder: for all of it.
        cable: the class ``Cable`` of ``tests/sshd.py``.
    """

    def __init__(self, folder: Path, cable) -> None:
        self._folder, self.home = folder, folder / "device"
        self.home.mkdir(parents=True)
        self.apps, self.depot = self.home / "apps", self.home / "depot"  # adbd's own HOME is the user's, whatever it is told
        self._port = free_port()
        self.serial = f"127.0.0.1:{self._port}"
        self._child: subprocess.Popen[bytes] | None = None
        self.start()
        self.cable = cable(self._port)
        self.urls = {"pi": f"adb://{self.serial}", "cable": f"adb://127.0.0.1:{self.cable.port}"}

    def start(self, environment: dict[str, object] | None = None) -> None:
        """Start it, perhaps with another environment on the device."""
        told = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": self.home, "ADBD_PORT": str(self._port)}
        told |= {"EDGEKIT_APPS": self.apps, "EDGEKIT_DEPOT": self.depot, "EDGEKIT_LOCK": self.home / "lock", **(environment or {})}
        with (self._folder / "adbd.log").open("ab") as log:
            self._child = subprocess.Popen([PROGRAM], env=told, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                break
            time.sleep(0.1)

    def stop(self) -> None:
        """End it; what it started goes on."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def close(self) -> None:
        self.cable.close()
        subprocess.run(["adb", "kill-server"], capture_output=True, check=False, timeout=30)
        self.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
