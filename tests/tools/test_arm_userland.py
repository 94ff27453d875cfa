"""What makes the userlands: its faults in one line, and nothing done twice. What it makes is tested on it, in tests/arm."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from edgekit.device.emulated import MACHINES


@pytest.fixture
def arm_userland(tool):
    return tool("arm_userland")


def made(folder, **told):
    folder.mkdir()
    (folder / "userland.json").write_text(json.dumps({"schema": 1, **told}))
    return folder


def test_every_userland_is_of_a_machine_that_the_device_emulates(arm_userland):
    for name, userland in arm_userland.USERLANDS.items():
        assert name.partition("-")[0] == userland.arch
        assert userland.qemu == MACHINES[userland.arch].qemu
        assert tuple(userland.cores) == MACHINES[userland.arch].cpus


def test_what_is_there_already_is_left_as_it_is(arm_userland, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    folder = made(tmp_path / "there", wheels=list(arm_userland.USERLANDS["armv7l"].wheels))

    assert arm_userland.main(["armv7l", str(folder)]) == 0
    assert capsys.readouterr().out == f"armv7l: there already, in {folder}\n"


@pytest.mark.parametrize("record", ['{"schema": 1, "wheels": ["tflite-runtime==2.13.0"]}', '{"schema": 2}', "{", ""])
def test_what_was_made_of_other_wheels_is_not_there(arm_userland, tmp_path, record):
    (tmp_path / "userland.json").write_text(record)

    assert not arm_userland.is_made(arm_userland.USERLANDS["armv7l"], tmp_path)


def test_all_that_is_missing_on_this_machine_is_said_at_once(arm_userland, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert arm_userland.main(["aarch64", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().err
    assert all(words in said for words in ("apt-get (apt-get install apt)", "dpkg-deb", "qemu-aarch64 (apt-get install qemu-user)"))
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_command_that_fails_is_told_by_its_last_line(arm_userland):
    with pytest.raises(arm_userland.UserlandError, match="wheels: sh ended with status 4: there is no such wheel"):
        arm_userland.run(["sh", "-c", "echo hm >&2; echo there is no such wheel >&2; exit 4"], what="wheels")


def test_each_program_has_a_launcher_that_hands_it_to_the_emulator(arm_userland, tmp_path):
    root = tmp_path / "root"
    for program in ("bin/rm", "usr/bin/python3.11"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).touch()
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "usr/bin/awk").symlink_to("/etc/alternatives/none")

    arm_userland.commands(root, tmp_path / "commands")
    env = {**os.environ, "EDGEKIT_QEMU": "/bin/echo", "QEMU_LD_PREFIX": str(root)}
    said = [subprocess.check_output([tmp_path / "commands" / name, "-x"], env=env, text=True) for name in ("rm", "python3")]

    assert sorted(path.name for path in (tmp_path / "commands").iterdir()) == [".launch", "python3", "python3.11", "rm"]
    assert said == [f"{root}/bin/rm -x\n", f"{root}/usr/bin/python3 -x\n"]


def test_a_library_of_another_folder_is_linked_where_the_loader_looks(arm_userland, tmp_path):
    folder = tmp_path / "usr/lib/arm-linux-gnueabihf"
    (folder / "blas").mkdir(parents=True)
    (folder / "blas" / "libblas.so.3").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dash").touch()

    arm_userland.settle(arm_userland.USERLANDS["armv7l"], tmp_path)

    assert (folder / "libblas.so.3").exists()
    assert (tmp_path / "bin" / "sh").exists()


def test_each_core_has_a_root_of_its_own_that_tells_of_it_and_shares_all_else(arm_userland, tmp_path):
    (tmp_path / "root" / "usr").mkdir(parents=True)
    (tmp_path / "root" / "proc").mkdir()
    (tmp_path / "root" / "usr" / "file").write_text("shared")

    arm_userland.cores(arm_userland.USERLANDS["aarch64"], tmp_path / "root", tmp_path / "cores")

    parts = {core.name: (core / "proc" / "cpuinfo").read_text() for core in (tmp_path / "cores").iterdir()}
    assert set(parts) == {"cortex-a53", "cortex-a72", "cortex-a76"}
    assert "CPU part\t: 0xd08" in parts["cortex-a72"]
    assert "asimddp" not in parts["cortex-a72"]
    assert "asimddp" in parts["cortex-a76"]
    assert (tmp_path / "cores" / "cortex-a53" / "usr" / "file").read_text() == "shared"
