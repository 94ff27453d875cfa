import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.device import open_device
from edgekit.device.local import LocalDevice
from edgekit.errors import DeviceError, UsageError


@pytest.fixture
def device():
    device = LocalDevice()
    yield device
    device.close()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(pid)


def test_a_device_is_found_by_the_scheme_of_its_url():
    assert open_device("local").facts.url == "local"


@pytest.mark.parametrize(("url", "words"), [("lokal", "did you mean local"), ("carrier-pigeon://roof", "no such kind of device")])
def test_an_unknown_scheme_is_refused_with_what_is_known(url, words):
    with pytest.raises(UsageError, match=words) as caught:
        open_device(url)

    assert "local" in caught.value.hint


def test_this_machine_takes_no_address():
    with pytest.raises(UsageError, match="no address"):
        open_device("local://elsewhere")


def test_facts_are_those_of_this_machine(device):
    assert device.facts.arch == os.uname().machine
    assert device.facts.name == os.uname().nodename
    assert device.facts.python == sys.executable
    assert not device.facts.emulated


def test_files_and_folders_go_there_and_come_back(device, tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    there = device.workspace()

    device.push(tmp_path / "folder", there / "folder")
    device.push(tmp_path / "b", there / "b")
    device.pull(there / "folder" / "inner" / "a", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == b"a"
    assert Path(there / "b").read_bytes() == b"b"


def test_a_command_leaves_status_and_both_streams(device):
    ran = device.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], timeout_s=10, stdin=b"given")

    assert (ran.status, ran.stdout, ran.stderr) == (3, b"given", b"wrong\n")


def test_a_command_killed_by_a_signal_has_its_negative_as_status(device):
    assert device.run(["sh", "-c", "kill -SEGV $$"], timeout_s=10).status == -signal.SIGSEGV


def test_a_command_that_takes_too_long_is_killed_with_its_children(device, tmp_path):
    with pytest.raises(DeviceError, match=r"ran longer than 0\.5 s"):
        device.run(["sh", "-c", f"sleep 100 & echo $! > {tmp_path}/pid; wait"], timeout_s=0.5)

    assert gone_within(int((tmp_path / "pid").read_text()), 5)


def test_ctrl_c_kills_the_command_with_its_children(tmp_path):
    script = f"""
from edgekit.device.local import LocalDevice
LocalDevice().run(["sh", "-c", "sleep 100 & echo $! > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; wait"], timeout_s=60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "pid").exists():
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    _, stderr = parent.communicate(timeout=30)

    assert stderr.strip().endswith("KeyboardInterrupt")
    assert gone_within(int((tmp_path / "pid").read_text()), 5)


@pytest.mark.parametrize(
    "ask",
    [
        lambda device: device.run(["no-such-command"], timeout_s=1),
        lambda device: device.pull(device.workspace() / "nothing", Path("nowhere")),
        lambda device: device.push(Path("nothing"), device.workspace() / "x"),
    ],
    ids=["run", "pull", "push"],
)
def test_what_the_system_refuses_is_a_device_error(device, ask):
    with pytest.raises(DeviceError, match=r"local: .*No such file or directory"):
        ask(device)


def test_workspaces_are_fresh_and_gone_when_the_device_is_closed():
    device = LocalDevice()
    one, other = device.workspace(), device.workspace()
    Path(one / "file").write_text("x")

    device.close()

    assert one != other
    assert not Path(one).exists()
    assert not Path(other).exists()
