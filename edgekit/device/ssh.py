"""A device behind OpenSSH: ``ssh://[USER@]HOST[:PORT]``.

OpenSSH's own client connects, so ``~/.ssh/config``, jump hosts, agents and ``known_hosts`` mean here what they mean to the user.
"""

from __future__ import annotations

from edgekit.device.address import parsed
from edgekit.device.attended import LEASE_WAIT_S, AttendedDevice


class SshDevice(AttendedDevice):
    """A device behind OpenSSH.

    Args:
        url: ``ssh://[USER@]HOST[:PORT]``.
        python: the interpreter there; if empty, edgekit's own environment there, else ``python3``.
        lease_wait_s: how long to wait for another run to end.

    Raises:
        UsageError: the URL has another form.
        UnreachableError: it does not answer, or who answers is not known.
        DeviceError: it has no Python that will do.
    """

    def __init__(self, url: str, *, python: str = "", lease_wait_s: float = LEASE_WAIT_S) -> None:
        super().__init__(parsed(url), python=python, lease_wait_s=lease_wait_s)
