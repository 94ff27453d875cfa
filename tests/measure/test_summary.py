import msgspec
import numpy as np
import pytest

from edgekit.device.contract import DeviceFacts
from edgekit.errors import InvalidMeasurementError
from edgekit.measure import Load, refuse_invalid, remarks_on, summarize


def test_figures_are_in_milliseconds(taken):
    figures = summarize(taken([1_000_000] * 500 + [3_000_000] * 499 + [9_000_000]))

    assert (figures.p50_ms, figures.p90_ms, figures.p99_ms) == (1.0, 3.0, 3.0)
    assert figures.mean_ms == pytest.approx(2.006)
    assert figures.ci95_ms[0] < 2.006 < figures.ci95_ms[1]
    assert (figures.n, figures.warmup, figures.first_ms, figures.load_ms) == (1000, 5, 3.0, 40.0)


@pytest.mark.parametrize(("count", "p90", "p99"), [(63, False, False), (64, True, False), (661, True, False), (662, True, True)])
def test_percentiles_are_stated_only_with_enough_queries_behind_them(taken, steady, count, p90, p99):
    figures = summarize(taken(steady(count=count)))

    assert (figures.p90_ms is not None, figures.p99_ms is not None) == (p90, p99)
    assert (figures.p90_reason == "", figures.p99_reason == "") == (p90, p99)


def test_a_missing_percentile_says_how_many_queries_it_needs(taken, steady):
    assert summarize(taken(steady(count=100))).p99_reason == "100 queries; 662 are needed"


def test_a_quiet_board_has_nothing_to_remark(taken, steady):
    quiet = taken(steady())

    assert remarks_on(quiet) == ()
    assert summarize(quiet).invalid == ()
    assert refuse_invalid(quiet) is quiet


def faults(measurement):
    with pytest.raises(InvalidMeasurementError) as caught:
        refuse_invalid(measurement)
    assert caught.value.exit_status == 5
    assert summarize(measurement).invalid
    return caught.value.message


def test_times_of_a_throttled_processor_must_not_be_used(taken, steady):
    assert "throttled (cpu0)" in faults(taken(steady(), after={"throttle_counts": {"cpu0": 4}}))


def test_a_throttling_flag_at_either_end_counts(taken, steady):
    assert "throttled (firmware: throttled)" in faults(taken(steady(), before={"throttled_now": {"firmware: throttled": True}}))


def test_times_of_a_falling_clock_must_not_be_used(taken, steady):
    assert "fell from 1500 to 1000 MHz" in faults(taken(steady(), after={"clocks_mhz": {"cpu0": 1000.0}}))


def test_a_small_change_of_the_clock_is_no_fault(taken, steady):
    assert refuse_invalid(taken(steady(), after={"clocks_mhz": {"cpu0": 1400.0}}))


def test_queries_that_take_twice_as_long_at_the_end_are_no_steady_state(taken, steady):
    rising = steady() * np.linspace(1, 2, 1000)

    assert "not steady: queries became 6" in faults(taken(rising))


def test_a_smaller_drift_is_remarked_only(taken, steady):
    rising = taken(steady() * np.linspace(1, 1.2, 1000))

    assert refuse_invalid(rising)
    assert any("slower from the beginning of the run to its end" in remark for remark in remarks_on(rising))


def test_a_median_that_lies_anywhere_between_two_levels_must_not_be_used(taken):
    # Long stretches at 1 ms and at 3 ms, half and half: another run might have had either median.
    levels = np.tile(np.repeat([1e6, 3e6], 100), 5)

    assert "too noisy: the median lies somewhere from 1 to 3 ms" in faults(taken(levels))


def test_a_shared_machine_is_told_about(taken, steady):
    times = steady()
    total_s = float(times.sum()) / 1e9
    shared = taken(times, cpu_s=0.6 * total_s, after={"busy_s": 100.0 + 2.6 * total_s})

    assert remarks_on(shared)[0] == "The machine was shared: the engine had a processor 60% of the time; others kept 2.0 of 4 processors busy."


def test_neighbours_and_hypervisors_are_told_about(taken, steady):
    times = steady()
    total_s = float(times.sum()) / 1e9
    remarks = remarks_on(taken(times, after={"busy_s": 100.0 + 1.5 * total_s, "steal_s": 0.25 * total_s}))

    assert remarks == ("Other processes kept 0.5 of 4 processors busy meanwhile.", "The hypervisor took 25% of a processor away meanwhile.")


def test_a_container_that_is_paused_is_remarked_not_refused(taken, steady):
    paused = taken(
        steady(), facts={"cpu_quota": 0.5}, before={"throttle_counts": {"cgroup quota": 1}}, after={"throttle_counts": {"cgroup quota": 9}}
    )

    assert refuse_invalid(paused)
    assert "The container's limit of 0.5 processors paused the process." in remarks_on(paused)


def test_what_a_device_does_not_tell_is_said(taken, steady):
    silent = {"governors": (), "temperatures_c": {}, "throttle_counts": {}}

    assert remarks_on(taken(steady(), before=silent, after=silent)) == ("The device does not tell the clock governor, temperatures, throttling.",)


def test_a_governor_that_lets_clocks_rise_and_fall_is_remarked(taken, steady):
    assert remarks_on(taken(steady(), after={"governors": ("ondemand",)})) == ("The clock governor is ondemand, not performance.",)


def test_an_emulated_device_says_that_its_times_mean_nothing(taken, steady):
    emulated = DeviceFacts(url="emulated://x", name="qemu", arch="aarch64", cpu="", emulated=True)

    assert remarks_on(taken(steady(), device=emulated))[0] == "qemu is emulated: its times say nothing about real hardware."


def test_a_run_cut_short_says_how_far_it_came(taken, steady):
    cut = taken(steady(count=80), capped=True, load=Load(min_queries=662, max_duration_s=12.0))

    assert "80 of 662 queries were done when the longest allowed time of 12 s was over." in remarks_on(cut)


def test_conditions_become_plain_data_for_a_report(taken, steady):
    summary = taken(steady(), after={"temperatures_c": {"cpu": 61.0, "gpu": 55.0}}).summary()

    assert msgspec.json.decode(msgspec.json.encode(summary)) == summary
    assert summary["runtime"] == "runtime-x 1.0"
    assert summary["temperature_c"] == [50.0, 61.0]
    assert summary["clock_mhz"] == [1500.0, 1500.0]
    assert (summary["governor"], summary["threads"], summary["throttled"], summary["others_cores"]) == ("performance", 1, [], 0.0)
