import msgspec
import numpy as np
import pytest

from edgekit.device.contract import DeviceFacts
from edgekit.errors import InvalidMeasurementError
from edgekit.measure import Load, Timings, compare


@pytest.mark.parametrize(("factor", "outcome"), [(1.1, "slower"), (1 / 1.1, "faster"), (1.0, "no difference beyond noise")])
def test_a_tenth_is_told_apart_and_nothing_is_not(taken, steady, factor, outcome):
    found = compare(taken(steady(seed=1)).timings, taken(steady(seed=2) * factor).timings)

    assert found.outcome == outcome
    assert found.ratio == pytest.approx(factor, rel=0.01)
    assert found.ci95[0] < found.ratio < found.ci95[1]
    assert found.p50_ms[0] == pytest.approx(5.0, rel=0.01)


def test_less_than_runs_differ_by_themselves_is_no_difference_however_sure(taken, steady):
    found = compare(taken(steady(count=5000, seed=1)).timings, taken(steady(count=5000, seed=2) * 1.02).timings)

    assert found.ci95[0] > 1
    assert found.outcome == "no difference beyond noise"


def test_noise_hides_a_difference(taken, steady):
    noisy = np.repeat(steady(count=40, spread=0.5, seed=3), 25)

    assert compare(taken(noisy).timings, taken(noisy[::-1] * 1.1).timings).outcome == "no difference beyond noise"


def test_comparing_twice_says_the_same(taken, steady):
    first, second = taken(steady(seed=1)).timings, taken(steady(seed=2)).timings

    assert compare(first, second) == compare(first, second)


def refused(first, second):
    with pytest.raises(InvalidMeasurementError) as caught:
        compare(first.timings, second.timings)
    assert caught.value.exit_status == 5
    return caught.value.message


def test_every_condition_that_differs_is_named_at_once(taken, steady):
    other = DeviceFacts(url="local", name="desk", arch="x86_64", cpu="Some CPU")

    message = refused(taken(steady()), taken(steady(), device=other, load=Load(threads=4), after={"governors": ("powersave",)}))

    for words in ("device: lab and desk", "arch: aarch64 and x86_64", "cpu: ", "threads: 1 and 4", "governor: performance and powersave", "load."):
        assert words in message


def test_two_versions_of_one_runtime_are_refused_and_two_runtimes_are_not(taken, steady):
    versions = {"numpy": "2.0", "python": "3.11"}
    newer = taken(steady(), versions={"runtime-x": "1.1", **versions})
    other = taken(steady(), versions={"runtime-y": "7", **versions})

    assert "runtime: runtime-x 1.0 and runtime-x 1.1" in refused(taken(steady()), newer)
    assert compare(taken(steady()).timings, other.timings).ratio == 1


def test_an_engine_that_had_half_a_processor_is_not_compared_with_one_that_had_a_whole(taken, steady):
    times = steady()

    assert "had 100% and 50% of a processor" in refused(taken(times), taken(times, cpu_s=0.5 * times.sum() / 1e9))


def test_an_engine_that_had_a_tenth_less_of_the_processor_may_be_a_tenth_slower(taken, steady):
    slower = steady(seed=2) * 1.1
    interrupted = taken(slower, cpu_s=0.9 * slower.sum() / 1e9).timings

    assert compare(taken(steady(seed=1)).timings, interrupted).outcome == "no difference beyond noise"


def test_an_idle_machine_is_not_compared_with_a_busy_one(taken, steady):
    times = steady()
    busy = taken(times, after={"busy_s": 100.0 + 3 * times.sum() / 1e9})  # two of four processors with other things

    assert "other processes kept 0.0 and 2.0 of 4 processors busy" in refused(taken(times), busy)


def test_a_somewhat_busier_machine_asks_for_a_larger_difference(taken, steady):
    times = steady(seed=1)
    busier = steady(seed=2) * 1.1
    total_s = busier.sum() / 1e9
    found = compare(taken(times).timings, taken(busier, after={"busy_s": 100.0 + 1.5 * total_s}).timings)

    assert found.outcome == "no difference beyond noise"


def test_too_few_queries_are_refused(taken, steady):
    assert "the second has 10 queries, 11 are needed" in refused(taken(steady()), taken(steady(count=10)))


def test_what_a_report_kept_can_be_compared(taken, steady):
    kept = msgspec.json.encode(taken(steady()).timings)

    back = msgspec.json.decode(kept, type=Timings)

    assert compare(back, taken(steady()).timings).outcome == "no difference beyond noise"
