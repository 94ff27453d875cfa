"""Several devices at once: sessions of a real OpenSSH server, each with a lock and files of its own."""

import sys
import time
from pathlib import Path

import onnx
import pytest

LOAD = ("--set", "load.min_queries=10", "--set", "load.min_duration_s=0.1", "--set", "load.warmup_s=0.1")


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def twice(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        twice (float[1,3] x) => (float[1,3] y) <float two = {2.0}> { y = Mul(x, two) }""")
    onnx.save(model, tmp_path / "twice.onnx")
    return tmp_path / "twice.onnx"


def inventory(*devices):
    text = "".join(
        f'[[device]]\nname = "{name}"\nurl = "ssh://{host}"\ntarget = "{target}"\ntags = {tags}\n' for name, host, target, *tags in devices
    )
    Path("devices.toml").write_text(f"schema = 1\n{text}")


def python_that(folder, does):
    """A PATH whose ``python3`` is this one, but does something else before."""
    program = folder / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n{does}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


def test_a_build_for_a_lab_is_measured_on_all_of_it_and_what_fails_takes_nothing_away(edgekit, sshd, net, pictures):
    one, other, dead = sshd.multiply(3)
    inventory(("a", one, "host", "lab"), ("b", other, "host", "lab"), ("c", "no-such-host.invalid", "host", "lab"), ("d", dead, "rpi5"))

    said = edgekit("build", net, "--samples", pictures, "--device", "lab:lab", "-o", "out", "--json", *LOAD)

    a, b, c = said.data["visits"]
    assert said.status == 4
    assert [visit["device"] for visit in (a, b, c)] == ["a", "b", "c"]
    assert [visit["entries"][0]["measured_on"]["device"] for visit in (a, b)] == ["a", "b"]
    assert len({visit["entries"][0]["sha256"] for visit in (a, b)}) == 1
    assert a["entries"][0]["fidelity"]["sqnr_db"] > 20
    assert c["error"].endswith("no such host: no-such-host.invalid")
    assert said.err.count("build ") <= 1
    assert Path("out/fleet.json").exists()
    assert Path("out/report.html").exists()


def test_each_device_has_the_engines_of_its_own_target(edgekit, sshd, net, pictures):
    one, other = sshd.multiply(2)
    inventory(("a", one, "x86-64:onnxruntime", "lab"), ("b", other, "x86-64-avx2:onnxruntime", "lab"))

    said = edgekit("build", net, "--samples", pictures, "--device", "lab:all", "-o", "out", "--json", *LOAD)
    again = edgekit("bench", "out", "--device", "lab:b", "--json", *LOAD)

    rows = [[visit["device"], entry["target"], entry["runtime"]] for visit in said.data["visits"] for entry in visit["entries"]]
    assert rows == [["a", "x86-64", "onnxruntime"], ["b", "x86-64-avx2", "onnxruntime"]]
    assert [(visit["device"], visit["entries"][0]["target"]) for visit in again.data["visits"]] == [("b", "x86-64-avx2")]


def test_two_names_of_one_device_are_never_measured_at_the_same_time(edgekit, sshd, twice, tmp_path):
    log = tmp_path / "log"
    logs = f'case "$*" in *agent*) echo begin >>{log}; {sys.executable} "$@"; status=$?; echo end >>{log}; exit $status;; esac'
    sshd.stop()
    sshd.start({"PATH": python_that(tmp_path, logs)})
    inventory(("a", "pi", "host", "lab"), ("b", "pi", "host", "lab"))

    said = edgekit("bench", twice, "--device", "lab:lab", "--json", *LOAD)

    assert [visit["error"] for visit in said.data["visits"]] == ["", ""]
    assert log.read_text().split() == ["begin", "end", "begin", "end"]


@pytest.mark.slow
def test_twenty_devices_take_as_long_as_the_slowest_not_as_their_sum(edgekit, sshd, twice, tmp_path):
    names = sshd.multiply(20, python_that(tmp_path, "sleep 4"))
    inventory(*((name, name, "host", "lab") for name in names))
    begun = time.monotonic()

    said = edgekit("bench", twice, "--device", "lab:all", "--json", *LOAD)

    took_s = time.monotonic() - begun
    assert [visit["error"] for visit in said.data["visits"]] == [""] * 20  # times of twenty on one machine need not be valid
    assert took_s < 20 * 8 / 2  # each starts Python twice, 8 s of waiting alone; they share the processors of this machine
    print(f"20 devices in {took_s:.1f} s, the slowest {max(visit['wall_s'] for visit in said.data['visits']):.1f} s")


@pytest.mark.parametrize(
    ("asked", "words"), [("lab:lap", "lap is no device and no tag; did you mean lab?"), ("lab:", "no device of devices.toml is meant")]
)
def test_a_lab_that_names_nothing_is_refused(edgekit, twice, asked, words):
    inventory(("a", "pi", "host", "lab"))

    refused = edgekit("bench", twice, "--device", asked)

    assert refused.status == 2
    assert words in refused.err
