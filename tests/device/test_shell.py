"""A device that has a shell and no Python: BusyBox's, and Android's mksh with toybox, behind a real OpenSSH server on this machine."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Thread, Timer

import pytest

from edgekit.device import open_device, shell_scripts
from edgekit.device.address import parsed
from edgekit.device.attended import in_use
from edgekit.device.hold import _holder
from edgekit.device.shell import ShellDevice, _lots
from edgekit.device.shell_facts import parsed as seen_in
from edgekit.device.ssh import SshDevice
from edgekit.errors import DeviceError, UnreachableError
from edgekit.run.lease import Lease
from edgekit.run.state import cpu_model, read_features


@pytest.fixture
def device(bare):
    device = open_device("ssh://pi")
    yield device
    device.close()


def shell_of(host: str, **options) -> ShellDevice:
    return ShellDevice(parsed(f"ssh://{host}"), **options)


# What it is


def test_a_board_without_python_is_driven_by_its_shell_and_its_facts_are_read_from_its_files(device):
    facts = device.facts

    assert isinstance(device, ShellDevice)
    assert (facts.url, facts.name, facts.arch, facts.python) == ("ssh://pi", os.uname().nodename, os.uname().machine, "")
    assert (facts.cpu, facts.features) == (cpu_model(), tuple(read_features()))
    assert facts.packages == {}


def test_a_python_that_was_named_and_is_not_there_stays_an_error(bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("devices.toml").write_text('schema = 1\n[[device]]\nname = "board"\nurl = "ssh://pi"\npython = "/opt/python3"\n')

    with pytest.raises(DeviceError, match="there is no Python 3 on it"):
        open_device("board")


def test_a_phone_is_called_by_its_model_and_its_benchmark_model_is_found_where_adb_puts_it(bare_tools, tmp_path):
    (tmp_path / "local" / "tmp").mkdir(parents=True)
    (tmp_path / "local" / "tmp" / "benchmark_model").write_text("#!/bin/sh\n")
    properties = {"ro.product.manufacturer": "Google", "ro.product.model": "Pixel 8", "ro.build.version.release": "14"}
    for name, lines in {
        "getprop": [f'if [ "$1" = {key} ]; then echo "{value}"; fi' for key, value in properties.items()],
        "uname": ["case $1 in -n) echo localhost;; -m) echo aarch64;; -r) echo 6.1.0;; esac"],
    }.items():
        (bare_tools / name).unlink(missing_ok=True)
        (bare_tools / name).write_text("\n".join(["#!/bin/sh", *lines]))
        (bare_tools / name).chmod(0o755)
    script = shell_scripts.INSPECT.replace(shell_scripts.ANDROID, str(tmp_path / "local" / "tmp"))

    def look():
        ran = subprocess.run(
            [bare_tools / "sh", "-c", script, "edgekit", "mark", ""], env={"PATH": str(bare_tools)}, capture_output=True, check=False
        )
        return seen_in(b"a login script says hello" + ran.stdout, "mark")

    nobody_may_run_it = look()
    (tmp_path / "local" / "tmp" / "benchmark_model").chmod(0o755)
    found = look()

    assert (found.facts["name"], found.facts["model"], found.facts["os"], found.arch) == ("Google-Pixel-8", "Google Pixel 8", "Android 14", "aarch64")
    assert nobody_may_run_it.not_executable == found.benchmark_model == str(tmp_path / "local" / "tmp" / "benchmark_model")
    assert nobody_may_run_it.benchmark_model == ""


SAID = {"name": "n", "arch": "aarch64", "kernel": "6.1", "uid": "0", "emulated": "", "board": "", "disk": "", "files": "", "end": ""}


def seen_of(**words):
    return seen_in("".join(["\036mark\036", *(f"\036{key}\036{word}" for key, word in {**SAID, **words}.items())]).encode(), "mark")


@pytest.mark.parametrize("words", [{"files": "/proc/uptime:\n"}, {"files": "/proc/uptime:abc\n"}, {"name": "a\036end\036b\036x"}])
def test_what_a_shell_says_that_cannot_be_read_is_no_answer(words):
    assert seen_of(**words) is None


def test_what_a_device_says_is_written_to_files_that_were_asked_for_alone():
    strange = ("/a:1", "/a/b:2", "/:1", f"/sys/class/powercap/{'a' * 300}/name:1", "/sys/class/powercap/a\0/name:1", "/proc/cpuinfo/x:1")
    strange += ("/sys/class/powercap/./name:1", "/sys/class/powercap/name/name:1", "/sys/class/powercap/../../name:1")

    seen = seen_of(files="\n".join((*strange, "/proc/meminfo:MemTotal:  2048 kB")))

    assert seen.facts["memory_mib"] == 2
    assert seen.state["energy_uj"] == {}


def test_numbers_that_are_none_are_left_out():
    lines = ("/proc/loadavg:0.5 y z", "/proc/cpuinfo:cpu MHz : fast", "/proc/cpuinfo:cpu MHz : 1500.5", "/proc/stat:cpu  1 2 x 4 5 6 7 8 9 10")
    lines += ("/sys/devices/system/cpu/present:0-99999999999999", f"/sys/class/thermal/thermal_zone0/temp:{'9' * 400}")

    seen = seen_of(files="\n".join(lines), disk="/dev/x 1 2 lots 4")

    assert (seen.state["load_average"], seen.state["clocks_mhz"], seen.state["busy_s"]) == ([0.5], {"cpu1": 1500.5}, None)
    assert (seen.state["temperatures_c"], seen.facts["cpus"], seen.disk_free_mib) == ({}, None, None)


def test_a_meter_whose_path_has_a_colon_is_read():
    seen = seen_of(files="/sys/class/powercap/intel-rapl:0/name:package-0\n/sys/class/powercap/intel-rapl:0/energy_uj:12345")

    assert seen.state["energy_uj"] == {"package-0": 12345}


# Files


def test_files_and_folders_go_there_and_come_back_and_nothing_is_left(bare, tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    content = os.urandom(3_000_000) + b"\r\n\0\r\n"
    (tmp_path / "folder" / "inner" / "a b'c").write_bytes(content)
    (tmp_path / "folder" / "tool").write_bytes(b"#!/bin/sh\necho ran")
    (tmp_path / "folder" / "tool").chmod(0o755)
    (tmp_path / "folder" / "empty").touch()
    device = open_device("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "folder", there / "folder")
    device.pull(there / "folder" / "inner" / "a b'c", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == content
    assert device.run([str(there / "folder" / "tool")], timeout_s=30).stdout == b"ran\n"
    assert device.run(["cat", str(there / "folder" / "empty")], timeout_s=30).stdout == b""
    device.close()
    assert [path for path in bare.depot.rglob("*") if path.is_file()] == []


def test_a_login_script_that_prints_something_is_passed_over(bare, tmp_path):
    (bare.home / ".bashrc").write_text("echo welcome\n")  # sshd's bash reads it; BASH_ENV for others
    (tmp_path / "x").write_bytes(b"content")
    bare.stop()
    bare.start({"PATH": bare.bin, "BASH_ENV": bare.home / ".bashrc"})
    device = open_device("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "x", there / "x")
    device.pull(there / "x", tmp_path / "y")

    assert (tmp_path / "y").read_bytes() == b"content"
    assert device.run(["echo", "on"], timeout_s=30).stdout == b"on\n"
    device.close()


def test_a_folder_of_many_files_goes_there(bare, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(150):
        (tmp_path / "many" / f"{number}-{'x' * 100}").write_bytes(b"%d" % (number % 3))
    device = open_device("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "many", there / "many")

    listed = device.run(["sh", "-c", 'cat "$1"/*', "sh", str(there / "many")], timeout_s=30).stdout
    assert sorted(listed) == sorted(b"012" * 50)
    device.close()


def test_what_is_there_already_is_not_sent_again(bare, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(2_000_000))
    device = open_device("ssh://cable")
    there = device.workspace()

    device.push(tmp_path / "big", there / "one")
    before = bare.cable.carried
    device.push(tmp_path / "big", there / "two")

    assert bare.cable.carried - before < 100_000
    device.pull(there / "two", tmp_path / "back")
    device.close()
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


def test_a_transfer_that_is_cut_goes_on_where_it_stopped(bare, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(8_000_000))
    device = open_device("ssh://cable")
    there = device.workspace()
    before = bare.cable.carried
    bare.cable.cut_after(7_000_000)

    device.push(tmp_path / "big", there / "big")
    carried = bare.cable.carried - before

    device.pull(there / "big", tmp_path / "back")
    device.close()
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    assert carried < 12_000_000


@pytest.mark.parametrize("lacking", ["sha256sum", "flock", "setsid"])
def test_a_tool_that_is_not_there_is_done_without(bare, tmp_path, lacking):
    (bare.bin / lacking).unlink(missing_ok=True)
    (tmp_path / "x").write_bytes(os.urandom(500_000))
    device = open_device("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "x", there / "x")
    device.push(tmp_path / "x", there / "x")
    device.pull(there / "x", tmp_path / "y")
    other = shell_of("pi", lease_wait_s=0)

    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()
    assert device.run(["echo", "on"], timeout_s=30).stdout == b"on\n"
    with pytest.raises(DeviceError, match="is in use by"):
        other.workspace()
    device.close()
    other.workspace()
    other.close()


@pytest.fixture
def small_disk(bare):
    bare.depot.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", bare.depot], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs root, to make a small disk")
    yield bare.depot
    subprocess.run(["umount", "-l", bare.depot], check=True)


def test_a_disk_that_is_too_small_is_said_before_anything_is_sent(small_disk, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    device = open_device("ssh://pi")

    with pytest.raises(DeviceError, match=r"big cannot be copied: No space left on device \(3\.0 MB to come, .* MB free\)") as caught:
        device.push(tmp_path / "big", device.workspace() / "big")

    assert caught.value.hint.startswith("its disk is full")
    device.close()


def test_a_disk_that_fills_up_meanwhile_is_said_in_one_line(bare, small_disk, tmp_path):
    (bare.bin / "df").unlink()  # nobody says beforehand how much room there is
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    device = open_device("ssh://pi")

    with pytest.raises(DeviceError, match=r"big cannot be copied: No space left on device$") as caught:
        device.push(tmp_path / "big", device.workspace() / "big")

    assert caught.value.hint.startswith("its disk is full")
    device.close()


def test_a_file_that_is_not_there_is_said_in_one_line(device, tmp_path):
    with pytest.raises(DeviceError, match=r"nothing cannot be fetched: [Nn]o such file"):
        device.pull(device.workspace() / "nothing", tmp_path / "x")

    assert not list(tmp_path.glob(".nothing*"))


def test_a_folder_is_no_file_neither_to_fetch_nor_to_write_to(device, tmp_path):
    there = device.workspace()
    device.run(["mkdir", f"{there}/x"], timeout_s=30)
    (tmp_path / "x").write_bytes(b"content")

    with pytest.raises(DeviceError, match=r"x cannot be fetched: Is a directory$"):
        device.pull(there / "x", tmp_path / "back")
    with pytest.raises(DeviceError, match=r"x cannot be copied: Is a directory$"):
        device.push(tmp_path / "x", there / "x")

    assert not (tmp_path / "back").exists()
    assert device.run(["ls", f"{there}/x"], timeout_s=30).stdout == b""


def test_a_step_there_that_fails_without_a_word_is_a_failure(bare, device, tmp_path):
    there = device.workspace()
    (bare.bin / "cp").unlink()
    (bare.bin / "cp").write_text("#!/bin/sh\nexit 1\n")
    (bare.bin / "cp").chmod(0o755)
    (tmp_path / "x").write_bytes(b"content")

    with pytest.raises(DeviceError, match=r"x cannot be copied: it failed and does not say why$"):
        device.push(tmp_path / "x", there / "x")


def test_what_is_named_in_one_command_fits_a_request_of_adbs():
    words = [(f"/{'f' * 900}'{number}", "a" * 64, "644") for number in range(100)]

    lots = list(_lots(words))

    assert [word for lot in lots for word in lot] == words
    assert max(sum(len(word[0]) for word in lot) for lot in lots) < 16_384


# Commands


def test_a_command_leaves_status_and_both_streams(device):
    ran = device.run(["sh", "-c", "cat; echo wrong >&2; exit 255"], timeout_s=30, stdin=b"given\0" * 50_000)

    assert (ran.status, ran.stdout, ran.stderr) == (255, b"given\0" * 50_000, b"wrong\n")


def test_a_signal_is_told_as_shells_tell_it(device):
    assert device.run(["sh", "-c", "kill -SEGV $$"], timeout_s=30).status == 128 + signal.SIGSEGV


def test_a_program_that_is_not_there_is_said(device):
    with pytest.raises(DeviceError, match="nowhere cannot be run: no such program"):
        device.run(["nowhere"], timeout_s=30)


def test_a_command_that_takes_too_long_is_killed_with_its_children_and_the_next_one_runs(bare, device, tmp_path):
    with pytest.raises(DeviceError, match="sh ran longer than 1 s"):
        device.run(["sh", "-c", f"sleep 100 & echo $! > {tmp_path}/pid; wait"], timeout_s=1)

    assert bare.tools.until(lambda: not bare.tools.is_running(int((tmp_path / "pid").read_text())), 5)
    assert device.run(["echo", "on"], timeout_s=30).stdout == b"on\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_client_that_ends_ends_its_command_with_its_children_and_gives_the_device_back(bare, tmp_path, how):
    script = f"""
from edgekit.device import open_device
device = open_device("ssh://pi")
try:
    print(device.workspace(), flush=True)
    device.run(["sh", "-c", "sleep 100 & echo $! > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; wait"], timeout_s=60)
finally:
    device.close()
"""
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert bare.tools.until((tmp_path / "pid").exists, 30)

    client.send_signal(how)
    client.wait()

    assert bare.tools.until(lambda: not bare.tools.is_running(int((tmp_path / "pid").read_text())), 10)
    other = shell_of("pi", lease_wait_s=10)
    other.workspace()
    other.close()


# The lease


def test_a_second_run_waits_for_the_first_and_then_says_who_has_the_device(device):
    device.workspace()
    other = shell_of("pi", lease_wait_s=0)

    with pytest.raises(DeviceError, match=rf"is in use by .*, process {os.getpid()}, for \d+ s") as caught:
        other.workspace()
    assert "wait for that run" in caught.value.hint


@pytest.fixture
def without_flock(bare):
    (bare.bin / "flock").unlink(missing_ok=True)
    return bare


def test_of_two_runs_that_begin_at_once_without_flock_one_at_most_has_the_device(without_flock):
    devices = [shell_of("pi", lease_wait_s=0) for _ in range(3)]
    begun, taken = Barrier(len(devices)), []

    def take(device):
        begun.wait()
        with suppress(DeviceError):
            taken.append(device.workspace())

    for _ in range(2):
        threads = [Thread(target=take, args=(device,)) for device in devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        taken.clear()
        for device in devices:
            device.close()


def test_a_lock_without_flock_whose_holder_is_gone_is_free_whoever_has_its_number_now(without_flock):
    lock = without_flock.lock
    lock.write_text('{"holder": "x", "visit": "0123456789abcdef", "pid": 1, "since": 1}')
    (lock.parent / f"{lock.name}.d" / "by.1.never").mkdir(parents=True)
    device = shell_of("pi", lease_wait_s=0)

    device.workspace()
    device.close()

    assert not (lock.parent / f"{lock.name}.d").exists()


def test_a_lock_without_flock_whose_holder_was_killed_is_free(without_flock):
    first, second = shell_of("pi"), shell_of("pi", lease_wait_s=0)
    first.workspace()
    with pytest.raises(DeviceError, match="is in use by"):
        second.workspace()

    os.kill(json.loads(without_flock.lock.read_text())["pid"], signal.SIGKILL)
    time.sleep(0.5)
    second.workspace()

    second.close()
    first.close()


def test_a_lock_that_cannot_be_opened_is_said_with_what_names_it(bare):
    bare.stop()
    bare.start({"PATH": bare.bin, "EDGEKIT_LOCK": "/nonexistent/x"})
    device = shell_of("pi")

    with pytest.raises(DeviceError, match=r"it cannot be leased: /nonexistent/x: cannot be opened$") as caught:
        device.workspace()
    assert caught.value.hint == "set EDGEKIT_LOCK there to a file that can be written"
    device.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"holder":"x","pid":1,"since":null}',
        '{"holder":"x","visit":"","pid":"1","since":1}',
        '{"holder":[],"visit":"","pid":1,"since":1}',
        '{"holder":"x","visit":"","pid":2,"since":NaN}',
        '{"holder":"x","visit":"","pid":-1,"since":1}',
        "[1]",
        "[" * 4000,
        "",
    ],
)
def test_what_anybody_wrote_to_a_lock_names_no_holder(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    by_another = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(by_another, fcntl.LOCK_EX)

    by_python = Lease(str(tmp_path / "lock")).take("me")
    by_shell = _holder(f"{text} 3 1700000000")
    os.close(by_another)

    for found in (by_python, by_shell):
        assert (found["holder"], found["visit"], found["pid"]) == ("another run", "", 0)
        assert in_use("board", found).hint == "wait for that run"
    assert (by_shell["held_s"], by_shell["silent_s"]) == (0, 3)


def test_a_separator_in_a_lock_is_no_end_of_what_is_said(bare, device):
    device.workspace()
    bare.lock.write_text('{"holder": "a\036b", "visit": "", "pid": 4, "since": 1}')

    with pytest.raises(DeviceError, match="is in use by ab, for"):
        shell_of("pi", lease_wait_s=0).workspace()


def test_a_run_by_python_and_one_by_shell_wait_for_one_another(bare):
    if not (bare.bin / "flock").exists():
        pytest.skip("Debian's BusyBox has no flock, without which a shell cannot take the kernel's lock")
    venv = bare.home / ".local" / "share" / "edgekit" / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (venv / "python").chmod(0o755)
    by_python, by_shell = SshDevice("ssh://pi", lease_wait_s=0), shell_of("pi", lease_wait_s=0)

    by_shell.workspace()
    with pytest.raises(DeviceError, match=rf"is in use by .*, process {os.getpid()}, for"):
        by_python.workspace()
    by_shell.close()
    by_python.workspace()
    with pytest.raises(DeviceError, match=rf"is in use by .*, process {os.getpid()}, for"):
        by_shell.workspace()
    by_python.close()


def test_between_two_commands_a_lost_connection_is_made_anew_and_workspace_and_lease_are_kept(bare, device):
    there = device.workspace()
    device.run(["sh", "-c", f"echo kept > {there}/x"], timeout_s=30)
    bare.signal_sessions(signal.SIGKILL)
    time.sleep(1)

    assert device.run(["cat", f"{there}/x"], timeout_s=30).stdout == b"kept\n"
    with pytest.raises(DeviceError, match="is in use by"):
        shell_of("pi", lease_wait_s=0).workspace()


@pytest.mark.slow
def test_a_cable_that_is_pulled_while_a_command_runs_ends_it_on_both_sides(bare, tmp_path):
    device = open_device("ssh://cable")
    device.workspace()
    Timer(1, bare.cable.pull).start()
    begun = time.monotonic()

    with pytest.raises(UnreachableError, match="ssh://cable: "):
        device.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 100"], timeout_s=60)

    assert time.monotonic() - begun < 15
    assert bare.tools.until(lambda: not bare.tools.is_running(int((tmp_path / "pid").read_text())), 30)
    device.close()
