"""A real OpenSSH server on a loopback port, with keys of its own, and a cable that can be pulled."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
WHY_NOT = "" if SSHD and shutil.which("ssh") else "needs OpenSSH's server and client: apt-get install openssh-server openssh-client"


class Sshd:
    """A server that lets one key in; what lies on "the device" is in ``folder / "device"``.

    ``edgekit`` reaches it by the names ``pi`` (directly) and ``cable`` (through a cable), which stand in an ssh configuration of the
    test's own.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.home = folder / "device" / "home"
        self.depot = folder / "device" / "depot"
        self.lock = folder / "device" / "lock"
        self.home.mkdir(parents=True)
        self.key, self.config = folder / "key", folder / "ssh_config"
        for path in (self.key, folder / "host_key", folder / "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        shutil.copyfile(f"{self.key}.pub", folder / "authorized_keys")
        host_key = (folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"device {' '.join(host_key)}\n")
        self.python = folder / "bin"
        self.python.mkdir()
        (self.python / "python3").symlink_to(sys.executable)
        self.path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self.cable = Cable(self.port)
        self.urls = {"pi": "ssh://pi", "cable": "ssh://cable"}
        self.configure()
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, environment: dict[str, str] | None = None, *, own: str = "") -> None:
        """Start it, perhaps with another environment on the device, or with one that the client brings along."""
        lock_and_files = {} if own else {"EDGEKIT_DEPOT": self.depot, "EDGEKIT_LOCK": self.lock}
        variables = {"HOME": self.home, "PATH": self.path, **lock_and_files, **(environment or {})}
        config = self.folder / "sshd_config"
        config.write_text(
            "\n".join(
                (
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {self.folder / 'host_key'}",
                    f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
                    f"PidFile {self.folder / 'pid'}",
                    "UsePAM no",
                    "StrictModes no",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "MaxStartups 100",
                    "SetEnv " + " ".join(f"{name}={value}" for name, value in variables.items()),
                    own,
                )
            )
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # privilege separation wants it; Debian's service makes it
        with (self.folder / "sshd.log").open("ab") as log:
            self._child = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=log, start_new_session=True)
        assert until(lambda: _answers(self.port), 10), (self.folder / "sshd.log").read_text()

    def stop(self) -> None:
        """End it and its sessions."""
        if self._child is not None:
            for pid in [*descendants(self._child.pid), self._child.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self._child.wait()
            self._child = None

    def multiply(self, count: int, path: str = "") -> list[str]:
        """Be so many devices, each with a lock and files of its own, perhaps with another PATH; their names."""
        self.stop()
        self.start({"PATH": path or self.path, "HOME": self.home}, own="AcceptEnv EDGEKIT_*")
        names = [f"board-{number}" for number in range(count)]
        folders = [self.folder / "devices" / name for name in names]
        for folder in folders:
            folder.mkdir(parents=True)
        told = (
            f"Host {name}\n  SetEnv EDGEKIT_LOCK={folder / 'lock'} EDGEKIT_DEPOT={folder / 'depot'} EDGEKIT_APPS={folder / 'apps'}"
            for name, folder in zip(names, folders, strict=True)
        )
        self.configure(*told, names=" ".join(names))
        return names

    def signal_sessions(self, number: int) -> None:
        """Send a signal to all processes of the server that serve somebody."""
        for pid in reversed(descendants(self._child.pid) if self._child else []):  # a command that is killed first would be an answer
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def log(self) -> str:
        """What the server says."""
        return (self.folder / "sshd.log").read_text()

    def close(self) -> None:
        self.cable.close()
        self.stop()

    def configure(self, *lines: str, names: str = "") -> None:
        """Write the client's configuration, perhaps with more lines and names."""
        self.config.write_text(
            "\n".join(
                (
                    *lines,
                    f"Host pi cable {names}",
                    "  HostName 127.0.0.1",
                    f"  User {self.user}",
                    f"  IdentityFile {self.key}",
                    "  IdentitiesOnly yes",
                    "  IdentityAgent none",
                    "  HostKeyAlias device",
                    f"  UserKnownHostsFile {self.known_hosts}",
                    "  GlobalKnownHostsFile /dev/null",
                    "  StrictHostKeyChecking no",  # what a careless user may have; edgekit checks all the same
                    f"Match host 127.0.0.1 originalhost cable\n  Port {self.cable.port}",
                    f"Match all\n  Port {self.port}",
                    "",
                )
            )
        )
        program = self.folder / "ssh"
        program.write_text(f'#!/bin/sh\nexec ssh -F {self.config} "$@"\n')
        program.chmod(0o755)
        self.program = program


class Cable:
    """Forwards to a port, until it is pulled: then both ends hear nothing more, as nobody tells them."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._is_in = threading.Event()
        self._is_in.set()
        self.bytes_per_s = 0.0
        self.carried = 0
        self._cut_after: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self._is_in.clear()

    def put_back(self) -> None:
        """In again: connections of before stay dead, as they are when a router forgot them."""
        for one in self._open:
            one.close()
        self._open.clear()
        self._is_in.set()

    def cut_after(self, count: int | None) -> None:
        """Close the connection once ``count`` more bytes have gone up."""
        self._cut_after = None if count is None else self.carried + count

    def close(self) -> None:
        self._listening.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._is_in.wait()
                with suppress(OSError):
                    far = socket.create_connection(("127.0.0.1", self._to))
                    self._open += [near, far]
                    threading.Thread(target=self._forward, args=(near, far, True), daemon=True).start()
                    threading.Thread(target=self._forward, args=(far, near, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        with suppress(OSError):
            while content := source.recv(16384):
                self._is_in.wait()
                sink.sendall(content)
                if is_up:
                    self.carried += len(content)
                    if self._cut_after is not None and self.carried > self._cut_after:
                        self._cut_after = None
                        break
                    if self.bytes_per_s:
                        time.sleep(len(content) / self.bytes_per_s)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(condition, seconds: float) -> bool:
    """Wait until something holds; whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def descendants(pid: int) -> list[int]:
    """All processes below one, the youngest first."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, ahead = [], [pid]
    while ahead:
        below = [child for child, parent in parents.items() if parent == ahead[0]]
        found += below
        ahead = ahead[1:] + below
    return found[::-1]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as one:
        return one.recv(64).startswith(b"SSH-")
    return False
