"""Devices behind Android's debug bridge: what is said where nothing answers, and a real adbd where ``$EDGEKIT_ADBD`` names one.

``tools/build_adbd.sh FOLDER`` builds it.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from threading import Timer

import pytest

from edgekit.device import open_device
from edgekit.device.adb import AdbDevice, parsed
from edgekit.errors import DeviceError, UnreachableError, UsageError


@pytest.mark.parametrize(
    ("url", "serial"),
    [("adb://R58M12ABCDE", "R58M12ABCDE"), ("adb:emulator-5554", "emulator-5554"), ("adb://10.0.0.7:5555/", "10.0.0.7:5555")],
)
def test_a_url_names_a_serial(url, serial):
    assert parsed(url).name == serial
    assert parsed(parsed(url).url).name == serial


@pytest.mark.parametrize("url", ["adb://", "adb://-s", "adb://a b", "adb://x;reboot", "adb://host:port"])
def test_what_is_no_serial_is_refused_with_its_form(url):
    with pytest.raises(UsageError, match="no serial of adb") as caught:
        parsed(url)
    assert "adb://SERIAL" in caught.value.hint


@pytest.fixture
def says(tmp_path, monkeypatch):
    """An ``adb`` that says something and ends."""

    def make(words: str, status: int = 1) -> None:
        program = tmp_path / "adb"
        program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{words}\nEND\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("EDGEKIT_ADB", str(program))

    return make


@pytest.mark.parametrize(
    ("words", "kind", "message", "hint"),
    [
        ("adb: device 'R58' not found", UnreachableError, "adb does not know it", "is the cable in"),
        ("error: no devices/emulators found", UnreachableError, "adb does not know it", "adb devices"),
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set",
            UnreachableError,
            "does not know this machine's key",
            "screen",
        ),
        ("adb: device offline", UnreachableError, "it is offline", "reconnect"),
        ("edgekit: no Python", DeviceError, "there is no Python 3 on it, and telephones have none", "devices.toml"),
        ("edgekit: needs Python 3.8 or newer, this is 3.6.9", DeviceError, "needs Python 3.8 or newer, this is 3.6.9", "newer Python"),
    ],
)
def test_what_adb_says_becomes_one_line_and_a_hint(says, words, kind, message, hint):
    says(words)

    with pytest.raises(kind) as caught:
        AdbDevice("adb://R58")

    assert caught.value.message.startswith("adb://R58: ")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_device_in_the_network_that_does_not_answer_is_said_to_be_away(says):
    says("failed to connect to '10.0.0.7:5555': Connection refused", status=0)
    with pytest.raises(UnreachableError, match="Connection refused") as caught:
        AdbDevice("adb://10.0.0.7:5555")
    assert "adb tcpip" in caught.value.hint

    says("failed to authenticate to 10.0.0.7:5555", status=0)
    with pytest.raises(UnreachableError, match="does not know this machine's key"):
        AdbDevice("adb://10.0.0.7:5555")


def test_without_adb_the_package_is_named(monkeypatch):
    monkeypatch.setenv("EDGEKIT_ADB", "no-such-adb")

    with pytest.raises(UnreachableError, match="adb is not installed here") as caught:
        AdbDevice("adb://R58")
    assert "apt-get install adb" in caught.value.hint


@pytest.fixture
def phone(adbd, bare_tools):
    """A device with the tools of Android or BusyBox alone."""
    adbd.stop()
    adbd.start({"PATH": str(bare_tools)})
    return adbd.serial


@pytest.fixture
def device(adbd):
    device = AdbDevice(f"adb://{adbd.serial}")
    yield device
    device.close()


def test_a_device_tells_what_it_is(device):
    assert device.facts.arch == os.uname().machine
    assert device.facts.url.startswith("adb://127.0.0.1:")
    assert "python" in device.facts.packages


def test_bytes_go_there_and_back_unchanged(device, tmp_path):
    content = os.urandom(3_000_000) + b"\r\n\0\r\n"
    (tmp_path / "x").write_bytes(content)
    there = device.workspace() / "x"

    device.push(tmp_path / "x", there)
    device.pull(there, tmp_path / "y")

    assert (tmp_path / "y").read_bytes() == content
    assert device.run(["cat"], timeout_s=30, stdin=content[-70_000:]).stdout == content[-70_000:]


def test_status_and_both_outputs_of_a_command_come_back_apart(device):
    ran = device.run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout_s=30)

    assert (ran.status, ran.stdout, ran.stderr) == (7, b"out\n", b"err\n")


def test_what_was_put_there_is_gone_afterwards_and_the_device_is_free_for_the_next(adbd):
    one = AdbDevice(f"adb://{adbd.serial}")
    folder = Path(one.workspace())
    assert folder.is_dir()
    one.close()

    other = AdbDevice(f"adb://{adbd.serial}", lease_wait_s=0)
    other.workspace()
    other.close()

    assert not folder.exists()


def test_a_second_run_waits_for_the_first_and_then_says_who_has_the_device(adbd, device):
    device.workspace()
    other = AdbDevice(f"adb://{adbd.serial}", lease_wait_s=0)

    with pytest.raises(DeviceError, match="is in use by"):
        other.workspace()
    other.close()


def test_a_command_that_takes_too_long_is_ended(device):
    with pytest.raises(DeviceError, match="ran longer than"):
        device.run(["sleep", "60"], timeout_s=0.5)

    assert device.run(["echo", "on"], timeout_s=30).stdout == b"on\n"


# Telephones


def test_a_phone_has_no_python_and_is_driven_by_its_shell(phone, tmp_path):
    content = os.urandom(3_000_000) + b"\r\n\0\r\n"
    (tmp_path / "x").write_bytes(content)
    device = open_device(f"adb://{phone}")
    there = device.workspace() / "x"

    device.push(tmp_path / "x", there)
    device.pull(there, tmp_path / "y")
    ran = device.run(["sh", "-c", "cat; echo err >&2; exit 7"], timeout_s=30, stdin=content[-70_000:])

    assert (device.facts.python, device.facts.arch) == ("", os.uname().machine)
    assert (tmp_path / "y").read_bytes() == content
    assert (ran.status, ran.stdout, ran.stderr) == (7, content[-70_000:], b"err\n")
    device.close()
    assert [path for path in (tmp_path / "device" / "depot").rglob("*") if path.is_file()] == []


def test_a_command_on_a_phone_that_takes_too_long_is_ended_and_the_next_one_runs(phone, tmp_path):
    device = open_device(f"adb://{phone}")
    device.workspace()

    with pytest.raises(DeviceError, match="ran longer than"):
        device.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], timeout_s=1)

    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert device.run(["echo", "on"], timeout_s=30).stdout == b"on\n"
    device.close()


def test_a_phone_whose_cable_is_pulled_ends_what_runs_and_is_free_again(phone, tmp_path):
    device = open_device(f"adb://{phone}")
    device.workspace()
    Timer(2, subprocess.run, (["adb", "disconnect", phone],), {"capture_output": True, "check": False}).start()

    with pytest.raises(UnreachableError, match=f"adb://{phone}: "):
        device.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], timeout_s=60)
    device.close()
    other = open_device(f"adb://{phone}")
    other.workspace()
    other.close()

    end = time.monotonic() + 10
    while time.monotonic() < end and is_running((tmp_path / "pid").read_text().strip()):
        time.sleep(0.1)
    assert time.monotonic() < end


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
