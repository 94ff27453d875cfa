import pytest

from edgekit.measure import Judged
from edgekit.report import EngineEntry, Latency, MeasuredOn
from edgekit.report.words import (
    NONE,
    budget_line,
    budget_value,
    change,
    label,
    mean_with_interval,
    number,
    outcome,
    plain,
    seconds,
    size,
    sqnr,
    where,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.3712, "0.371"), (12.345, "12.3"), (12345.6, "12,346"), (4.0, "4"), (0.0, "0"), (0.00471, "0.00471"), (-2.5, "-2.50"), (1e9, "1,000,000,000")],
)
def test_numbers_have_three_digits_and_no_exponent(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (5_127_882, "5.13 MB"), (2_400_000_000, "2.40 GB")])
def test_sizes_are_in_powers_of_a_thousand(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0031, "3 ms"), (0.9996, "1.00 s"), (21.4, "21.4 s"), (125.4, "2 min 5 s"), (59.99, "60.0 s")])
def test_durations_are_as_people_say_them(value, shown):
    assert seconds(value) == shown


def test_the_interval_is_shown_to_the_place_of_the_mean():
    assert mean_with_interval(_latency(mean_ms=2.443, ci95_ms=(2.43, 2.456))) == "2.44 ± 0.01"
    assert mean_with_interval(_latency(mean_ms=2.443, ci95_ms=(2.4426, 2.4434))) == "2.44 ± 0.0004"


def test_outputs_that_do_not_differ_are_exact():
    assert sqnr(None) == "exact"
    assert sqnr(19.42) == "19.4 dB"


def test_a_machine_that_is_no_such_target_is_called_so():
    here = MeasuredOn(device="local", arch="x86_64")

    assert where(here, "raspberry-pi-5") == "on this x86_64, not a raspberry-pi-5"
    assert where(here, "android-arm64") == "on this x86_64, not an android-arm64"
    assert where(here, "reference") == "on this x86_64"


def test_a_machine_that_is_the_target_is_just_named():
    assert where(MeasuredOn(device="lab-pi-3", arch="aarch64", is_local=False, is_target=True), "raspberry-pi-5") == "on lab-pi-3 (aarch64)"


def test_an_emulated_machine_is_never_the_target():
    emulated = MeasuredOn(device="qemu", arch="aarch64", emulated=True, is_local=False, is_target=True)

    assert where(emulated, "raspberry-pi-5") == "on an emulated aarch64, not a raspberry-pi-5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"folded": 12, "sqnr_db": 118.25}, "folded 12, sqnr 118.2 dB"),
        ({"removed": {"Identity": 3}}, "removed (Identity 3)"),
        ({"nodes_before": 131, "nodes_after": 96}, "nodes 131 → 96"),
        ({"ops_before": {"Add": 9, "ReduceMean": 1}, "ops_after": {"Add": 9, "Mean": 1}}, "ops ReduceMean 1 → 0, Mean 0 → 1"),
        ({"ops_before": {"Add": 9}, "ops_after": {"Add": 9}}, "ops unchanged"),
        ({"shape": None, "factory": "", "left_float": []}, "left float none"),
        ([1.42, 1.61], "1.42, 1.61"),
        (0.0000047, "4.7e-06"),
        (True, "yes"),
        (None, NONE),
        ({}, NONE),
        (list(range(20)), "0, 1, 2, 3, 4, 5, 6, 7, … (20 in all)"),
    ],
)
def test_any_plain_data_fits_one_line(value, shown):
    assert plain(value) == shown


def test_units_move_from_the_name_to_the_value():
    assert label("clock_mhz") == "clock, MHz"
    assert label("threads") == "threads"


def test_budgets_are_read_with_their_units():
    assert budget_line(_judged("min_sqnr_db", 15.0, 19.42)) == "SQNR at least 15 dB"
    assert budget_value(_judged("max_bytes", 5_200_000, 5_312_880)) == "5.31 MB"
    assert budget_value(_judged("max_latency_ms", 4.0, None)) == NONE


def test_one_broken_line_breaks_the_budget_and_one_open_leaves_it_open():
    kept, open_, broken = (Judged(budget="b", limit=1, value=1, outcome=word, remark="") for word in ("kept", "not judged", "broken"))

    assert outcome([kept, broken, open_]) == "broken"
    assert outcome([kept, open_]) == "not judged"
    assert outcome([kept]) == "kept"
    assert outcome([]) is None


def test_a_change_that_is_none_is_told_once():
    assert change(131, 96, str) == "131 → 96"
    assert change(61, 61, str) == "61"
    assert change(None, 131, str) == "131"
    assert change(None, None, str) == NONE


def test_an_entry_is_keyed_by_target_and_runtime():
    entry = EngineEntry(target="raspberry-pi-5", runtime="tflite", path="m", bytes=1, sha256="", precision="int8", status="built")

    assert entry.key == "raspberry-pi-5-tflite"


def _latency(**fields):
    return Latency(**{"p50_ms": 1, "p90_ms": 1, "p99_ms": 1, "n": 10, "warmup": 1, "first_ms": 1, "load_ms": 1, **fields})


def _judged(budget, limit, value):
    return Judged(budget=budget, limit=limit, value=value, outcome="kept", remark="")
