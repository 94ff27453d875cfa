"""Slots on a device: what runs, what it would go back to, and what a deploy that was cut off left."""

import os
import time

import pytest

from edgekit.run import home, slots
from edgekit.run.bundle_file import RefusedError
from edgekit.run.health import difference
from edgekit.run.slots import BAD, GOOD, TRIAL, App, locked
from edgekit.run.tensors import Tensor


@pytest.fixture
def app(tmp_path):
    os.makedirs(tmp_path / "toy" / "slots")
    return App(str(tmp_path), "toy")


def installed(app, name, version, status=GOOD):
    os.mkdir(app.slot(".new-" + name))
    app.adopt(app.slot(".new-" + name), name, {"version": version, "status": status})


def test_the_slots_of_androids_shell_which_has_no_home_lie_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEKIT_APPS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert slots.apps_root() == str(tmp_path / ".local" / "share" / "edgekit" / "apps")

    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    for module in (home, slots):
        monkeypatch.setattr(module, "ANDROID", str(tmp_path))

    assert slots.apps_root() == str(tmp_path / "edgekit" / "apps")


def test_what_is_installed_runs_and_the_good_one_before_it_is_what_it_goes_back_to(app):
    for version, status in ((1, GOOD), (2, GOOD), (3, TRIAL)):
        installed(app, f"s{version}", version, status)

    assert (app.current(), app.before()) == ("s3", "s2")
    assert app.back("it fails", is_bad=True) == "s2"
    assert app.state()["slots"]["s3"]["status"] == BAD
    assert app.state()["slots"]["s3"]["reason"] == "it fails"


def test_one_that_was_never_good_is_nothing_to_go_back_to(app):
    for version, status in ((1, GOOD), (2, TRIAL), (3, TRIAL)):
        installed(app, f"s{version}", version, status)

    assert app.back("", is_bad=True) == "s1"


def test_where_there_is_nothing_to_go_back_to_what_runs_goes_on(app):
    installed(app, "s1", 1, TRIAL)

    with pytest.raises(RefusedError, match="no earlier slot"):
        app.back("it fails", is_bad=True)

    assert app.current() == "s1"
    assert app.state()["slots"]["s1"]["status"] == BAD


def test_only_what_proved_good_raises_the_oldest_version(app):
    installed(app, "s1", 5, TRIAL)
    assert app.state()["floor"]["version"] == 0

    app.mark("s1", GOOD)

    assert app.state()["floor"]["version"] == 5


def test_the_newest_slots_stay_and_what_runs_and_what_it_goes_back_to(app):
    for version in range(1, 6):
        installed(app, f"s{version}", version)
    app.switch("s2")

    app.prune(2)

    assert sorted(os.listdir(app.slots)) == ["s1", "s2"]
    assert sorted(app.state()["slots"]) == ["s1", "s2"]


def test_what_a_deploy_that_was_cut_off_left_is_swept_away(app):
    installed(app, "s1", 1)
    os.makedirs(app.slot(".new-s2") + "/engine")
    os.mkdir(app.slot("nobody-knows"))
    open(os.path.join(app.folder, "current.part"), "w").close()

    app.sweep()

    assert os.listdir(app.slots) == ["s1"]
    assert sorted(os.listdir(app.folder)) == ["current", "slots", "state.json"]


def test_a_state_that_is_damaged_is_said_and_not_forgotten(app):
    installed(app, "s1", 1)
    with open(os.path.join(app.folder, "state.json"), "w") as stream:
        stream.write('{"schema": 1, "slo')

    with pytest.raises(RefusedError, match="cannot be read"):
        app.state()
    assert app.current() == "s1"


def test_one_at_a_time_changes_anything(tmp_path):
    begun = time.monotonic()
    with locked(str(tmp_path)), pytest.raises(RefusedError, match="another deploy"), locked(str(tmp_path), wait_s=0.3):
        pass

    assert 0.3 <= time.monotonic() - begun < 5


def tensors(*values, dtype="float32"):
    import numpy as np

    return [[Tensor("y", dtype, (len(values),), np.array(values, dtype).tobytes())]]


@pytest.mark.parametrize(
    ("wanted", "got", "share"),
    [
        ((1, 2, 4), (1, 2, 4), 0.0),
        ((1, 2, 4), (1, 2.5, 4), 0.125),
        ((1, 2, -4), (3, 2, -4), 0.5),
        ((0, 0), (0, 0.25), 0.25),
        ((1, 2), (float("nan"), 2), float("inf")),
        ((1, 2), (float("inf"), 2), float("inf")),
    ],
)
def test_outputs_differ_by_a_share_of_the_largest_recorded_value(wanted, got, share):
    assert difference(tensors(*wanted), tensors(*got)) == pytest.approx(share)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_outputs_of_any_type_are_compared(dtype):
    assert difference(tensors(10, 20, dtype=dtype), tensors(10, 15, dtype=dtype)) == 0.25


@pytest.mark.parametrize("got", [[], tensors(1, 2, 3), tensors(1, 2, dtype="float64"), [*tensors(1, 2), *tensors(1, 2)]])
def test_outputs_of_another_form_are_no_outputs(got):
    with pytest.raises(ValueError, match="other outputs"):
        difference(tensors(1, 2), got)
