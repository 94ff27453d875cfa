"""What the command line says of a device that is not there, before it builds anything."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_USERLANDS", str(tmp_path / "userlands"))


def test_a_missing_userland_is_said_in_one_line_with_what_makes_it_and_nothing_is_built(edgekit, net, own_store):
    said = edgekit("build", net, "--target", "rpi5", "--recipe", "fp16", "--device", "emulated:aarch64", "-o", "out")

    assert said.status == 4
    assert "emulated:aarch64: no userland in" in said.err
    assert "hint: from a clone of edgekit: python tools/arm_userland.py aarch64, or make arm" in said.err
    assert not (own_store / "steps").exists()


def test_another_core_than_those_known_is_a_fault_of_the_command(edgekit, net):
    said = edgekit("bench", net, "--device", "emulated:aarch64/max")

    assert said.status == 2
    assert "no core max" in said.err
