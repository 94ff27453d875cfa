"""An emulated ARM device without an emulator: a fake QEMU and a userland of shell scripts stand where the real ones would."""

import json
from pathlib import Path

import pytest

from edgekit.device import open_device
from edgekit.device.emulated import MACHINES, EmulatedDevice
from edgekit.errors import DeviceError, UnreachableError, UsageError

RECORD = {"schema": 1, "arch": "aarch64", "packages": {"ai-edge-litert": "2.3.0", "python": "3.11.2"}, "wheels": [], "counts_with": "7.2.22"}


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def qemu(tmp_path, monkeypatch):
    """A QEMU that tells its version, and says what it was asked to run."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    text = 'if [ "$1" = --version ]; then echo "qemu-aarch64 version 7.2.22 (Debian)"; else echo "emulates $*"; fi'
    return script(tmp_path / "bin" / "qemu-aarch64", text)


@pytest.fixture
def userland(tmp_path, monkeypatch):
    """A userland whose only programs are ``env`` and ``sleep``."""
    folder = tmp_path / "userlands" / "aarch64"
    script(folder / "commands" / "env", "/usr/bin/env; echo wrong >&2; exit 3")
    script(folder / "commands" / "sleep", '/bin/sleep "$@"')
    (folder / "userland.json").write_text(json.dumps(RECORD))
    monkeypatch.setenv("EDGEKIT_USERLANDS", str(tmp_path / "userlands"))
    return folder


@pytest.fixture
def device(qemu, userland):
    device = EmulatedDevice("emulated:aarch64")
    yield device
    device.close()


def test_it_is_found_by_its_scheme(qemu, userland):
    assert open_device("emulated:aarch64").facts.url == "emulated:aarch64"


def test_facts_say_what_is_emulated_by_what_and_what_is_installed_there(device):
    facts = device.facts

    assert (facts.name, facts.arch, facts.cpu) == ("qemu-aarch64", "aarch64", "Cortex-A76 in QEMU 7.2.22")
    assert facts.emulated
    assert facts.packages == {"ai-edge-litert": "2.3.0", "python": "3.11.2"}


def test_another_core_is_named_in_the_url(qemu, userland):
    device = EmulatedDevice("emulated:aarch64/cortex-a53")

    assert device.facts.cpu == "Cortex-A53 in QEMU 7.2.22"
    assert device.environment()["QEMU_CPU"] == "cortex-a53"


def test_instructions_are_counted_only_under_the_emulator_that_was_seen_to_count(qemu, userland):
    assert EmulatedDevice("emulated:aarch64").facts.counting == "python3-counting"

    (userland / "userland.json").write_text(json.dumps({**RECORD, "counts_with": "8.2.0"}))

    assert EmulatedDevice("emulated:aarch64").facts.counting == ""


def test_a_program_runs_in_the_userlands_environment_and_no_other(device, userland, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD_OF_MINE", "x")

    ran = device.run(["env"], timeout_s=10)
    told = dict(line.split("=", 1) for line in ran.stdout.decode().splitlines())

    assert (ran.status, ran.stderr) == (3, b"wrong\n")
    assert told["PATH"] == str(userland / "commands")
    assert told["QEMU_LD_PREFIX"] == str(userland / "cores" / "cortex-a76")
    assert told["QEMU_CPU"] == "cortex-a76"
    assert "LD_PRELOAD_OF_MINE" not in told


def test_applications_lie_in_a_folder_of_the_users_that_outlasts_the_userland_and_is_the_same_for_each_core(qemu, userland, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    folders = {EmulatedDevice(f"emulated:aarch64{core}").environment()["EDGEKIT_APPS"] for core in ("", "/cortex-a53")}

    assert folders == {str(tmp_path / "data" / "edgekit" / "emulated" / "aarch64")}


def test_a_program_that_was_put_there_is_emulated_too(device):
    assert device.run(["/tmp/demo", "model.tflite"], timeout_s=10).stdout == b"emulates /tmp/demo model.tflite\n"


def test_a_program_that_the_userland_lacks_is_refused_in_one_line(device):
    with pytest.raises(DeviceError, match="qemu-aarch64: perf cannot be run: No such file or directory") as caught:
        device.run(["perf"], timeout_s=10)

    assert caught.value.hint


def test_a_program_that_takes_too_long_is_ended(device):
    with pytest.raises(DeviceError, match=r"qemu-aarch64: sleep ran longer than 0\.3 s"):
        device.run(["sleep", "100"], timeout_s=0.3)


def test_files_go_there_and_come_back_and_nothing_is_left(device, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    there = device.workspace()

    device.push(tmp_path / "a", there / "a")
    device.pull(there / "a", tmp_path / "back")
    device.close()

    assert (tmp_path / "back").read_bytes() == b"a"
    assert not Path(there).exists()


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("emulated:aarch65", "no such architecture; did you mean aarch64?", "--device emulated:aarch64"),
        ("emulated:", "no such architecture", "--device emulated:aarch64"),
        ("emulated:../aarch64", "no such architecture", "--device emulated:aarch64"),
        ("emulated:aarch64/cortex-a77", "no core cortex-a77; did you mean cortex-a76?", "cortex-a76, cortex-a72, cortex-a53"),
        ("emulated:aarch64/max", "no core max", "known are"),
    ],
)
def test_a_url_that_names_nothing_is_refused_with_what_is_known(url, words, hint):
    with pytest.raises(UsageError) as caught:
        EmulatedDevice(url)

    assert words in caught.value.message
    assert hint in caught.value.hint


def test_a_missing_userland_says_how_to_make_it(qemu, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_USERLANDS", str(tmp_path / "none"))

    with pytest.raises(UnreachableError, match="emulated:aarch64-tflite-runtime: no userland in") as caught:
        EmulatedDevice("emulated:aarch64-tflite-runtime")

    assert "python tools/arm_userland.py aarch64-tflite-runtime" in caught.value.hint


def test_a_missing_emulator_says_what_to_install(userland, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    with pytest.raises(UnreachableError, match="emulated:aarch64: qemu-aarch64 is not installed") as caught:
        EmulatedDevice("emulated:aarch64")

    assert caught.value.hint == "apt-get install qemu-user"


def test_debians_static_build_will_do(userland, tmp_path, monkeypatch):
    script(tmp_path / "bin" / "qemu-aarch64-static", 'echo "qemu-aarch64 version 9.0.1"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert EmulatedDevice("emulated:aarch64").facts.cpu == "Cortex-A76 in QEMU 9.0.1"


@pytest.mark.parametrize("text", ["exit 1", "echo something else"])
def test_an_emulator_that_does_not_tell_its_version_is_unreachable(userland, qemu, text):
    script(qemu, text)

    with pytest.raises(UnreachableError, match="qemu-aarch64"):
        EmulatedDevice("emulated:aarch64")


@pytest.mark.parametrize("text", ["{", '{"schema": 2, "arch": "aarch64", "packages": {}}', '{"schema": 1}'])
def test_a_record_of_another_time_is_made_anew(qemu, userland, text):
    (userland / "userland.json").write_text(text)

    with pytest.raises(UnreachableError, match=r"userland\.json") as caught:
        EmulatedDevice("emulated:aarch64")

    assert f"rm -r {userland}" in caught.value.hint


def test_no_machine_emulates_the_core_that_computes_wrong():
    assert not {"max", "host"} & {cpu for machine in MACHINES.values() for cpu in machine.cpus}
