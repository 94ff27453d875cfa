"""Boards that have a shell and no Python, behind a real OpenSSH server, from the command line; a stand-in for LiteRT's benchmark_model
really runs the engines."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.parametrize("bare_tools", ["busybox"], indirect=True)
LOAD = ("--set", "load.min_queries=160", "--set", "load.min_duration_s=0.05", "--set", "load.warmup_s=0.05")
ON_A_SHARED_MACHINE = (0, 5)  # a query of this network takes a microsecond or two, and others compute here


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def build(edgekit, net, pictures, device="ssh://pi", *more):
    return edgekit("build", net, "-t", "host:tflite", "--samples", pictures, "--device", device, "-o", "out", "--json", *LOAD, *more)


def test_a_build_is_measured_and_compared_on_the_board_and_nothing_is_left_there(edgekit, bare, benchmark_model, net, pictures):
    benchmark_model(bare.bin / "benchmark_model")

    built = build(edgekit, net, pictures)
    again = edgekit("bench", "out", "--device", "ssh://pi", "--json", *LOAD)

    (entry,) = built.data["engines"]
    assert built.status in ON_A_SHARED_MACHINE
    assert again.status in ON_A_SHARED_MACHINE
    assert entry["fidelity"]["judged_on"]["device"] == entry["measured_on"]["device"] == os.uname().nodename
    assert not entry["fidelity"]["judged_on"]["is_local"]
    assert entry["fidelity"]["sqnr_db"] > 20
    assert entry["latency"]["n"] >= 160 > len(entry["latency"]["samples_ns"])
    assert entry["latency"]["p90_ms"] is None
    assert any(remark.startswith("Run by benchmark_model, which tells no single times") for remark in entry["remarks"])
    assert entry["conditions"]["runtime"].startswith("benchmark_model ")
    page = Path("out/report.html").read_text()
    assert f"queries in {len(entry['latency']['samples_ns'])} blocks, slowest block" in page
    assert [path for path in bare.depot.rglob("*") if path.is_file()] == []


def test_where_outputs_cannot_be_had_there_they_are_compared_here_and_that_is_said(edgekit, bare, benchmark_model, net, pictures):
    benchmark_model(bare.bin / "benchmark_model", form="compiled")

    built = build(edgekit, net, pictures)

    (entry,) = built.data["engines"]
    assert built.status in ON_A_SHARED_MACHINE
    assert entry["latency"]["n"] >= 160
    assert entry["fidelity"]["judged_on"]["is_local"]
    said = f"Outputs were not compared on {os.uname().nodename}: its benchmark_model has no --input_layer."
    assert any(remark.startswith(said) for remark in entry["remarks"])


def test_without_benchmark_model_nothing_is_built_and_the_hint_says_where_it_comes_from(edgekit, bare, net, pictures):
    refused = build(edgekit, net, pictures)

    assert refused.status == 4
    assert f"edgekit: {os.uname().nodename}: there is neither Python nor benchmark_model on it\n" in refused.err
    assert "developers.google.com/edge/litert/next/benchmark" in refused.err
    assert 'benchmark_model = "/path"' in refused.err
    assert not Path("out/report.json").exists()


def test_a_crash_is_one_line_and_the_devices_exit_status(edgekit, bare, benchmark_model, net, pictures):
    benchmark_model(bare.bin / "benchmark_model", before="os.kill(os.getpid(), 11)")

    crashed = build(edgekit, net, pictures)

    assert crashed.status == 4
    assert f"edgekit: {os.uname().nodename}: benchmark_model was ended by SIGSEGV\n  hint: " in crashed.err
    assert "Traceback" not in crashed.err


def test_check_says_what_is_there_and_what_is_not(edgekit, bare, benchmark_model):
    lacking = edgekit("devices", "check", "ssh://pi", "--json")
    program = benchmark_model(bare.folder / "there" / "benchmark_model")
    Path("devices.toml").write_text(f'schema = 1\n[[device]]\nname = "phone"\nurl = "ssh://pi"\nbenchmark_model = "{program}"\n')
    there = edgekit("devices", "check", "phone", "--json")
    program.chmod(0o644)
    nobody = edgekit("devices", "check", "phone", "--json")

    def found(said):
        return {one["what"]: (one["is_good"], one["said"]) for one in said.data[0]["findings"]}

    assert (lacking.status, there.status, nobody.status) == (4, 0, 4)
    assert found(lacking)["benchmark_model"] == (False, "not there")
    assert found(there)["benchmark_model"] == (True, str(program))
    assert found(lacking)["python"] == (None, "none: its shell drives it, and TFLite engines alone are run")
    python = "not looked for, as benchmark_model is named: its shell drives it, and TFLite engines alone are run"
    assert found(there)["python"] == (None, python)
    assert found(there)["files"] == (True, "go there and come back")
    assert found(nobody)["benchmark_model"] == (False, f"{program}: nobody may run it")


def test_a_benchmark_model_that_is_named_and_not_there_is_what_is_said(edgekit, sshd, bare_tools, net, pictures):
    """The board has Python, which is not looked for where that program is named."""
    Path("devices.toml").write_text('schema = 1\n[[device]]\nname = "board"\nurl = "ssh://pi"\nbenchmark_model = "/no/such"\n')

    looked = edgekit("devices", "check", "board", "--json")
    measured = build(edgekit, net, pictures, "board")
    asked = edgekit("status", "--device", "board")

    said = {one["what"]: one["said"] for one in looked.data[0]["findings"]}
    assert said["benchmark_model"] == "benchmark_model = /no/such: not there"
    assert "edgekit: board: benchmark_model = /no/such: not there, or nobody may run it\n" in measured.err
    assert "edgekit: board: this needs Python, which was not looked for on it, as benchmark_model is named\n  hint: take " in asked.err
    assert (looked.status, measured.status, asked.status) == (4, 4, 4)


def test_a_board_is_asked_what_it_is_and_its_target_file_is_written(edgekit, bare, benchmark_model):
    benchmark_model(bare.bin / "benchmark_model")

    told = edgekit("devices", "probe", "ssh://pi", "--json")
    wrote = edgekit("targets", "probe", "ssh://pi", "--name", "board")
    right = edgekit("targets", "check", "targets/board.toml")

    assert (told.status, wrote.status, right.status) == (0, 0, 0)
    assert told.data["arch"] == os.uname().machine
    assert (told.data["python"], told.data["benchmark_model"]) == ("", str(bare.bin / "benchmark_model"))
    assert told.data["cpus"] == os.cpu_count()


@pytest.mark.parametrize(
    "verb", [("devices", "setup", "ssh://pi", "--runtime", "tflite"), ("status", "--device", "ssh://pi")], ids=["setup", "status"]
)
def test_what_needs_python_says_so(edgekit, bare, verb):
    refused = edgekit(*verb)

    assert refused.status == 4
    name = "ssh://pi" if verb[0] == "status" else os.uname().nodename  # of an installation: the device as it was asked for
    assert f"edgekit: {name}: there is no Python on it, which this needs\n  hint: " in refused.err


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('url = "local"\nbenchmark_model = "/x"', "benchmark_model: only of a device reached by SSH or adb"),
        ('url = "ssh://pi"\nbenchmark_model = "benchmark_model"', "benchmark_model benchmark_model: the whole path there"),
        ('url = "ssh://pi"\nbenchmark_model = "~/benchmark_model"', "benchmark_model ~/benchmark_model: the whole path there"),
        ('url = "ssh://pi"\nbenchmark_model = "/x"\npython = "/y"', "benchmark_model: where it runs the engines, no Python is asked for"),
    ],
)
def test_what_cannot_be_meant_in_the_inventory_is_refused(edgekit, bare_tools, line, fault):
    Path("devices.toml").write_text(f'schema = 1\n[[device]]\nname = "phone"\n{line}\n')

    refused = edgekit("devices", "list")

    assert refused.status == 2
    assert fault in refused.err


def test_a_device_is_added_with_its_benchmark_model(edgekit, bare_tools, tmp_path):
    added = edgekit("devices", "add", "phone", "adb://R58M12ABCDE", "--benchmark-model", "/data/local/tmp/bm/benchmark_model", "--json")

    assert added.status == 0
    assert added.data["device"]["benchmark_model"] == "/data/local/tmp/bm/benchmark_model"
