"""What a device does with good bundles, and with engines that fail only after they were installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.run import apps, trial
from edgekit.run.slots import App


@pytest.fixture
def apps_folder(tmp_path):
    return tmp_path / "device" / "apps"


def answers(folder):
    ran = subprocess.run([sys.executable, folder / "toy" / "current" / "run.py", "--check"], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)["version"]


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_bundle_is_installed_and_another_takes_its_place(bundles, signer, install, apps_folder, tmp_path):
    first = install(bundles.Toy(1).write(tmp_path / "1", signer))
    second = install(bundles.Toy(2).write(tmp_path / "2", signer))

    assert (first["before"], second["before"]) == (None, first["slot"])
    assert second["health"]["difference"] == 0
    assert answers(apps_folder) == 2
    assert [(one["version"], one["runs"], one["status"]) for one in second["installed"]["slots"]] == [(2, True, "good"), (1, False, "good")]


def test_what_runs_already_is_asked_again_and_stays(bundles, signer, install, apps_folder, tmp_path):
    path = bundles.Toy(1).write(tmp_path / "1", signer)
    first = install(path)

    again = install(path)

    assert (first["was_installed"], again["was_installed"]) == (False, True)
    assert len(list((apps_folder / "toy" / "slots").iterdir())) == 1


def test_a_file_of_a_slot_that_was_written_to_is_not_what_a_bundle_is_installed_from(bundles, signer, install, apps_folder, tmp_path):
    """An older slot of the same bundle is made anew."""
    one, other = (bundles.Toy(version).write(tmp_path / str(version), signer) for version in (1, 2))
    first = install(one)
    install(other)
    apps.answer(["back", "toy"])
    apps.answer(["mark", "toy", "bad"])
    state = json.loads((apps_folder / "toy" / "state.json").read_text())
    state["floor"]["version"] = 0
    (apps_folder / "toy" / "state.json").write_text(json.dumps(state))
    (apps_folder / "toy" / "slots" / first["slot"] / "engine" / "toy.json").write_text('{"factor": 3, "does": ""}')

    assert install(one)["error"] is None
    assert answers(apps_folder) == 1


@pytest.mark.parametrize("how", ["a byte changed", "a file is gone", "all of it is gone"])
def test_a_slot_whose_files_were_damaged_is_made_anew_by_the_same_bundle(how, bundles, signer, install, status, apps_folder, tmp_path):
    path = bundles.Toy(1).write(tmp_path / "1", signer)
    for _ in range(2):  # the one made anew, too
        slot = apps_folder / "toy" / "slots" / install(path)["slot"]
        if how == "all of it is gone":
            shutil.rmtree(slot)
        elif how == "a file is gone":
            (slot / "runner" / "edgekit_run" / "toy.py").unlink()
        else:
            (slot / "engine" / "toy.json").write_text('{"factor": 3, "does": ""}')

        told = install(path)

        assert (told["error"], told["was_installed"]) == (None, False)
        assert answers(apps_folder) == 1
        assert [one["status"] for one in status()["slots"] if one["runs"]] == ["good"]


def test_an_engine_that_fails_in_its_first_minutes_gives_way_by_itself(bundles, signer, install, status, apps_folder, tmp_path):
    """Nobody is connected any more: the device watches, and returns."""
    when = tmp_path / "when"
    install(bundles.Toy(1).write(tmp_path / "1", signer))
    told = install(bundles.Toy(2, does="late", when=str(when)).write(tmp_path / "2", signer), trial_s=60)
    assert answers(apps_folder) == 2

    when.touch()
    until(lambda: any(slot["status"] == "bad" for slot in status()["slots"]))  # it is marked once the one before runs

    bad = next(slot for slot in status()["slots"] if slot["version"] == 2)
    assert (status()["current"] != told["slot"], "its outputs differ from the recorded ones" in bad["reason"]) == (True, True)
    assert answers(apps_folder) == 1


def test_an_engine_that_gets_through_its_first_minutes_is_good(bundles, signer, install, status, tmp_path):
    told = install(bundles.Toy(1).write(tmp_path / "1", signer), trial_s=1)

    assert told["installed"]["slots"][0]["status"] == "trial"
    until(lambda: status()["slots"][0]["status"] == "good")
    assert status()["floor"]["version"] == 1


def test_a_trial_finds_the_runtime_where_the_deploy_found_it(bundles, signer, install, status, tmp_path, monkeypatch):
    """In a folder that $PYTHONPATH names, which is that of the connection."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "toys_runtime.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}")
    toy = bundles.Toy(1)
    toy.files["runner/edgekit_run/toy.py"] = toy.files["runner/edgekit_run/toy.py"].replace(b"import json", b"import toys_runtime, json", 1)

    install(toy.write(tmp_path / "1", signer), trial_s=1)
    until(lambda: status()["slots"][0]["status"] != "trial")

    assert (status()["slots"][0]["status"], status()["slots"][0]["reason"]) == ("good", "")


def test_a_trial_whose_watcher_was_killed_is_taken_up_by_whoever_asks_next(bundles, signer, install, status, apps_folder, tmp_path):
    install(bundles.Toy(1).write(tmp_path / "1", signer), trial_s=3)
    app = App(str(apps_folder), "toy")
    until(lambda: trial.is_watched(app))
    watchers = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and f"EDGEKIT_APPS={apps_folder}".encode() in environment(entry) and int(entry.name) != os.getpid()
    ]
    for pid in watchers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not trial.is_watched(app))

    assert status()["slots"][0]["status"] == "trial"
    until(lambda: status()["slots"][0]["status"] == "good")


def environment(entry):
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def test_what_brings_the_device_down_again_and_again_gives_way_at_its_fourth_start(bundles, signer, install, apps_folder, tmp_path):
    """A service starts with the device; the trial never gets to its end."""
    install(bundles.Toy(1).write(tmp_path / "1", signer))
    install(bundles.Toy(2).write(tmp_path / "2", signer))
    app = App(str(apps_folder), "toy")
    app.mark(app.current(), "trial")

    class PowerCut(Exception):
        pass

    def cut(seconds):
        raise PowerCut

    for start in range(4):
        assert answers(apps_folder) == 2, start
        with pytest.raises(PowerCut):
            trial.keep(str(apps_folder), "toy", 600, 600, sleep=cut)

    assert answers(apps_folder) == 1
    assert "3 starts" in next(one for one in app.state()["slots"].values() if one["version"] == 2)["reason"]


def test_a_good_engine_that_fails_later_gives_way_when_the_service_asks_it(bundles, signer, install, apps_folder, tmp_path):
    when = tmp_path / "when"
    install(bundles.Toy(1).write(tmp_path / "1", signer))
    install(bundles.Toy(2, does="late", when=str(when)).write(tmp_path / "2", signer))
    when.touch()
    asked = []

    def sleep(seconds):
        asked.append(seconds)
        if seconds == 600:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trial.keep(str(apps_folder), "toy", 60, 600, sleep=sleep)

    assert answers(apps_folder) == 1
    assert asked == [1.0, 1.0, 600]  # asked three times before it is believed


def test_no_more_slots_stay_than_are_asked_for(bundles, signer, install, apps_folder, tmp_path):
    for version in range(1, 6):
        told = install(bundles.Toy(version).write(tmp_path / str(version), signer), keep=2)

    assert [one["version"] for one in told["installed"]["slots"]] == [5, 4]
    assert len(list((apps_folder / "toy" / "slots").iterdir())) == 2


def test_the_whole_of_it_runs_under_python_3_8(bundles, signer, tmp_path, apps_folder):
    """Without numpy, cryptography or any other package: install, status, back, run.py."""
    python = next(iter(Path.home().glob(".pyenv/versions/3.8.*/bin/python")), None)
    if python is None:
        pytest.skip("no Python 3.8 here")
    from edgekit.deploy.site import ROOM

    desk = tmp_path / "desk"
    (desk / "edgekit_run").mkdir(parents=True)
    for name in ROOM:
        (desk / "edgekit_run" / f"{name}.py").write_bytes((bundles.ROOM / f"{name}.py").read_bytes())

    def ask(*words):
        ran = subprocess.run([python, "-m", "edgekit_run.apps", *words], cwd=desk, capture_output=True, text=True, check=False)
        assert not ran.stderr, ran.stderr
        return json.loads(ran.stdout)

    for version in (1, 2):
        bundles.Toy(version).write(desk / "b", signer)
        wish = {"bundle": "b", "keys": signer.public, "rotations": [], "keep": 3, "most_bytes": 10**8, "trial_s": 0}
        (desk / "wish.json").write_text(json.dumps(wish))
        assert ask("install", "wish.json")["error"] is None
    assert ask("back", "toy")["error"] is None
    assert [one["runs"] for one in ask("status")["apps"][0]["slots"]] == [False, True]
    ran = subprocess.run([python, apps_folder / "toy/current/run.py", "--check"], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["version"] == 1


def test_what_is_synced_comes_before_what_is_renamed(bundles, signer, install, apps_folder, tmp_path, monkeypatch):
    """A power cut after the switch must find the new slot's files on the disk: each was synced, then its folders, then the names."""
    install(bundles.Toy(1).write(tmp_path / "1", signer))
    done = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}
    monkeypatch.setattr(os, "fsync", lambda lock: (done.append(("fsync", os.readlink(f"/proc/self/fd/{lock}"))), real["fsync"](lock))[1])
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, lambda one, other, name=name: (done.append((name, str(other))), real[name](one, other))[1])

    told = install(bundles.Toy(2).write(tmp_path / "2", signer))

    toy, slot = apps_folder / "toy", told["slot"]
    switch = done.index(("replace", str(toy / "current")))
    adopted = done.index(("rename", str(toy / "slots" / slot)))
    synced = [path for what, path in done[:adopted] if what == "fsync"]
    new = str(toy / "slots" / f".new-{slot}")
    files = {str(path.relative_to(toy / "slots" / slot)) for path in (toy / "slots" / slot).rglob("*")}
    assert {path[len(new) + 1 :] for path in synced if path.startswith(new + "/")} == files
    assert new in synced
    assert ("fsync", str(toy / "slots")) in done[adopted:switch]
    assert ("fsync", str(toy / "state.json.part")) in done[adopted:switch]
    assert ("fsync", str(toy)) in done[switch:]
