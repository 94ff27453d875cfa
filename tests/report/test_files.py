import json
import os

import jsonschema
import msgspec
import pytest

from edgekit.errors import StoreError, UsageError
from edgekit.report import Report
from edgekit.report.files import read_report, write_reports

# Field by field as the issue that asked for the report lists them.
ENGINE_FIELDS = {
    "target", "runtime", "path", "bytes", "sha256", "precision", "status", "fidelity", "accuracy", "latency", "memory", "energy",
    "measured_on", "conditions",
}  # fmt: skip
LATENCY_FIELDS = {"p50_ms", "p90_ms", "p99_ms", "mean_ms", "ci95_ms", "n", "warmup", "first_ms", "load_ms"}
FIDELITY_FIELDS = {"sqnr_db", "cosine", "max_abs", "top1_agreement"}


def test_what_is_written_is_read_back_as_it_was(report, tmp_path):
    write_reports(report, tmp_path / "out")

    assert read_report(tmp_path / "out") == report
    assert read_report(tmp_path / "out" / "report.json") == report


def test_the_json_has_every_field_that_was_promised(report, tmp_path):
    told = json.loads(write_reports(report, tmp_path)[0].read_text())

    assert {"schema", "model", "steps", "samples", "tools", "wall_s", "engines"} <= told.keys()
    for engine in told["engines"]:
        assert engine.keys() >= ENGINE_FIELDS
    built = told["engines"][0]
    assert built["latency"].keys() >= LATENCY_FIELDS
    assert built["fidelity"].keys() >= FIDELITY_FIELDS
    assert built["measured_on"].keys() >= {"device", "arch", "emulated"}
    assert "peak_mib" in built["memory"]
    assert len(built["latency"]["samples_ns"]) == built["latency"]["n"]


def test_what_is_missing_is_null_and_has_a_reason(report, tmp_path):
    told = json.loads(write_reports(report, tmp_path)[0].read_text())

    jetson = next(engine for engine in told["engines"] if engine["runtime"] == "tensorrt")
    assert jetson["latency"] is None
    assert jetson["latency_reason"] == "the engine is built on the device"
    assert jetson["energy"] is None
    assert jetson["energy_reason"]


def test_the_json_fits_the_schema_made_from_the_same_types(report, tmp_path):
    told = json.loads(write_reports(report, tmp_path)[0].read_text())

    jsonschema.validate(told, msgspec.json.schema(Report))


def test_raw_times_stand_on_one_line_each(report, tmp_path):
    text = write_reports(report, tmp_path)[0].read_text()

    assert len(text.splitlines()) < 1000


def test_strings_that_look_like_lists_of_numbers_are_left_alone(report, tmp_path):
    odd = "[\n 1,\n 2\n]"
    write_reports(msgspec.structs.replace(report, remarks=(odd,)), tmp_path)

    assert read_report(tmp_path).remarks == (odd,)


def test_an_infinite_sqnr_becomes_null_which_means_exact(report, tmp_path):
    fidelity = msgspec.structs.replace(report.engines[0].fidelity, sqnr_db=float("inf"))
    exact = msgspec.structs.replace(report, engines=(msgspec.structs.replace(report.engines[0], fidelity=fidelity),))
    write_reports(exact, tmp_path)

    assert read_report(tmp_path).engines[0].fidelity.sqnr_db is None
    assert "exact" in (tmp_path / "report.md").read_text()


def test_nothing_but_the_three_files_is_left(report, tmp_path):
    (tmp_path / ".report.json.999999999.part").write_bytes(b"left by a build that was killed")
    write_reports(report, tmp_path)
    write_reports(report, tmp_path)

    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json", "report.md"]


def test_a_full_disk_ends_in_one_line_and_leaves_the_old_report(report, tmp_path):
    write_reports(report, tmp_path)
    before = (tmp_path / "report.json").read_bytes()
    (tmp_path / f".report.json.{os.getpid()}.part").symlink_to("/dev/full")

    with pytest.raises(StoreError, match="no space left"):
        write_reports(msgspec.structs.replace(report, wall_s=1.0), tmp_path)

    assert (tmp_path / "report.json").read_bytes() == before


def test_a_folder_without_a_report_is_named(tmp_path):
    with pytest.raises(UsageError, match="no report here"):
        read_report(tmp_path)


def test_a_report_cut_short_is_refused(report, tmp_path):
    path = write_reports(report, tmp_path)[0]
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(UsageError, match="not JSON"):
        read_report(path)


def test_a_report_of_another_version_is_refused(report, tmp_path):
    path = write_reports(report, tmp_path)[0]
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))

    with pytest.raises(UsageError, match="schema"):
        read_report(path)
