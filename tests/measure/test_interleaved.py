import msgspec
import numpy as np
import pytest

from edgekit.measure import Load, joined, measure_interleaved
from edgekit.measure.interleaved import ROUNDS


def test_engines_take_turns_and_share_the_load(twice, device):
    folder, engine, signature = twice
    load = Load(warmup_s=0.0, warmup_queries=1, min_queries=41, min_duration_s=0.0, max_duration_s=8.0)

    def feeds():
        return iter([{"x": np.zeros((1, 2), np.float32)}])

    first, second = measure_interleaved([(folder, engine), (folder, engine)], feeds, device, load, signature=signature)

    assert len(first) == len(second) == ROUNDS == 4
    assert {len(one.latencies_ns) for one in (*first, *second)} == {11}  # 41 / 4, up
    began = [one.conditions.before.monotonic_s for one in (*first, *second)]
    a, b = began[:ROUNDS], began[ROUNDS:]
    assert sorted(range(8), key=began.__getitem__) == [0, 4, 5, 1, 2, 6, 7, 3]  # a b, b a, a b, b a
    assert a == sorted(a)
    assert b == sorted(b)


def test_runs_of_one_engine_are_joined_under_their_average_load(taken, steady):
    def run(times, cpu_s, wall_s):
        one = taken(times)
        return msgspec.structs.replace(one, conditions=msgspec.structs.replace(one.conditions, cpu_s=cpu_s, wall_s=wall_s))

    one, other = run(steady(20), 3.0, 3.0), run(steady(30), 0.5, 1.0)
    together = joined([one, other])

    assert together.latencies_ns == (*one.latencies_ns, *other.latencies_ns)
    assert together.conditions["processor_share"] == pytest.approx(3.5 / 4)
    assert together.conditions["wall_s"] == 4.0
    assert together.conditions["threads"] == one.load.threads
