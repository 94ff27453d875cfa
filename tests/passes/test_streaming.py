import os
import threading
import time

import numpy as np
import pytest

from edgekit.passes.streaming import CHUNK, HELD_BYTES, in_chunks


def feeds(count):
    return ({"x": np.array([number])} for number in range(count))


def seen(chunk):
    return [(number, int(feed["x"][0])) for number, feed in chunk]


@pytest.mark.parametrize("cpus", [None, 1, 2, 16])
@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 41])
def test_chunks_come_in_the_order_of_the_samples_however_many_threads_there_are(monkeypatch, cpus, count):
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)

    def look(chunk):
        time.sleep(0.002 if chunk[0][0] % 8 == 0 else 0.0)  # every second chunk is slow
        return seen(chunk)

    chunks = list(in_chunks(look, feeds(count), bytes_held=1))

    assert [one for chunk in chunks for one in chunk] == [(number, number) for number in range(count)]
    assert all(len(chunk) == CHUNK for chunk in chunks[:-1])


@pytest.mark.parametrize(("bytes_held", "threads"), [(0, 4), (HELD_BYTES // 4, 4), (HELD_BYTES // 2, 2), (HELD_BYTES, 1), (9 * HELD_BYTES, 1)])
def test_large_feature_maps_are_looked_at_by_fewer_threads(monkeypatch, bytes_held, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    together = threading.Barrier(threads)
    seen_by = set()

    def look(chunk):
        together.wait(timeout=60)  # fewer threads would never be so many
        seen_by.add(threading.get_ident())

    list(in_chunks(look, feeds(8 * CHUNK), bytes_held=bytes_held))

    assert len(seen_by) == threads


@pytest.mark.parametrize("cpus", [1, 3])
def test_no_more_samples_are_taken_than_threads_look_at(monkeypatch, cpus):
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    taken = []

    def counted():
        for feed in feeds(100):
            taken.append(1)
            yield feed

    chunks = in_chunks(seen, counted(), bytes_held=1)
    next(chunks)

    assert len(taken) == cpus * CHUNK
    chunks.close()


@pytest.mark.parametrize("cpus", [1, 3])
def test_an_error_in_the_samples_comes_out(monkeypatch, cpus):
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)

    def broken():
        yield from feeds(10)
        raise OSError("the card was pulled")

    with pytest.raises(OSError, match="the card was pulled"):
        list(in_chunks(seen, broken(), bytes_held=1))


@pytest.mark.parametrize("cpus", [1, 3])
def test_an_error_in_a_look_comes_out_after_what_was_seen_before_it(monkeypatch, cpus):
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)

    def look(chunk):
        if chunk[0][0] == 2 * CHUNK:
            raise ValueError("not finite")
        return seen(chunk)

    chunks = in_chunks(look, feeds(100), bytes_held=1)

    assert [len(next(chunks)) for _ in range(2)] == [CHUNK, CHUNK]
    with pytest.raises(ValueError, match="not finite"):
        next(chunks)
