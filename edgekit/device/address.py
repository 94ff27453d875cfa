"""``ssh://[USER@]HOST[:PORT]``, the command that reaches it, and what OpenSSH's words mean when it does not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from edgekit.device.attended import CONNECT_S
from edgekit.errors import DeviceError, UnreachableError, UsageError

SSH_PORT = 22
FORM = "ssh://[USER@]HOST[:PORT]"

# A cable that was pulled is noticed after 3 x 2 s. Host keys are never accepted by themselves, whatever the user's
# configuration says; a connection that somebody else keeps open (ControlPath) is not used, as its keep-alive is not ours.
ALIVE = ("ServerAliveInterval=2", "ServerAliveCountMax=3", "TCPKeepAlive=yes")
UNATTENDED = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ControlMaster=no",
    "ControlPath=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
)


class Address(NamedTuple):
    """Where a device is; host may be a name of ``~/.ssh/config``. Empty or 0: as the configuration says."""

    host: str
    user: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """As it is written in files and reports."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def arguments(self) -> list[str]:
        """As ``ssh`` takes it."""
        return [*(["-l", self.user] if self.user else []), *(["-p", str(self.port)] if self.port else []), "--", self.host]

    def command(self, remote: str, *, patience_s: int = CONNECT_S) -> list[str]:
        """What connects without anybody at the keyboard, and runs a command there.

        Args:
            remote: as the login shell there takes it.
            patience_s: seconds that connecting may take.

        Raises:
            UnreachableError: there is no OpenSSH here.
        """
        return [_client(), "-T", *_options((f"ConnectTimeout={patience_s}", *ALIVE, *UNATTENDED)), *self.arguments, remote]

    def shell(self) -> list[str]:
        """What opens a shell for somebody at the keyboard, who may be asked for a host key.

        Raises:
            UnreachableError: there is no OpenSSH here.
        """
        return [_client(), *_options((f"ConnectTimeout={CONNECT_S}", *ALIVE)), *self.arguments]

    @property
    def by_hand(self) -> str:
        """What a user types to try."""
        words = [word for word in self.arguments if word != "--"]
        return " ".join(["ssh", *words, "true"])

    def fault_of(self, status: int, said: str) -> DeviceError:
        """The error that a connection stands for which never came about.

        Args:
            status: exit status of ``ssh``: 255 if the fault is the connection's, else the command's.
            said: what it printed.
        """
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else f"ssh ended with status {status}"
        for pattern, message, hint in _FAULTS:
            if found := re.search(pattern, said):
                words = {
                    "url": self.url,
                    "try": self.by_hand,
                    "forget": _forget(self, said) if "{forget}" in hint else "",
                    "found": found[found.lastindex or 0].strip(),
                    "last": last,
                }
                kind = DeviceError if status != 255 else UnreachableError
                return kind(f"{self.url}: {message.format(**words)}", hint=hint.format(**words))
        if status == 255:
            return UnreachableError(f"{self.url}: {last}", hint=self.by_hand)
        return DeviceError(
            f"{self.url}: the connection opens, and nothing answers on it: {last}", hint=f"does `{self.by_hand}` end well and print nothing?"
        )


def parsed(url: str) -> Address:
    """The address that a URL names.

    Raises:
        UsageError: it has another form, or a password in it; the password is not repeated.
    """
    told = re.fullmatch(r"ssh:(?://)?(?:([^@/]*)@)?(\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9_][\w.-]*)(?::(\d{1,5}))?/?", url)
    user = (told[1] or "") if told else ""
    if ":" in user or (told is None and re.match(r"ssh:(//)?[^@/]*:[^@/]*@", url)):
        raise UsageError("--device ssh://…: a password in a URL would be seen by everybody", hint="ssh-copy-id puts your key on the device")
    port = int(told[3] or 0) if told else 0
    if told is None or port > 65535 or (told[3] and not port) or (user and not re.fullmatch(r"[\w.][\w.@+\\-]*", user)):
        raise UsageError(f"--device {url}: no such address", hint=f"--device {FORM}")
    return Address(host=told[2].strip("[]"), user=user, port=port)


def _options(options: Sequence[str]) -> list[str]:
    return [word for option in options for word in ("-o", option)]


def _client() -> str:
    found = shutil.which(os.environ.get("EDGEKIT_SSH", "ssh"))
    if found is None:
        raise UnreachableError("ssh is not installed here", hint="apt-get install openssh-client")
    return found


def _forget(address: Address, said: str) -> str:
    """The command that removes what is known of a host, from the file that ssh names."""
    found = re.search(r"Offending \S+ key in (.+):\d+", said)
    file = f"-f {shlex.quote(found[1])} " if found else ""
    return f"ssh-keygen {file}-R {shlex.quote(_known_as(address))}"


def _known_as(address: Address) -> str:
    """As ``known_hosts`` names it: by the alias of the user's configuration, else by the host and port that stand there.

    Source: sshconnect.c of OpenSSH, ``get_hostfile_hostname_ipaddr``.
    """
    try:
        ran = subprocess.run([_client(), "-G", *address.arguments], capture_output=True, text=True, timeout=CONNECT_S, check=False)
        lines = ran.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    told = dict(line.partition(" ")[::2] for line in lines)
    host, port = told.get("hostname", address.host), told.get("port", str(address.port or SSH_PORT))
    return told.get("hostkeyalias") or (host if int(port) == SSH_PORT else f"[{host}]:{port}")


# Pattern in what ssh says, message, hint. Words: OpenSSH 8 to 9, sshconnect.c, sshconnect2.c, clientloop.c, readconf.c.
_FAULTS = (
    (
        r"IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known: it was installed anew, or somebody stands in between",
        "if you know why: {forget}, then {try} in a terminal, and compare the fingerprint",
    ),
    (
        r"Host key verification failed|host key is known for",
        "its host key is not known",
        "{try} in a terminal, and compare the fingerprint before you say yes",
    ),
    (r"UNPROTECTED PRIVATE KEY FILE", "others may read the private key, so it is not used", "chmod 600 the key file"),
    (r"Permission denied \(([^)]*)\)", "no key was accepted (it takes {found})", "ssh-copy-id, or ssh-add if the key has a passphrase; then {try}"),
    (r"Too many authentication failures", "too many keys were tried", "IdentitiesOnly yes in ~/.ssh/config, with the device's IdentityFile"),
    (r"Could not resolve hostname ([^:\n]*)", "no such host: {found}", "is the name right? getent hosts NAME; or use its number"),
    (r"(Connection refused)", "connection refused: no SSH server listens there", "is it on? On the device: sudo systemctl enable --now ssh"),
    (r"([Tt]imed out|No route to host|Network is unreachable)", "no answer: {found}", "is it on, and in this network? {try}"),
    (r"(?:Bad|bad) (?:configuration option|owner or permissions)[^\n]*", "{last}", "mend ~/.ssh/config"),
    (
        r"edgekit: (needs Python[^\n]*)",
        "{found}",
        'install a newer Python there, and name it: python = "/path" in devices.toml; or name benchmark_model there',
    ),
    (r"edgekit: no Python", "there is no Python 3 on it", "on the device: sudo apt-get install python3"),
    (r"Exec format error", "its Python is for another processor: {last}", "reinstall python3 there"),
    (r"No space left on device", "its disk is full", "make room there: df -h"),
)
