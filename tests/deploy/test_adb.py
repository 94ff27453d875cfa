"""Deploys to a device behind a real adbd, where ``$EDGEKIT_ADBD`` names one."""

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread, Timer

import pytest

from edgekit.deploy import Terms, deploy, site_of
from edgekit.errors import BundleError, DeviceError


@pytest.fixture
def terms(signer, tmp_path):
    (tmp_path / "release.pub").write_text(signer.public)
    return lambda **how: Terms(**{"trust_keys": tmp_path / "release.pub", "trial_s": 0, **how})


@pytest.fixture
def url(adbd):
    return f"adb://{adbd.serial}"


def answers(adbd):
    """What the device's own runner says of itself."""
    return subprocess.run([sys.executable, adbd.apps / "toy" / "current" / "run.py", "--check"], capture_output=True, text=True, check=True).stdout


def test_a_bundle_goes_there_runs_gives_way_comes_back_and_leaves_nothing_in_the_depot(bundles, signer, adbd, url, terms, tmp_path):
    with site_of(url) as site:
        assert site.status() == ()
    for version in (1, 2):
        found = deploy(bundles.Toy(version).write(tmp_path / f"{version}.edgekit", signer), url, terms())
    assert (found.device, found.app, found.running.version, found.running.status) == (url, "toy", 2, "good")
    assert '"version": 2' in answers(adbd)

    with site_of(url) as site:
        assert site.back("").running.version == 1
        assert site.back("").running.version == 2
        assert site.mark("toy", "bad").running.version == 1

    assert '"version": 1' in answers(adbd)
    assert not [path for path in adbd.depot.rglob("*") if path.is_file()]
    with pytest.raises(BundleError, match=rf"^{url}: 1\.edgekit is refused: its version is 1; .*; version 1 goes on running"):
        deploy(tmp_path / "1.edgekit", url, terms())


def test_one_command_each_by_the_name_that_the_user_gave_it(bundles, signer, adbd, url, terms, tmp_path, capfd):
    from edgekit.cli import run

    (tmp_path / "devices.toml").write_text(f'schema = 1\n[[device]]\nname = "bench-3"\nurl = "{url}"\n')
    terms()
    bundles.Toy(1).write(tmp_path / "1.edgekit", signer)

    for words, said in (
        (("status", "--device", "bench-3"), "bench-3: nothing is installed"),
        (("deploy", "1.edgekit", "--device", "bench-3", "--trust-keys", "release.pub", "--trial-s", "0"), "bench-3: toy 1 runs, good"),
        (("status", "mark-good", "--device", url), "good"),
    ):
        assert run(list(words)) == 0
        assert said in capfd.readouterr().out
    assert run(["rollback", "--device", url]) == 4
    assert f"{url}: toy: there is no earlier slot to go back to" in capfd.readouterr().err


def test_a_connection_that_is_cut_again_and_again_goes_on_where_it_stopped(bundles, signer, adbd, terms, tmp_path):
    bundle = bundles.Toy(1, extra=6_000_000).write(tmp_path / "1.edgekit", signer)
    adbd.cable.bytes_per_s = 2e7
    before = adbd.cable.carried
    cuts = []

    def cut_again():
        adbd.cable.cut_after(1_500_000)
        cuts.append(1)
        if len(cuts) < 4:
            timer = Timer(1.5, cut_again)
            timer.daemon = True
            timer.start()

    cut_again()
    deploy(bundle, f"adb://127.0.0.1:{adbd.cable.port}", terms())

    assert '"version": 1' in answers(adbd)
    assert len(cuts) > 1
    assert adbd.cable.carried - before < 12_000_000  # not six times over


def test_a_connection_that_breaks_while_the_device_installs_is_made_anew(bundles, signer, adbd, url, terms, tmp_path):
    deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), url, terms())
    slots = adbd.apps / "toy" / "slots"
    cut = []

    def cut_then():
        end = time.monotonic() + 30
        while time.monotonic() < end and not any(path.name.startswith(".new") for path in slots.iterdir()):
            time.sleep(0.005)
        adbd.cable.pull()
        adbd.cable.put_back()
        cut.append(1)

    cutting = Thread(target=cut_then)
    cutting.start()
    found = deploy(bundles.Toy(2).write(tmp_path / "2.edgekit", signer), f"adb://127.0.0.1:{adbd.cable.port}", terms())
    cutting.join()

    assert cut
    assert found.running.version == 2
    assert '"version": 2' in answers(adbd)


def test_the_device_returns_by_itself_when_the_cable_is_out(bundles, signer, adbd, url, terms, tmp_path):
    when = tmp_path / "when"
    deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), url, terms())
    bundle = bundles.Toy(2, does="late", when=str(when)).write(tmp_path / "2.edgekit", signer)
    deploy(bundle, f"adb://127.0.0.1:{adbd.cable.port}", terms(trial_s=60, wait=False))
    assert '"version": 2' in answers(adbd)
    current = os.readlink(adbd.apps / "toy" / "current")
    adbd.cable.pull()

    when.touch()

    end = time.monotonic() + 30
    while time.monotonic() < end and os.readlink(adbd.apps / "toy" / "current") == current:
        time.sleep(0.1)
    assert '"version": 1' in answers(adbd)


def test_a_deploy_to_a_board_that_is_gone_is_said(bundles, signer, adbd, terms, tmp_path):
    adbd.close()

    with pytest.raises(DeviceError, match=r"^adb://"):
        deploy(bundles.Toy(1).write(tmp_path / "1.edgekit", signer), f"adb://{adbd.serial}", terms())
    assert not Path(adbd.apps).exists()
