"""A bundle for ARM goes onto the emulated processor as onto a board: its engine answers there, it is watched, and it gives way."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("cyclonedx")

URL = "emulated:aarch64"


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def edgekit(capfd):
    """``edgekit("status", …)``: exit status, standard output, standard error."""

    def run(*argv):
        from edgekit.cli import run as run_command_line

        capfd.readouterr()
        status = run_command_line([str(one) for one in argv])
        return status, *capfd.readouterr()

    return run


def test_a_bundle_is_installed_answers_is_watched_and_gives_way(edgekit, device_of, tmp_path):
    import onnx

    device_of(URL)
    text = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) <float two = {2.0}> { d = Mul(x, two)  y = Relu(d) }"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}'), tmp_path / "net.onnx")
    assert edgekit("build", "net.onnx", "-t", "rpi5:tflite", "--recipe", "float", "--no-bench", "-o", "out")[0] == 0
    assert edgekit("keys", "new", "release")[0] == 0
    for version in (1, 2):
        words = ("--name", "net", "--version", version, "--key", "release", "--max-latency-ms", "0.000001", "-o", f"{version}.edgekit")
        assert edgekit("bundle", "out", *words)[0] == 0

    first = edgekit("deploy", "1.edgekit", "--device", URL, "--trust-keys", tmp_path / "keys" / "release.pub", "--trial-s", 0)
    second = edgekit("deploy", "2.edgekit", "--device", URL, "--trial-s", 3)
    back = edgekit("rollback", "--device", URL)
    slots = json.loads(edgekit("status", "--device", f"{URL}/cortex-a53", "--json")[1])["apps"][0]["slots"]
    unit = edgekit("deploy", "2.edgekit", "--device", URL, "--unit")

    assert (first[0], f"{URL}: net 1 runs, good; signed by release" in first[1]) == (0, True), first[2]  # its times say nothing
    assert (second[0], "net 2 runs, good" in second[1]) == (0, True), second[1:]
    assert "ms a query" not in second[1]
    assert (back[0], f"{URL}: net 1 runs again" in back[1]) == (0, True), back[2]
    assert {slot["version"]: (slot["runs"], slot["status"]) for slot in slots} == {1: (True, "good"), 2: (False, "good")}
    assert (tmp_path / "data" / "edgekit" / "emulated" / "aarch64" / "net" / "current" / "engine").is_dir()
    assert (unit[0], "a service would start there without its emulator" in unit[2]) == (2, True)


def test_a_bundle_for_this_machine_is_refused_there(bundles, edgekit, device_of, tmp_path):
    device_of(URL)
    bundles.Toy().write(tmp_path / "x86.edgekit", bundles.Signer("release"))

    status, _, said = edgekit("deploy", "x86.edgekit", "--device", URL)

    assert status == 5
    assert f"{URL}: x86.edgekit is refused: it is for x86_64, and this device is aarch64" in said
