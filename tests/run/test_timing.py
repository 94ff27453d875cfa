import gc

import pytest

from edgekit.run.timing import Load, time_queries, warm_up

MS = 1_000_000


class Clock:
    """Time that passes only when a query runs."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Engine:
    """Takes as many milliseconds as its feed says, and remembers its feeds."""

    def __init__(self, clock):
        self.clock = clock
        self.seen = []

    def run(self, ready):
        self.seen.append(ready)
        self.clock.now += ready * MS


def load(**fields):
    return Load(**{"warmup_s": 0.0, "warmup_queries": 0, "min_queries": 0, "min_duration_s": 0.0, "max_duration_s": 100.0, **fields})


@pytest.fixture
def clock():
    return Clock()


def timed(clock, feeds, **fields):
    return time_queries(Engine(clock), feeds, load(**fields), clock=clock, cpu_clock=clock)


def test_a_run_goes_on_until_enough_queries_are_done_though_the_time_is_over(clock):
    assert timed(clock, [10], min_queries=7, min_duration_s=0.02).latencies_ns == [10 * MS] * 7


def test_a_run_goes_on_until_the_time_is_over_though_enough_queries_are_done(clock):
    assert len(timed(clock, [10], min_queries=7, min_duration_s=0.1).latencies_ns) == 10


def test_a_run_ends_at_the_longest_allowed_time_and_says_so(clock):
    result = timed(clock, [10], min_queries=1000, max_duration_s=0.05)

    assert len(result.latencies_ns) == 5
    assert result.capped


def test_enough_queries_are_not_called_capped_when_the_longest_time_ends_the_run(clock):
    assert not timed(clock, [10], min_queries=2, min_duration_s=9.0, max_duration_s=0.05).capped


def test_even_the_slowest_engine_is_run_twice(clock):
    assert len(timed(clock, [5000], min_queries=10, max_duration_s=1.0).latencies_ns) == 2


def test_inputs_go_round_and_times_stay_in_order(clock):
    assert timed(clock, [1, 2, 3], min_queries=7).latencies_ns == [1 * MS, 2 * MS, 3 * MS, 1 * MS, 2 * MS, 3 * MS, 1 * MS]


def test_wall_and_processor_time_cover_the_whole_run(clock):
    result = timed(clock, [4], min_queries=5)

    assert (result.wall_ns, result.cpu_ns) == (20 * MS, 20 * MS)


def test_the_warm_up_ends_when_both_its_time_and_its_queries_are_done(clock):
    assert warm_up(Engine(clock), [10], load(warmup_s=0.03, warmup_queries=2), clock) == 3
    assert warm_up(Engine(clock), [10], load(warmup_s=0.03, warmup_queries=8), clock) == 8


def test_the_warm_up_is_cut_at_the_longest_allowed_time(clock):
    assert warm_up(Engine(clock), [400], load(warmup_queries=100, max_duration_s=1.0), clock) == 3


def test_the_garbage_collector_is_off_while_timing_and_on_again_after_a_failure():
    class Failing:
        def run(self, ready):
            assert not gc.isenabled()
            raise OSError

    with pytest.raises(OSError):
        time_queries(Failing(), [1], load())

    assert gc.isenabled()
