"""Deploys to a device behind a real OpenSSH server."""

import os
import signal
import subprocess
import sys
import time
from threading import Thread, Timer

import pytest

from edgekit.deploy import Site, Terms, deploy
from edgekit.device import open_device
from edgekit.errors import BundleError, DeviceError, UnreachableError


@pytest.fixture
def device_apps(sshd):
    return sshd.home / ".local" / "share" / "edgekit" / "apps"


@pytest.fixture
def keys(signer, tmp_path):
    (tmp_path / "release.pub").write_text(signer.public)
    return tmp_path / "release.pub"


@pytest.fixture
def terms(keys):
    return lambda **how: Terms(**{"trust_keys": keys, "trial_s": 0, **how})


def version_of(apps):
    ran = subprocess.run([sys.executable, apps / "toy" / "current" / "run.py", "--check"], capture_output=True, text=True, check=True)
    return ran.stdout.partition('"version": ')[2].partition(",")[0]


def status_of(name="pi"):
    device = open_device(f"ssh://{name}")
    try:
        return Site(device).status()
    finally:
        device.close()


def test_a_bundle_goes_there_runs_and_leaves_nothing_in_the_cache(bundles, signer, sshd, terms, device_apps, tmp_path):
    assert status_of() == ()

    found = deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())

    assert (found.app, found.signer, found.before, found.running.version, found.running.status) == ("toy", "release", None, 1, "good")
    assert version_of(device_apps) == "1"
    assert not [path for path in sshd.depot.rglob("*") if path.is_file()]
    assert status_of()[0].running.version == 1


def test_a_trial_is_waited_for_and_one_that_fails_is_told(bundles, signer, sshd, terms, device_apps, tmp_path):
    when = tmp_path / "when"
    deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())
    Timer(2, when.touch).start()

    found = deploy(bundles.Toy(2, does="late", when=str(when)).write(tmp_path / "2.edgekit", signer), "ssh://pi", terms(trial_s=60))

    assert found.gave_way
    assert found.running.version == 1
    assert version_of(device_apps) == "1"


def test_the_device_returns_by_itself_when_the_cable_is_out(bundles, signer, sshd, terms, device_apps, tmp_path):
    when = tmp_path / "when"
    deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())
    bundle = bundles.Toy(2, does="late", when=str(when)).write(tmp_path / "2.edgekit", signer)
    deploy(bundle, "ssh://cable", terms(trial_s=60, wait=False))
    assert version_of(device_apps) == "2"
    sshd.signal_sessions(signal.SIGKILL)

    when.touch()

    assert sshd.tools.until(lambda: os.readlink(device_apps / "toy" / "current") not in ("", slot_of(device_apps, 2)), 30)
    assert version_of(device_apps) == "1"


def slot_of(apps, version):
    import json

    slots = json.loads((apps / "toy" / "state.json").read_text())["slots"]
    return "slots/" + next(name for name, one in slots.items() if one["version"] == version)


def test_a_refusal_says_why_what_can_be_done_and_what_goes_on_running(bundles, signer, sshd, terms, tmp_path):
    deploy(bundles.Toy(5).write(tmp_path / "5.edgekit", signer), "ssh://pi", terms())

    with pytest.raises(BundleError, match=r"4\.edgekit is refused: its version is 4; nothing older than 5 is .*; version 5 goes on running") as older:
        deploy(bundles.Toy(4).write(tmp_path / "4.edgekit", signer), "ssh://pi", terms())
    with pytest.raises(BundleError, match=r"signed by .*…; trusted here: release"):
        deploy(bundles.Toy(6).write(tmp_path / "6.edgekit", bundles.Signer("other")), "ssh://pi", terms())
    with pytest.raises(DeviceError, match=r"its outputs differ from the recorded ones by 0\.25 of the largest, 0\.01 are allowed; version 5") as ill:
        deploy(bundles.Toy(7, factor=2.5).write(tmp_path / "7.edgekit", signer), "ssh://pi", terms())

    assert "higher --version" in older.value.hint
    assert "--tolerance" in ill.value.hint


def test_a_bundle_for_another_architecture_or_unsigned_is_refused_before_it_is_sent(bundles, signer, sshd, terms, tmp_path):
    foreign = bundles.Toy(1, extra=1_000_000)
    foreign.manifest["target"]["arch"] = "riscv64"
    before = sshd.cable.carried

    with pytest.raises(BundleError, match=f"it is for riscv64, and this device is {os.uname().machine}"):
        deploy(foreign.write(tmp_path / "b.edgekit", signer), "ssh://cable", terms())
    with pytest.raises(BundleError, match="not signed"):
        deploy(bundles.Toy(1).write(tmp_path / "b.edgekit"), "ssh://cable", terms())

    assert sshd.cable.carried - before < 200_000


def test_an_upload_that_is_cut_again_and_again_goes_on_where_it_stopped(bundles, signer, sshd, terms, device_apps, tmp_path):
    bundle = bundles.Toy(1, extra=6_000_000).write(tmp_path / "1.edgekit", signer)
    sshd.cable.bytes_per_s = 2e7
    before = sshd.cable.carried
    cuts = []

    def cut_again():
        sshd.cable.cut_after(1_500_000)
        cuts.append(1)
        if len(cuts) < 4:
            timer = Timer(1.2, cut_again)
            timer.daemon = True
            timer.start()

    cut_again()
    deploy(bundle, "ssh://cable", terms())

    assert version_of(device_apps) == "1"
    assert sshd.log().count("Accepted publickey") >= 2
    assert sshd.cable.carried - before < 10_000_000  # not six times over


def test_a_deploy_that_was_killed_is_taken_up_by_the_next_one(bundles, signer, sshd, terms, device_apps, tmp_path):
    """kill -9 here in the midst of the upload: what arrived is not sent again."""
    bundle = bundles.Toy(1, extra=4_000_000).write(tmp_path / "1.edgekit", signer)
    sshd.cable.bytes_per_s = 1e6
    script = "import sys; from pathlib import Path; from edgekit.deploy import Terms, deploy; deploy(Path(sys.argv[1]), 'ssh://cable', Terms())"
    child = subprocess.Popen([sys.executable, "-c", script, str(bundle)])
    sshd.tools.until(lambda: sshd.cable.carried > 2_500_000, 30)
    child.kill()
    child.wait()
    time.sleep(1)
    sshd.cable.bytes_per_s = 0.0
    before = sshd.cable.carried

    deploy(bundle, "ssh://cable", terms())

    assert version_of(device_apps) == "1"
    assert sshd.cable.carried - before < 3_000_000


def test_a_connection_that_breaks_while_the_device_installs_is_made_anew(bundles, signer, sshd, terms, device_apps, tmp_path):
    deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())

    def cut():
        sshd.tools.until(lambda: any(path.name.startswith(".new") for path in (device_apps / "toy" / "slots").iterdir()), 30)
        sshd.signal_sessions(signal.SIGKILL)

    cutting = Thread(target=cut)
    cutting.start()
    found = deploy(bundles.Toy(2).write(tmp_path / "2.edgekit", signer), "ssh://pi", terms())
    cutting.join()

    assert sshd.log().count("Accepted publickey") >= 3
    assert found.running.version == 2
    assert version_of(device_apps) == "2"


def test_a_device_that_does_not_answer_is_said(bundles, signer, sshd, terms, tmp_path):
    sshd.stop()

    with pytest.raises(UnreachableError):
        deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())


def test_deploys_do_not_come_between_a_measurement(bundles, signer, sshd, terms, tmp_path):
    """Both lease the device; who asks what is installed does not wait for it."""
    measuring = open_device("ssh://pi")
    measuring.workspace()
    begun = time.monotonic()
    assert status_of() == ()
    assert time.monotonic() - begun < 20
    Timer(2, measuring.close).start()

    found = deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "ssh://pi", terms())

    assert found.running.version == 1


def test_a_lab_gets_it_side_by_side_and_what_fails_on_one_takes_nothing_from_the_others(bundles, signer, sshd, terms, tmp_path):
    from edgekit.pipeline.rollout import deploy_fleet

    names = sshd.multiply(3)
    inventory = [f'[[device]]\nname = "{name}"\nurl = "ssh://{name}"\ntags = ["field"]\n' for name in names]
    inventory.append('[[device]]\nname = "gone"\nurl = "ssh://no-such-host.invalid"\ntags = ["field"]\n')
    (tmp_path / "devices.toml").write_text("schema = 1\n" + "".join(inventory))

    arrivals = deploy_fleet(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), "lab:field", terms())

    assert [one.device for one in arrivals] == [*names, "gone"]
    assert [one.deployed.running.version for one in arrivals[:3]] == [1, 1, 1]
    assert all((sshd.folder / "devices" / name / "apps" / "toy" / "current").exists() for name in names)
    assert (arrivals[3].deployed, arrivals[3].exit_status) == (None, 4)


def test_a_small_share_of_the_trials_holds(sshd, tmp_path, bundles, monkeypatch):
    """The whole of them: tests/benchmarks/deploy/trials.py."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "benchmarks" / "deploy" / "trials.py"
    spec = importlib.util.spec_from_file_location("edgekit_trials", path)
    trials = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trials)
    ground = trials.Ground(tmp_path / "ground", sshd, bundles)
    steps = ground.steps()

    for kind, at in (("before", steps - 20), ("after", steps // 2), ("full", steps - 30), ("cut", 150_000), ("host", 900)):
        assert ground.trial(kind, at)
