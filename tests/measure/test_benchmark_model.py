"""Engines through a stand-in for LiteRT's benchmark_model, which really runs LiteRT, on a board that has a shell and no Python."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import numpy as np
import pytest

from edgekit.device import open_device
from edgekit.errors import DeviceError, UnreachableError, UnsupportedError
from edgekit.measure import Load, compare, infer, measure, remarks_on, summarize, why_no_outputs
from edgekit.measure.benchmark_model import _planned
from edgekit.measure.benchmark_program import _harmless
from edgekit.measure.compare import differences

FEEDS = [np.random.default_rng(seed).uniform(-40, 40, (1, 4, 2, 3)).astype(np.float32) for seed in range(5)]
ANYWHERE = pytest.mark.parametrize("bare_tools", ["busybox"], indirect=True)


def feeds():
    return [{"image": feed} for feed in FEEDS]


def large_feeds():
    return [{"image": np.full((1, 64, 32, 32), value, np.float32)} for value in (-2, 2)]


def device_of(bare, benchmark_model, host="pi", **options):
    benchmark_model(bare.bin / "benchmark_model", **options)
    return open_device(f"ssh://{host}")


def test_times_are_those_of_blocks_each_by_a_process_of_its_own(bare, benchmark_model, large_relu8, quick):
    folder, engine, signature = large_relu8
    device = device_of(bare, benchmark_model)

    seen = measure(folder, engine, large_feeds(), device, quick, signature=signature)
    device.close()

    assert len(seen.latencies_ns) == len(seen.blocks.queries) == len(seen.blocks.means_ns) == 5
    assert seen.blocks.queries == (7,) * 5  # 30 queries in 5 blocks are 6 each; an odd number has a middle
    assert seen.queries == 35
    assert (seen.blocks.latency, seen.blocks.on_samples, seen.conditions.feeds) == ("median", True, 2)
    assert all(time_ns % 1000 == 0 for time_ns in seen.latencies_ns)
    assert seen.warmup >= 5 * quick.warmup_queries
    assert seen.load_ns > 0
    assert seen.import_ns is None
    assert seen.memory.peak_mib > 10
    assert 0 < seen.conditions.cpu_s < os.cpu_count() * seen.conditions.wall_s
    digest = hashlib.sha256((bare.bin / "benchmark_model").read_bytes()).hexdigest()[:12]
    assert seen.conditions.runtime == f"benchmark_model {digest}"
    assert [path for path in bare.depot.rglob("*") if path.is_file()] == []


@ANYWHERE
def test_what_is_said_of_blocks_is_true_of_blocks(bare, benchmark_model, large_relu8, quick):
    folder, engine, signature = large_relu8
    device = device_of(bare, benchmark_model)

    seen = measure(folder, engine, large_feeds(), device, quick, signature=signature)
    device.close()
    figures, remarks = summarize(seen), remarks_on(seen)

    assert figures.n == 35
    assert figures.p50_ms == sorted(seen.latencies_ns)[2] / 1e6
    assert figures.mean_ms == pytest.approx(sum(seen.blocks.means_ns) / 5 / 1e6)
    assert (figures.p90_ms, figures.p99_ms) == (None, None)
    assert figures.p90_reason == figures.p99_reason == "benchmark_model tells no single times"
    assert "5 blocks of 7 queries, each a process of its own" in remarks[0]
    single = {**seen.summary(), "timed": None}
    assert "timed: medians of blocks and None" in differences(seen.timings, type(seen.timings)(latencies_ns=seen.latencies_ns, conditions=single))
    assert differences(seen.timings, seen.timings) == []


@ANYWHERE
def test_where_whole_microseconds_are_too_coarse_means_stand_for_blocks(bare, benchmark_model, relu8):
    folder, engine, signature = relu8  # of 24 values: a microsecond or two
    device = device_of(bare, benchmark_model)

    seen = measure(folder, engine, feeds(), device, Load(warmup_s=0.0, min_queries=200, min_duration_s=0.0), signature=signature)
    device.close()

    assert seen.blocks.latency == "mean"
    assert seen.latencies_ns == seen.blocks.means_ns


def test_outputs_are_those_of_each_sample_in_order_as_the_source_gives_them(bare, benchmark_model, relu8):
    folder, engine, signature = relu8
    device = device_of(bare, benchmark_model)

    outputs = list(infer(folder, engine, feeds(), device, signature=signature))
    device.close()

    on_grid = [np.clip(np.rint(feed / 0.5), -125, 130) * 0.5 for feed in FEEDS]  # int8 with scale 0.5 and zero point -3
    assert [np.array_equal(one["result"], np.maximum(wanted, 0)) for one, wanted in zip(outputs, on_grid, strict=True)] == [True] * 5


@ANYWHERE
def test_an_older_release_tells_means_and_takes_inputs_but_writes_no_outputs(bare, benchmark_model, large_relu8, quick):
    folder, engine, signature = large_relu8
    device = device_of(bare, benchmark_model, form="old")

    seen = measure(folder, engine, large_feeds(), device, quick, signature=signature)
    reason = why_no_outputs(device, engine)
    device.close()

    assert (seen.blocks.latency, seen.blocks.on_samples) == ("mean", True)
    assert seen.latencies_ns == seen.blocks.means_ns
    assert seen.memory.peak_mib is None
    assert "medians are not printed" in remarks_on(seen)[0]
    assert reason == "its benchmark_model has no --output_filepath"


@ANYWHERE
def test_one_that_takes_no_inputs_is_timed_on_numbers_of_its_own_and_both_is_said(bare, benchmark_model, large_relu8, quick):
    folder, engine, signature = large_relu8
    device = device_of(bare, benchmark_model, form="compiled")

    seen = measure(folder, engine, large_feeds(), device, quick, signature=signature)
    with pytest.raises(UnsupportedError, match="outputs cannot be had: its benchmark_model has no --input_layer"):
        list(infer(folder, engine, large_feeds(), device, signature=signature))
    device.close()

    assert (seen.blocks.on_samples, seen.conditions.feeds, seen.blocks.latency) == (False, 0, "median")
    assert any("random numbers of benchmark_model's own" in remark for remark in remarks_on(seen))


@ANYWHERE
@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("os.kill(os.getpid(), 11)", "benchmark_model was ended by SIGSEGV"),
        ("os.abort()", "benchmark_model was ended by SIGABRT"),
        ("raise ValueError('op of version 9')", r"benchmark_model ended with status 1: .*op of version 9"),
        ("sys.exit('ERROR: Failed to allocate tensors!')", "benchmark_model ended with status 1: Failed to allocate tensors!"),
    ],
    ids=["segmentation fault", "abort", "traceback", "error"],
)
def test_how_it_ended_is_said_in_one_line(bare, benchmark_model, relu8, quick, before, message):
    folder, engine, signature = relu8
    device = device_of(bare, benchmark_model, before=before)

    for work in (
        lambda: measure(folder, engine, feeds(), device, quick, signature=signature),
        lambda: next(infer(*relu8[:2], feeds(), device, signature=signature)),
    ):
        with pytest.raises(DeviceError, match=message) as caught:
            work()
        assert "\n" not in caught.value.message
        assert caught.value.hint
    device.close()


@ANYWHERE
def test_an_engine_that_it_does_not_open_is_said_with_its_words(bare, benchmark_model, relu8, quick):
    folder, engine, signature = relu8
    device = device_of(bare, benchmark_model, before="os.truncate([word for word in sys.argv if 'graph' in word][0].partition('=')[2], 100)")

    with pytest.raises(DeviceError, match="benchmark_model ended with status 1: Failed to load model"):
        measure(folder, engine, feeds(), device, quick, signature=signature)
    device.close()


@ANYWHERE
def test_without_it_the_hint_says_where_it_comes_from_and_where_it_goes(bare, relu8, quick):
    folder, engine, signature = relu8
    device = open_device("ssh://pi")

    with pytest.raises(DeviceError, match="neither Python nor benchmark_model runs tflite engines there") as caught:
        measure(folder, engine, feeds(), device, quick, signature=signature)
    device.close()

    assert "developers.google.com/edge/litert" in caught.value.hint
    assert "benchmark_model =" in caught.value.hint


@ANYWHERE
def test_something_else_of_that_name_is_told_from_it(bare, relu8, quick):
    folder, engine, signature = relu8
    (bare.bin / "benchmark_model").write_text("#!/bin/sh\necho what do you want >&2; exit 3\n")
    (bare.bin / "benchmark_model").chmod(0o755)
    device = open_device("ssh://pi")

    with pytest.raises(DeviceError, match=r"is no benchmark_model that will do: it has no --graph \(ended with status 3: what do you want\)"):
        measure(folder, engine, feeds(), device, quick, signature=signature)
    device.close()


@pytest.mark.slow
@ANYWHERE
def test_a_cable_that_is_pulled_in_the_middle_of_a_measurement_ends_it_on_both_sides(bare, benchmark_model, large_relu8, tmp_path):
    folder, engine, signature = large_relu8
    note = f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')"
    device = device_of(bare, benchmark_model, host="cable", before=note)
    load = Load(warmup_s=0.2, min_queries=1000, min_duration_s=400, max_duration_s=800)
    pulled = []

    def pids():
        return (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []

    def pull():
        assert bare.tools.until(lambda: len(pids()) >= 3, 60)  # a pilot, a warm-up, and then the first block
        bare.cable.pull()
        pulled.append(time.monotonic())

    threading.Thread(target=pull).start()
    with pytest.raises(UnreachableError, match="ssh://cable: "):
        measure(folder, engine, large_feeds(), device, load, signature=signature)

    assert time.monotonic() - pulled[0] < 15
    assert bare.tools.until(lambda: not bare.tools.is_running(int(pids()[-1])), 30)
    assert len(pids()) < 6
    device.close()


@pytest.mark.parametrize(
    ("query_s", "planned"),
    [
        (0.001, (20, 151)),  # 3 s are 3000 queries, 150 a block
        (0.010, (20, 35)),  # 662 queries are 33.1 a block, so 34, which has no middle
        (0.100, (15, 9)),  # 12 s are 120 queries; 8 in a block are few enough
        (5.000, (2, 1)),  # 12 s are 2 queries
        (0.0, (20, 35)),  # below a microsecond, nothing is known
    ],
)
def test_blocks_are_as_many_as_say_something_and_have_a_query_in_their_middle(query_s, planned):
    assert _planned(query_s, Load()) == planned


def test_two_measurements_in_blocks_are_compared_by_their_medians(taken, steady):
    from edgekit.measure.measurement import Blocks

    blocks = Blocks(queries=(33,) * 20, means_ns=(5_000_000,) * 20, latency="median", on_samples=True)
    first, second = (
        type(one)(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "blocks": blocks})
        for one in (taken(steady(5.0, 20)), taken(steady(6.0, 20)))
    )

    assert compare(first.timings, second.timings).outcome == "slower"


def test_names_of_inputs_are_all_numbered_where_one_would_be_taken_for_a_list():
    """Its --input_layer_value_files is a list of ``name:file`` between commas."""
    assert _harmless(["a:0", "input0"]) == ["input0", "input1"]
    assert _harmless(["image", "serving/mask.1"]) == ["image", "serving/mask.1"]
