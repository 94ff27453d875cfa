"""A device of each test's own: this machine, with applications in a folder of its own."""

import json

import pytest

from edgekit.run import apps


@pytest.fixture(autouse=True)
def nobodys_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_APPS", str(tmp_path / "device" / "apps"))
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("EDGEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def signer(bundles):
    return bundles.Signer("release")


@pytest.fixture
def install(tmp_path, signer):
    """``install(path, keep=2)``: what the device answers."""
    desk = tmp_path / "device" / "desk"
    desk.mkdir(parents=True)

    def run(bundle, **terms):
        wish = {"keys": signer.public, "rotations": [], "keep": 3, "most_bytes": 50_000_000, "trial_s": 0, "bundle": str(bundle), **terms}
        (desk / "wish.json").write_text(json.dumps(wish))
        return apps.answer(["install", str(desk / "wish.json")])

    return run


@pytest.fixture
def status():
    """What is installed of the only application."""
    return lambda: apps.answer(["status"])["apps"][0]
