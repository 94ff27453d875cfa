"""`edgekit build` from a model file to reports, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EDGEKIT = [sys.executable, "-m", "edgekit"]


def build(edgekit, net, pictures, *more):
    return edgekit("build", net, "--target", "x86,rpi5", "--samples", pictures, "--no-bench", "-o", "out", *more)


def test_a_build_leaves_engines_code_that_calls_them_step_records_and_three_reports(edgekit, net, pictures):
    said = build(edgekit, net, pictures)

    assert said.status == 0, said.err
    found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
    tflite = "engines/raspberry-pi-5-tflite"
    assert {"report.json", "report.md", "report.html", "log.txt", f"{tflite}/engine.json", f"{tflite}/model.tflite"} <= found
    assert {f"{tflite}/run.py", f"{tflite}/run.cc"} <= found
    assert "steps/00-ingest.json" in found
    assert not [name for name in found if "/." in f"/{name}"]


def test_the_table_goes_to_stdout_and_progress_to_stderr(edgekit, net, pictures):
    said = build(edgekit, net, pictures)

    assert "raspberry-pi-5" in said.out
    assert "report.html" in said.out
    assert "rpi5 is raspberry-pi-5" in said.err
    assert "\x1b[" not in said.out + said.err


def test_json_alone_is_on_stdout_and_has_what_the_schema_promises(edgekit, net, pictures):
    import jsonschema

    said = build(edgekit, net, pictures, "--json")
    schema = edgekit("schema", "report").data

    jsonschema.validate(said.data, schema)
    engine = said.data["engines"][1]
    assert (engine["target"], engine["runtime"], engine["precision"], engine["status"]) == ("raspberry-pi-5", "tflite", "int8", "built")
    assert engine["fidelity"]["samples"] == 6
    assert engine["accuracy"]["n"] == 6
    assert engine["latency"] is None
    assert engine["latency_reason"]
    assert json.loads(Path("out/report.json").read_text()) == said.data


def test_every_step_of_a_second_build_was_there_already_and_the_results_are_the_same(edgekit, net, pictures):
    first = build(edgekit, net, pictures, "--json").data
    second = build(edgekit, net, pictures, "--json").data

    assert not any(step["cached"] for step in first["steps"] if step["name"] == "ingest")
    assert all(step["cached"] for step in second["steps"])
    assert [engine["sha256"] for engine in first["engines"]] == [engine["sha256"] for engine in second["engines"]]
    assert [engine["fidelity"] for engine in first["engines"]] == [engine["fidelity"] for engine in second["engines"]]


def test_targets_with_one_scheme_share_the_steps_that_depend_on_it(edgekit, net, pictures):
    said = edgekit("build", net, "-t", "rpi4,rpi5", "--samples", pictures, "--no-bench", "--json")

    quantized = [step["cached"] for step in said.data["steps"] if step["name"] == "quantize"]
    assert quantized == [False, True]


def test_a_broken_budget_is_exit_status_3_and_everything_is_still_written(edgekit, net, pictures):
    said = build(edgekit, net, pictures, "--set", "budget.min_sqnr_db=200", "--json")

    assert said.status == 3
    assert [line["outcome"] for line in said.data["engines"][0]["verdict"] if line["budget"] == "min_sqnr_db"] == ["broken"]
    assert Path("out/report.html").exists()


def test_latency_of_a_target_this_machine_is_not_is_not_judged(edgekit, net, pictures):
    load = ("--set", "load.min_queries=20", "--set", "load.min_duration_s=0", "--set", "load.warmup_s=0")
    said = edgekit("build", net, "-t", "host,rpi5", "--samples", pictures, *load, "--set", "budget.max_latency_ms=1000", "--json")

    host, board = said.data["engines"]
    assert said.status in (0, 5), said.err  # 5: on a busy machine twenty queries are too noisy to be used
    assert host["measured_on"]["is_target"] is True
    assert board["measured_on"]["is_target"] is False
    assert {line["budget"]: line["outcome"] for line in host["verdict"]}["max_latency_ms"] == "kept"
    assert {line["budget"]: line["outcome"] for line in board["verdict"]}["max_latency_ms"] == "not judged"
    assert host["latency"]["n"] >= 20
    assert len(host["latency"]["samples_ns"]) == host["latency"]["n"]
    assert host["latency"]["p99_ms"] is None
    assert "needed" in host["latency"]["p99_reason"]


def test_a_jetson_gets_a_package_and_says_that_the_engine_is_not_built(edgekit, net, pictures):
    said = edgekit("build", net, "-t", "jetson", "--samples", pictures, "--json")

    (engine,) = said.data["engines"]
    assert said.status == 0
    assert engine["status"] == "not built: needs the device"
    assert engine["latency"] is None
    assert "has not been run" in engine["remarks"][0]
    assert Path("edgekit-out", Path(engine["path"]).parent, "build_engine.py").exists()


def test_a_bfloat16_package_is_judged_by_its_roundings_though_nothing_here_computes_so(edgekit, net, pictures):
    said = edgekit("build", net, "-t", "jetson", "--recipe", "bf16", "--samples", pictures, "--json")

    (engine,) = said.data["engines"]
    assert said.status == 0
    assert engine["precision"] == "bfloat16"
    assert 20.0 < engine["fidelity"]["sqnr_db"] < 60.0  # 8 bits
    assert any("computed in float32 and rounded" in remark for remark in engine["remarks"])


@pytest.mark.parametrize(("recipe", "precision"), [("static_wi8_ai16", "int16, int8 weights"), ("static_wi4_ai8", "int8, int4 weights")])
def test_other_bits_are_built_judged_and_named_in_the_report(edgekit, net, pictures, recipe, precision):
    said = edgekit("build", net, "-t", "rpi5", "--recipe", recipe, "--samples", pictures, "--set", "budget.min_sqnr_db=3", "--no-bench", "--json")

    (engine,) = said.data["engines"]
    assert engine["status"] == "built"
    assert engine["precision"] in (precision, "int8")  # of one convolution and one product either counts
    assert engine["fidelity"]["sqnr_db"] > 3.0


def test_the_project_file_holds_it_all_and_the_command_line_wins(edgekit, net, pictures):
    assert edgekit("init", net, "--target", "x86", "--samples", pictures).status == 0
    text = Path("edgekit.toml").read_text()
    Path("edgekit.toml").write_text(text.replace('"static_wi8_ai8"', '"float"') + "\n[set.budget]\nmin_sqnr_db = 1.0\n")

    from_file = edgekit("build", "--no-bench", "--json")
    over_it = edgekit("build", "--no-bench", "--recipe", "static_wi8_ai8", "--set", "quantize.float_if_free=false", "--json")

    assert from_file.data["recipe"]["name"] == "float"
    assert from_file.data["recipe"]["budget"]["min_sqnr_db"] == 1.0
    assert from_file.data["engines"][0]["precision"] == "float32"
    assert over_it.data["engines"][0]["precision"] == "int8"
    assert edgekit("init").status == 2


def test_without_samples_half_precision_still_builds(edgekit, net):
    said = edgekit("build", net, "-t", "rpi5", "--recipe", "fp16", "--no-bench", "--json")

    assert said.status == 0, said.err
    assert said.data["engines"][0]["precision"] == "float16"
    assert said.data["engines"][0]["fidelity"] is None
    assert said.data["engines"][0]["fidelity_reason"] == "no samples were given"


def test_a_comparison_says_what_changed_and_refuses_nothing_that_was_not_measured(edgekit, net, pictures):
    build(edgekit, net, pictures)
    edgekit("build", net, "-t", "x86,rpi5", "--samples", pictures, "--recipe", "float", "--no-bench", "-o", "float")

    said = edgekit("compare", "float", "out")

    assert said.status == 0
    assert "raspberry-pi-5" in said.out


def test_bench_measures_a_build_again_and_updates_its_report(edgekit, net, pictures):
    build(edgekit, net, pictures)
    load = ("--set", "load.min_queries=20", "--set", "load.min_duration_s=0.05", "--set", "load.warmup_s=0")

    said = edgekit("bench", "out", *load, "--json")

    assert said.status == 0, said.err
    assert all(entry["latency"]["n"] >= 20 for entry in said.data)
    report = json.loads(Path("out/report.json").read_text())
    assert report["engines"][0]["latency"]["n"] >= 20
    assert edgekit("bench", net, *load).status == 0
    assert edgekit("report", "out").status == 0


@pytest.fixture
def command(net, pictures):
    return [*EDGEKIT, "build", str(net), "-t", "x86,rpi5", "--samples", str(pictures), "--no-bench", "-o", "out"]


@pytest.mark.slow
def test_a_build_killed_anywhere_leaves_nothing_half_written_and_goes_on(command, own_store):
    whole = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "kept" in whole.stdout
    wanted = {path.name: path.read_bytes() for path in Path("out/engines/raspberry-pi-5-tflite").iterdir()}
    for delay_s in (0.3, 0.8, 1.5, 2.5, 4.0):
        shutil.rmtree("out")
        shutil.rmtree(own_store)
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(delay_s)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        for record in Path("out").glob("engines/*/engine.json"):
            assert (record.parent / json.loads(record.read_text())["file"]).exists()

        again = subprocess.run(command, capture_output=True, text=True, check=False)

        assert again.returncode == 0, again.stderr
        assert {path.name: path.read_bytes() for path in Path("out/engines/raspberry-pi-5-tflite").iterdir()} == wanted
        assert not list(Path("out").glob("**/.*"))


@pytest.mark.slow
def test_two_builds_at_once_in_one_store_do_not_hurt_each_other(command):
    both = [subprocess.Popen([*command[:-1], out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for out in ("one", "two")]
    errors = [process.communicate()[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], errors
    one, two = (Path(out, "engines/raspberry-pi-5-tflite/model.tflite").read_bytes() for out in ("one", "two"))
    assert one == two


def test_control_c_ends_with_130_and_one_line(command, own_store):
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not own_store.exists() and running.poll() is None:  # a loaded machine takes a while to begin
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)

    assert running.returncode == 130
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "edgekit: interrupted; the same command goes on where this one stopped"


def test_a_full_disk_is_one_line_with_a_hint(command, tmp_path):
    inner = f'mount -t tmpfs -o size=64k none {tmp_path / "small"} && EDGEKIT_STORE={tmp_path / "small"} exec "$@"'
    (tmp_path / "small").mkdir()
    may = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if may.returncode:
        pytest.skip("no user namespaces here: a small disk cannot be mounted")

    ran = subprocess.run(["unshare", "-rm", "sh", "-c", inner, "sh", *command], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert "no space left on the device" in ran.stderr
    assert "hint: make room" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(Path("out").glob("engines/*"))


def test_a_tflite_file_of_any_origin_is_inspected_and_measured(edgekit, net, pictures):
    build(edgekit, net, pictures)
    path = next(Path("out/engines/raspberry-pi-5-tflite").glob("*.tflite"))
    Path("bare.tflite").write_bytes(path.read_bytes())

    seen = edgekit("inspect", "bare.tflite", "--json")
    timed = edgekit("bench", "bare.tflite", "--json", "--set", "load.min_queries=20", "--set", "load.min_duration_s=0.1")

    beside = edgekit("compare", "bare.tflite", "out", "--seed", "1", "--json")
    assert (beside.status, [one["name"] for one in beside.data["files"]]) == (0, ["bare.tflite", "out: raspberry-pi-5-tflite"])
    assert beside.data["files"][1]["fidelity"]["sqnr_db"] is None
    assert "SQNR to the first" in edgekit("compare", "bare.tflite", "out", "--seed", "1").out
    assert edgekit("compare", "bare.tflite").status == 2
    assert seen.status == 0, seen.err
    assert (seen.data["format"], seen.data["ops"]["CONV_2D"]) == ("tflite", 1)
    (tensor,) = seen.data["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    assert tensor["content"]["content_properties_type"] == "ImageProperties"
    assert "ImageProperties" in edgekit("inspect", "bare.tflite").out
    assert timed.status == 0, timed.err
    assert timed.data[0]["runtime"] == "tflite"
    assert timed.data[0]["latency"]["n"] >= 20
