"""A child process is limited, ends with its parent and, in the sandbox, can reach nothing."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from edgekit import child, errors
from edgekit.child import seccomp


class Words(msgspec.Struct):
    words: list[str]


CODE = """
import ctypes, os, socket, subprocess, sys, time
import msgspec
from edgekit.errors import SourceError

class Words(msgspec.Struct):
    words: list[str]

def echo(request: Words) -> Words:
    print("this is printed")
    return Words(request.words[::-1])

def refuse(request: Words) -> Words:
    raise SourceError("net.keras: it is\\x1b[31m broken\\nin two lines", hint="mend it")

def crash(request: Words) -> Words:
    print("just before")
    raise RuntimeError("no such luck")

def sleep(request: Words) -> Words:
    with open(request.words[0], "w") as stream:
        stream.write("asleep")
    time.sleep(120)

def spin(request: Words) -> Words:
    while True:
        pass

def eat(request: Words) -> Words:
    return Words([str(len(bytearray(8 << 30)))])

def fault(request: Words) -> Words:
    ctypes.string_at(0)

def leave(request: Words) -> Words:
    os._exit(0)

def attempt(request: Words) -> Words:
    tried = []
    for code in request.words:
        try:
            exec(code)
            tried.append("done")
        except BaseException as error:
            tried.append(type(error).__name__)
    return Words(tried)
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Calls a function of CODE in a child."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "asked.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def ask(function: str, *words: str, **limits: object) -> list[str]:
        return child.call(f"asked:{function}", Words(list(words)), Words, **limits).words

    return ask


@pytest.fixture
def sandbox(tmp_path: Path) -> child.Sandbox:
    if refusal := child.sandbox_refusal():
        pytest.skip(refusal)
    out = tmp_path / "out"
    out.mkdir()
    return child.Sandbox(reads=(), writes=out)


def test_a_function_is_called_and_what_it_prints_is_kept_from_the_terminal(asked, capfd):
    assert asked("echo", "a", "b") == ["b", "a"]
    assert capfd.readouterr() == ("", "")


def test_an_error_with_a_hint_comes_through_as_itself_in_one_plain_line(asked):
    with pytest.raises(errors.SourceError) as caught:
        asked("refuse")
    assert caught.value.message == "net.keras: it is [31m broken in two lines"
    assert caught.value.hint == "mend it"


def test_a_crash_is_one_line_and_the_output_is_kept_for_the_log(asked):
    with pytest.raises(errors.ChildError, match=r"^RuntimeError: no such luck$") as caught:
        asked("crash")
    assert "just before" in caught.value.output
    assert "Traceback" in caught.value.output


def test_a_child_that_runs_too_long_is_ended(asked, tmp_path):
    started = time.monotonic()
    with pytest.raises(errors.ChildError, match="longer than 1 s"):
        asked("sleep", str(tmp_path / "note"), limits=child.Limits(wall_s=1.0))
    assert time.monotonic() - started < 10


def test_a_child_that_uses_too_much_processor_time_is_killed(asked):
    with pytest.raises(errors.ChildError, match="more than 1 s of CPU time"):
        asked("spin", limits=child.Limits(cpu_s=1, wall_s=60))


def test_a_child_that_wants_too_much_memory_is_refused_it(asked):
    with pytest.raises(errors.ChildError, match="more memory than it may use"):
        asked("eat", limits=child.Limits(memory_bytes=1 << 30))


@pytest.mark.parametrize(("function", "said"), [("fault", "ended by signal 11"), ("leave", "without an answer")])
def test_a_child_that_falls_over_is_one_line(asked, function, said):
    with pytest.raises(errors.ChildError, match=said) as caught:
        asked(function)
    assert "\n" not in caught.value.message


def test_nothing_outside_can_be_written_from_the_sandbox(asked, sandbox, tmp_path):
    outside = tmp_path / "code" / "asked.py"
    before = outside.read_bytes()
    codes = [
        f"open({str(outside)!r}, 'a').write('x')",
        f"open({str(tmp_path / 'new')!r}, 'w').write('x')",
        "open(os.path.expanduser('~/edgekit-was-here'), 'w').write('x')",
        "open('/edgekit-was-here', 'w').write('x')",
        f"os.remove({str(outside)!r})",
        "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
    ]
    asked("attempt", *codes, sandbox=sandbox)
    assert outside.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "out"]
    assert not Path("~/edgekit-was-here").expanduser().exists()
    assert not Path("/edgekit-was-here").exists()


def test_no_socket_program_or_process_can_be_had_in_the_sandbox(asked, sandbox):
    codes = [
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "subprocess.run(['/bin/sh', '-c', 'true'], check=True)",
        "os.execv('/bin/sh', ['sh', '-c', 'true'])",
        "os.posix_spawn('/bin/sh', ['sh'], {})",
        "os.fork()",
    ]
    assert asked("attempt", *codes, sandbox=sandbox) == ["PermissionError"] * len(codes)
    assert asked("attempt", *codes[:1]) == ["done"]


def test_system_runs_no_shell_in_the_sandbox(asked, sandbox):
    note = sandbox.writes / "note"
    asked("attempt", f"os.system('echo x > {note}')", sandbox=sandbox)
    assert not note.exists()


def test_mounts_and_namespaces_cannot_be_changed_from_within_the_sandbox(asked, sandbox):
    libc = "libc = ctypes.CDLL(None, use_errno=True); assert libc."
    codes = [f"{libc}unshare(0x10000000) == 0", f"{libc}mount(None, b'/', None, 32, None) == 0", f"{libc}umount2(b'/usr', 2) == 0"]
    assert asked("attempt", *codes, sandbox=sandbox) == ["AssertionError"] * len(codes)


def test_files_that_were_not_named_are_not_there_in_the_sandbox(asked, sandbox, tmp_path):
    named, other = tmp_path / "named.txt", tmp_path / "other.txt"
    named.write_text("x")
    other.write_text("x")
    seeing = child.Sandbox(reads=(named,), writes=sandbox.writes)
    codes = [f"open({str(path)!r}).read()" for path in (named, other, "/etc/passwd")]
    assert asked("attempt", *codes, sandbox=seeing) == ["done", "FileNotFoundError", "FileNotFoundError"]


def test_secrets_of_the_environment_do_not_reach_the_sandbox(asked, sandbox, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert asked("attempt", "os.environ['AWS_SECRET_ACCESS_KEY']", sandbox=sandbox) == ["KeyError"]


def test_other_processes_are_not_to_be_seen_or_killed_from_the_sandbox(asked, sandbox):
    code = f"os.kill({os.getpid()}, 0)"
    assert asked("attempt", code, sandbox=sandbox) == ["ProcessLookupError"]
    assert asked("attempt", code) == ["done"]


def test_the_folder_for_results_can_be_written_and_links_left_in_it_are_removed(asked, sandbox):
    out = sandbox.writes
    codes = [f"open({str(out / 'result')!r}, 'w').write('x')", f"os.symlink('/etc/passwd', {str(out / 'link')!r})"]
    assert asked("attempt", *codes, sandbox=sandbox) == ["done", "done"]
    assert [path.name for path in out.iterdir()] == ["result"]


def test_threads_work_in_the_sandbox(asked, sandbox):
    code = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
    assert asked("attempt", code, sandbox=sandbox) == ["done"]


def test_without_user_namespaces_nothing_is_opened_and_trust_is_named(asked, sandbox, tmp_path):
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs the program unshare")
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from edgekit import child, errors\n"
        "from asked import Words\n"
        "try:\n"
        f"    child.call('asked:echo', Words(['a']), Words, sandbox=child.Sandbox(reads=(), writes=Path({str(sandbox.writes)!r})))\n"
        "except errors.ChildError as error:\n"
        "    print(error.message, '|', error.hint)\n"
    )
    forbidden = f"echo 0 > /proc/sys/user/max_user_namespaces && exec {sys.executable} {script}"
    ran = subprocess.run([unshare, "--user", "--map-root-user", "sh", "-c", forbidden], capture_output=True, text=True, check=False)
    assert "this system has none: user namespaces" in ran.stdout
    assert "--trust" in ran.stdout


@pytest.mark.parametrize("is_sandboxed", [False, True])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_is_left_behind_when_the_parent_is_interrupted_or_killed(asked, sandbox, tmp_path, how, is_sandboxed):
    note = sandbox.writes / "note"
    script = tmp_path / "script.py"
    given = f"sandbox=child.Sandbox(reads=(), writes=Path({str(sandbox.writes)!r}))" if is_sandboxed else ""
    script.write_text(
        "from pathlib import Path\n"
        "from edgekit import child\n"
        "from asked import Words\n"
        f"child.call('asked:sleep', Words([{str(note)!r}]), Words, {given})\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        until(note.exists)
        below = descendants(parent.pid)
        assert len(below) == (2 if is_sandboxed else 1)
        parent.send_signal(how)
        parent.wait(10)
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(is_running(pid) for pid in below))


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(found for one in children for found in descendants(one))]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY = 0x00050000 | errno.EPERM


def verdict(program: bytes, architecture: int, number: int, first_argument: int = 0) -> int:
    """What a classic BPF program answers, by an interpreter of the instructions it uses."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, first_argument, 0, 0, 0, 0, 0)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            is_true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += if_true if is_true else if_false


# numbers of read, mmap, execve, socket, clone, clone3, from the kernel's syscall tables
@pytest.mark.parametrize(
    ("machine", "architecture", "read", "mmap", "execve", "socket", "clone"),
    [("x86_64", 0xC000003E, 0, 9, 59, 41, 56), ("aarch64", 0xC00000B7, 63, 222, 221, 198, 220)],
)
def test_the_filter_allows_files_and_threads_and_denies_programs_sockets_and_processes(machine, architecture, read, mmap, execve, socket, clone):
    program = seccomp.filter_program(machine)
    thread_flags, fork_flags = 0x3D0F00, 0x1200011  # what glibc's pthread_create and fork pass
    assert [verdict(program, architecture, number) for number in (read, mmap)] == [ALLOW, ALLOW]
    assert [verdict(program, architecture, number) for number in (execve, socket)] == [DENY, DENY]
    assert verdict(program, architecture, clone, thread_flags) == ALLOW
    assert verdict(program, architecture, clone, fork_flags) == DENY
    assert verdict(program, architecture, 435) == 0x00050000 | errno.ENOSYS
    assert verdict(program, 0x40000003, read) == KILL  # 32-bit calls on x86-64 have other numbers


def test_x32_calls_which_are_other_numbers_for_the_same_are_denied():
    assert verdict(seccomp.filter_program("x86_64"), 0xC000003E, 0x40000000 | 59) == DENY


def test_this_processor_is_known_to_the_filter_where_the_tests_run():
    assert seccomp.is_supported() == (platform.machine() in ("x86_64", "aarch64"))
