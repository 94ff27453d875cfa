"""The inventory, and devices behind a real OpenSSH server, from the command line."""

import hashlib
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

LIST = """schema = 1

[[device]]
name = "lab-pi"
url = "ssh://pi"
target = "{target}"
tags = ["lab"]
"""
LOAD = ("--set", "load.min_queries=10", "--set", "load.min_duration_s=0.1", "--set", "load.warmup_s=0.1")


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def lab(sshd):
    Path("devices.toml").write_text(LIST.format(target="host"))
    return sshd


def test_a_device_that_was_added_is_listed_and_what_stood_there_stays(edgekit, tmp_path):
    added = edgekit(
        "devices", "add", "lab-pi", "ssh://pi@10.0.0.7", "-t", "rpi5", "--tag", "lab", "--tag", "arm", "--power-mode", "governor:performance"
    )
    file = tmp_path / "config" / "edgekit" / "devices.toml"
    file.write_text(file.read_text() + "# mine\n")
    edgekit("devices", "add", "me", "local")

    assert added.status == 0
    assert "# mine" in file.read_text()
    assert tomllib.loads(file.read_text())["device"] == [
        {"name": "lab-pi", "url": "ssh://pi@10.0.0.7", "target": "rpi5", "tags": ["lab", "arm"], "power_mode": "governor:performance"},
        {"name": "me", "url": "local"},
    ]
    assert [one["name"] for one in edgekit("devices", "list", "--json").data["devices"]] == ["lab-pi", "me"]
    assert "governor:performance" in edgekit("devices", "list").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("local", "ssh://pi"), "name: letters"),
        (("a b", "ssh://pi"), "name: letters"),
        (("pi", "shh://pi"), "did you mean ssh?"),
        (("pi", "ssh://me:hunter2@pi"), "a password in a URL"),
        (("pi", "ssh://-oProxyCommand=x"), "no such address; --device ssh://[USER@]HOST[:PORT]"),
        (("pi", "ssh://pi", "-t", "rpi6"), "no such target"),
        (("pi", "ssh://pi", "--tag", "a b"), "one word"),
        (("pi", "ssh://pi", "--power-mode", "fast"), "governor:NAME, such as governor:performance, or nvpmodel:NUMBER"),
        (("pi", "local", "--python", "/x"), "only of a device reached by SSH"),
    ],
)
def test_an_entry_that_is_wrong_is_not_written(edgekit, tmp_path, words, said):
    refused = edgekit("devices", "add", *words)

    assert refused.status == 2
    assert said in refused.err
    assert "hunter2" not in refused.err
    assert not (tmp_path / "config").exists()


def test_a_name_that_is_taken_is_refused(edgekit):
    edgekit("devices", "add", "pi", "ssh://pi")

    assert "pi stands there already" in edgekit("devices", "add", "pi", "ssh://other").err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'schema = 1\n[[device]]\nname = "a"\nurl = "ssh://a"\ntarget = "rpi6"\n[[device]]\nname = "a"\nurl = "ssh://b"\n',
            "a: rpi6: no such target",
        ),
        ('schema = 1\n[[device]]\nname = "a"\nurl = "ssh://a"\n[[device]]\nname = "a"\nurl = "ssh://b"\n', "a: stands there twice"),
        ('schema = 1\n[[device]]\nname = "a"\nurl = "ssh://a"\ntag = ["x"]\n', "did you mean tags?"),
        ("schema = 2\n", "schema"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong_in_it(edgekit, text, said):
    Path("devices.toml").write_text(text)

    refused = edgekit("devices", "list")

    assert refused.status == 2
    assert said in refused.err


def test_a_name_that_nobody_has_is_refused_with_those_that_are_there(edgekit):
    Path("devices.toml").write_text(LIST.format(target="rpi5"))

    refused = edgekit("devices", "probe", "lab-pie")

    assert refused.status == 2
    assert "did you mean lab-pi?" in refused.err
    assert "devices.toml has lab-pi" in refused.err


def test_the_schema_of_the_file_is_printed(edgekit):
    assert "power_mode" in edgekit("schema", "devices").data["$defs"]["Entry"]["properties"]


def test_a_probe_tells_what_the_device_is(edgekit, lab):
    told = edgekit("devices", "probe", "ssh://pi", "--json").data

    assert (told["arch"], told["python"]) == (os.uname().machine, sys.version.split()[0])
    assert told["memory_mib"] > 100
    assert "onnxruntime" in told["packages"]
    assert "onnxruntime" in edgekit("devices", "probe", "lab-pi").out
    assert not lab.depot.exists()


def test_a_probe_of_this_machine_and_of_a_device_tell_the_same(edgekit, lab):
    here, there = (edgekit("devices", "probe", url, "--json").data for url in ("local", "lab-pi"))

    for fact in ("name", "arch", "cpu", "features", "kernel", "memory_mib", "packages"):
        assert here[fact] == there[fact]


def test_a_check_tries_all_that_a_measurement_asks_of_a_device(edgekit, lab):
    found = edgekit("devices", "check", "--json")

    findings = {one["what"]: one["is_good"] for one in found.data[0]["findings"]}
    assert found.status == 0
    assert {"reached": True, "python": True, "target": True, "onnxruntime": True, "files": True}.items() <= findings.items()
    assert [path for path in lab.depot.rglob("*") if path.is_file()] == []


def test_a_check_of_a_device_that_does_not_answer_is_a_finding_with_status_4(edgekit, lab):
    lab.stop()

    found = edgekit("devices", "check", "lab-pi")

    assert found.status == 4
    assert "connection refused" in found.out


def test_a_device_that_is_not_of_its_target_is_found_out(edgekit, lab):
    Path("devices.toml").write_text(LIST.format(target="rpi5" if os.uname().machine == "x86_64" else "x86-64"))

    found = edgekit("devices", "check", "lab-pi", "--json")

    assert found.status == 4
    assert {one["what"]: one["is_good"] for one in found.data[0]["findings"]}["target"] is False


def test_the_target_of_a_device_is_written_with_a_source_for_every_fact_and_can_be_built_for(edgekit, lab):
    written = edgekit("targets", "probe", "lab-pi", "--name", "mine", "--json")

    assert written.status == 0, written.err
    assert written.data["file"] == "targets/mine.toml"
    assert edgekit("targets", "check", "targets/mine.toml").status == 0
    shown = edgekit("targets", "show", "mine", "--json").data
    assert shown["facts"]["kernel"] == os.uname().release
    assert shown["sources"]["kernel"].startswith("read on lab-pi, ")
    assert "stands there already" in edgekit("targets", "probe", "lab-pi", "--name", "mine").err


def test_a_build_for_a_device_by_name_is_measured_there_and_the_report_says_so(edgekit, lab, net, pictures):
    said = edgekit("build", net, "--samples", pictures, "--device", "lab-pi", "-o", "out", "--json", *LOAD)

    assert said.status == 0, said.err
    entry = said.data["engines"][0]
    assert entry["measured_on"]["device"] == "lab-pi"
    assert entry["measured_on"]["is_target"]
    assert not entry["measured_on"]["is_local"]
    assert entry["latency"] is not None
    assert [path for path in lab.depot.rglob("*") if path.is_file()] == []


def test_outputs_of_a_device_behind_ssh_are_those_of_this_machine(edgekit, lab, net, pictures):
    there, here = (
        edgekit("build", net, "-t", "host", "--samples", pictures, "--device", url, "-o", folder, "--no-bench", "--json")
        for url, folder in (("ssh://pi", "there"), ("local", "here"))
    )

    said, expected = (one.data["engines"][0]["fidelity"] for one in (there, here))
    assert not said.pop("judged_on")["is_local"]
    assert expected.pop("judged_on")["is_local"]
    assert said == expected


def test_a_bench_on_a_device_measures_there(edgekit, lab, tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        twice (float[1,3] x) => (float[1,3] y) <float two = {2.0}> { y = Mul(x, two) }""")
    onnx.save(model, tmp_path / "twice.onnx")

    said = edgekit("bench", tmp_path / "twice.onnx", "--device", "ssh://pi", "--json", *LOAD)

    assert said.status == 0, said.err
    assert said.data[0]["measured_on"]["device"] == os.uname().nodename
    assert not said.data[0]["measured_on"]["is_local"]


def test_a_device_without_the_runtime_is_refused_before_anything_is_built(edgekit, lab, net, pictures, tmp_path):
    lab.stop()
    bare = tmp_path / "bare" / "python3"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without site-packages
    bare.chmod(0o755)
    lab.start({"PATH": f"{bare.parent}:/usr/bin:/bin"})

    refused = edgekit("build", net, "-t", "x86-64:onnxruntime", "--samples", pictures, "--device", "ssh://pi")

    assert refused.status == 4
    assert "onnxruntime is not installed there" in refused.err
    assert "-m pip install onnxruntime" in refused.err


def test_a_device_that_does_not_answer_ends_a_build_in_one_line(edgekit, lab, net, pictures):
    lab.stop()

    refused = edgekit("build", net, "--samples", pictures, "--device", "lab-pi")

    assert refused.status == 4
    assert refused.err.splitlines()[-2:] == [
        "edgekit: ssh://pi: connection refused: no SSH server listens there",
        "  hint: is it on? On the device: sudo systemctl enable --now ssh",
    ]


def test_a_shell_is_openssh_s_with_somebody_at_the_keyboard(edgekit, lab):
    command = edgekit("devices", "shell", "lab-pi", "--json").data["command"]

    assert command[0] == str(lab.program)
    assert command[-2:] == ["--", "pi"]
    assert "BatchMode=yes" not in command
    ran = subprocess.run(
        [sys.executable, "-m", "edgekit", "devices", "shell", "lab-pi"], input="echo on\n", capture_output=True, text=True, check=False
    )
    assert ran.stdout.splitlines()[-1:] == ["on"]
    assert "no device behind SSH" in edgekit("devices", "shell", "local").err


def test_the_digest_of_what_is_measured_is_that_of_what_was_built(edgekit, lab, net, pictures):
    edgekit("build", net, "--samples", pictures, "--device", "lab-pi", "-o", "out", "--no-bench")
    again = edgekit("bench", "out", "--device", "lab-pi", "--json", *LOAD)
    file = Path("out") / again.data[-1]["path"]

    assert again.data[-1]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_of_a_file_that_no_build_made_nothing_beside_it_goes_to_the_device_but_its_weights(edgekit, tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    one = onnx.numpy_helper.from_array(np.ones(3, np.float32), "one")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "one"], ["y"])], "add", ports[:1], ports[1:], [one])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "add.onnx", save_as_external_data=True, location="add.weights", size_threshold=0)
    (folder / "gone").symlink_to(tmp_path / "nowhere")  # a copy of the whole folder would fail on it

    said = edgekit("bench", folder / "add.onnx", "--device", "local", "--json", *LOAD)

    assert (folder / "add.weights").exists()
    assert said.data[0]["latency"] is not None, said.err


def wheel(folder, name, version):
    """A package with nothing in it. Format: PEP 427."""
    told = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in told.items():
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)


@pytest.mark.slow
def test_an_environment_is_made_on_a_device_without_network_and_taken_from_then_on(edgekit, lab, tmp_path):
    wheel(tmp_path / "wheels", "ai_edge_litert", "9.8.7")

    said = edgekit("devices", "setup", "lab-pi", "--runtime", "tflite", "--wheels", tmp_path / "wheels")

    assert said.status == 0, said.err
    python = lab.home / ".local/share/edgekit/venv/bin/python"
    assert said.out == f"lab-pi: {python} has ai-edge-litert 9.8.7\n"
    assert edgekit("devices", "probe", "ssh://pi", "--json").data["packages"] == {"ai-edge-litert": "9.8.7"}
    assert [path for path in lab.depot.rglob("*") if path.is_file()] == []

    missing = edgekit("devices", "setup", "lab-pi", "--runtime", "onnxruntime", "--wheels", tmp_path / "wheels")
    assert missing.status == 4
    assert "onnxruntime cannot be installed: ERROR: No matching distribution found" in missing.err
    assert f"--python-version 3.{sys.version_info.minor} --platform manylinux_2_28_{os.uname().machine}" in missing.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("local", "--runtime", "tflite"), "this is for devices behind SSH"),
        (("ssh://pi",), "no runtime is named"),
        (("ssh://pi", "--runtime", "tensorrt"), "pip has no wheels of it"),
        (("ssh://pi", "--runtime", "tflite", "--wheels", "."), "no wheels are there"),
    ],
)
def test_a_setup_that_cannot_be_is_refused_before_anything_is_done(edgekit, words, said):
    refused = edgekit("devices", "setup", *words)

    assert refused.status == 2
    assert said in refused.err
