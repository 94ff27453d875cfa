"""A sandbox of Linux namespaces: nothing in it can reach the network, other files, other processes or new programs.

The child becomes the first process of new user, mount, process, network, IPC and host name namespaces. Its root is an empty
file system into which only Python, its packages, the system's libraries and the files of the request are mounted, all
read-only but one folder. It then drops every capability and goes behind a seccomp filter. Whatever is in it ends with it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Final

from edgekit.child import seccomp
from edgekit.child.envelope import Sandbox

_NEW_NAMESPACES: Final = 0x2_0000 | 0x400_0000 | 0x800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
"""CLONE_NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""

_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_SYS_MOUNT_SETATTR: Final = 442
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION_3: Final = 0x2008_0522
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9

_SCRATCH_BYTES: Final = 4 << 30
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_OLD: Final = "/.outside"


class SandboxUnavailableError(Exception):
    """This system does not let an ordinary process make a sandbox; says why."""


def enter(sandbox: Sandbox) -> None:
    """Put what runs from here on into the sandbox. The caller's process only waits for it and ends as it ends.

    Raises:
        SandboxUnavailableError: the system does not allow it; nothing foreign has run.
    """
    if sys.platform != "linux" or not seccomp.is_supported():
        raise SandboxUnavailableError(f"it needs Linux on x86-64 or aarch64, not {sys.platform} on {platform.machine()}")
    views = _views(sandbox)
    try:
        _new_namespaces()
        _go_on_as_first_process()
        _new_root(views, writes=os.path.realpath(sandbox.writes))
        _drop_capabilities()
        seccomp.install()
    except OSError as error:
        raise SandboxUnavailableError(f"{error.filename or error.strerror}: {os.strerror(error.errno or 0)}") from error


def _views(sandbox: Sandbox) -> list[tuple[str, str]]:
    """What is mounted: the real path, and where. Parents come first, what lies in a parent is left out."""
    libraries = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, *(path for path in sys.path if path)]
    wanted = {str(path) for path in (*_SYSTEM, *python, *libraries, *map(str, sandbox.reads)) if os.path.exists(path)}
    wanted |= {os.path.realpath(path) for path in wanted}
    kept: list[tuple[str, str]] = []
    for path in sorted(wanted, key=lambda path: (path.count("/"), path)):
        within = any(path.startswith(f"{target}/") and os.path.realpath(path).startswith(f"{real}/") for real, target in kept)
        if path != "/" and not within:
            kept.append((os.path.realpath(path), path))
    return kept


def _new_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACES) != 0:
        settings = "sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns"
        raise SandboxUnavailableError(f"user namespaces are not allowed here ({settings})")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _go_on_as_first_process() -> None:
    """Fork: the first process of the new process namespace goes on, its parent waits and passes on how it ended."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    waiting, alive = os.pipe()
    child = os.fork()
    if child:
        os.close(waiting)
        _, status = os.waitpid(child, 0)
        os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    os.close(alive)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    os.set_blocking(waiting, False)
    try:
        parent_is_gone = os.read(waiting, 1) == b""
    except BlockingIOError:
        parent_is_gone = False
    os.close(waiting)
    if parent_is_gone:
        os._exit(1)


def _new_root(views: list[tuple[str, str]], *, writes: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    os.mkdir(f"/tmp{_OLD}")
    _checked(libc.syscall(_SYS_PIVOT_ROOT[platform.machine()], b"/tmp", f"/tmp{_OLD}".encode()), "pivot_root")
    os.chdir("/")
    os.mkdir("/tmp")
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"size={_SCRATCH_BYTES},mode=777")
    for real, target in views:
        _show(real, target)
        _set_attributes(target, _MS_RDONLY | _MS_NOSUID | _MS_NODEV, recursive=True)
    for device in _DEVICES:
        _show(device, device)
    _show(writes, writes)
    _set_attributes(writes, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, recursive=True)
    os.makedirs("/proc", exist_ok=True)
    try:
        _mount("proc", "/proc", "proc", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    except PermissionError:
        """Containers that hide parts of /proc do not let one be mounted; frameworks work without it."""
    _checked(libc.umount2(_OLD.encode(), _MNT_DETACH), "umount")
    os.rmdir(_OLD)
    _set_attributes("/", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, recursive=False)


def _show(real: str, target: str) -> None:
    """Mount a file or folder of the old root at ``target`` of the new one."""
    source = f"{_OLD}{real}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    _mount(source, target, None, _MS_BIND | _MS_REC)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [value.encode() if value is not None else None for value in (source, target, kind)]
    _checked(libc.mount(*given, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _set_attributes(target: str, flags: int, *, recursive: bool) -> None:
    """Mount attributes, of all mounts below too (Linux 5.12); their bits are those of mount(2) for the four used here."""
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)
    at = _AT_RECURSIVE if recursive else 0
    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(attributes, len(attributes))
    _checked(libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), at, held, ctypes.c_size_t(len(attributes))), f"mount_setattr {target}")


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    none = struct.pack("=6I", 0, 0, 0, 0, 0, 0)
    _checked(ctypes.CDLL(None, use_errno=True).capset(header, none), "capset")


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
