"""A real aarch64 userland behind a real OpenSSH server: all that happens on the device is emulated, but for the server itself."""

import pytest

from edgekit.device.ssh import SshDevice
from edgekit.pipeline import run
from edgekit.plan import Request


@pytest.fixture
def board(sshd, device_of):
    """The server's sessions live in the userland."""
    emulated = device_of("emulated:aarch64")
    sshd.stop()
    environment = {name: value for name, value in emulated.environment().items() if name != "EDGEKIT_APPS"}  # of this machine's user
    sshd.start({**environment, "HOME": str(sshd.home)})
    return sshd


@pytest.mark.slow
def test_it_says_of_itself_that_it_is_arm_and_emulated(board):
    device = SshDevice("ssh://pi")

    assert (device.facts.arch, device.facts.emulated) == ("aarch64", True)
    assert "ai-edge-litert" in device.facts.packages
    device.close()


@pytest.mark.slow
def test_a_build_is_judged_there_as_on_this_machine_and_has_no_times(board, net, arrays, store, tmp_path):
    asked = Request(source=net, targets=("rpi5",), samples=arrays, device="ssh://pi")

    there = run(asked, out=tmp_path / "there", store=store).engines[0]
    here = run(Request(source=net, targets=("rpi5",), samples=arrays), out=tmp_path / "here", store=store).engines[0]

    assert there.fidelity.judged_on.arch == "aarch64"
    assert there.fidelity.judged_on.emulated
    assert there.fidelity.sqnr_db == pytest.approx(here.fidelity.sqnr_db, abs=0.5)
    assert there.latency is None
    assert [path for path in board.depot.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_bundle_is_deployed_there_tried_there_and_rolled_back(board, net, arrays, store, tmp_path, monkeypatch):
    """LiteRT's ARM build must answer what its x86-64 build was recorded to answer."""
    bundle, deploy = pytest.importorskip("edgekit.bundle"), pytest.importorskip("edgekit.deploy")
    pytest.importorskip("cyclonedx")
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    run(Request(source=net, targets=("rpi5",), samples=arrays, device="ssh://pi"), out=tmp_path / "out", store=store)
    bundle.new_key("release")
    terms = deploy.Terms(trust_keys=tmp_path / "keys" / "release.pub", trial_s=0)

    for version in (1, 2):
        made = bundle.pack(tmp_path / "out", tmp_path / f"{version}.edgekit", bundle.Wanted(name="net", version=version, samples=arrays))
        bundle.sign(made.path, "release")
        found = deploy.deploy(made.path, "ssh://pi", terms)
        assert found.running.version == version
        assert (found.health.difference <= 0.05, found.health.is_timed) == (True, False)
    device = SshDevice("ssh://pi")
    assert deploy.Site(device).back("net").running.version == 1
    ran = device.run(
        ["sh", "-c", 'EDGEKIT_PYTHON="$0" "$0" ~/.local/share/edgekit/apps/net/current/run.py --check', device.facts.python], timeout_s=300
    )
    device.close()

    assert b'"version": 1' in ran.stdout, ran.stderr
