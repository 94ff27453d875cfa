"""What benchmark_model prints, read.

Recordings: RECENT, source/linux/Foundational_Components/Machine_Learning/tflite.rst of github.com/TexasInstruments/processor-sdk-doc;
OLD, benchmark/benchmark.md of github.com/lp6m/yolov5s_android (without its first two lines, which are of the same release's form);
COMPILED, learn.arm.com/learning-paths/mobile-graphics-and-gaming/litert-sme/4-benchmark. Their forms are those of ``OutputToStream`` and
``OnBenchmarkEnd``, see :mod:`edgekit.measure.benchmark_output`; so are SAME and EMPTY.
"""

from __future__ import annotations

from edgekit.measure.benchmark_output import Series, first_fault, known_flags, parsed

RECENT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [/usr/share/oob-demo-assets/models/ssd_mobilenet_v2_coco.tflite]
INFO: Use xnnpack: [0]
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 5.579ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 p5=1238753 median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint.
INFO: Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
"""
OLD = """Initialized session in 1.43ms.
count=2 first=247583 curr=196689 min=196689 max=247583 avg=222136 std=25447

count=50 first=207897 curr=225553 min=206675 max=231957 avg=220000 std=6795
Inference timings in us: Init: 1430, First inference: 247583, Warmup (avg): 222136, Inference (avg): 220000
Memory footprint delta from the start of the tool (MB): init=5.66016 overall=140.508
"""
OF_2019 = "Peak memory footprint (MB): init=4.92969 overall=138.809"
COMPILED = """INFO: Initialized session in 4.478ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1055 first=1033 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=2112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81]
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:114] Init footprint:       8.94 MB
INFO: [./litert/tools/benchmark_litert_model.h:123] Peak memory usage not available. (peak_mem_mb <= 0)

Timings (microseconds): count=3166 first=947 curr=406 min=390 max=947 avg=411.071 std=14
"""


def test_a_run_is_loading_warm_up_and_queries():
    found = parsed(RECENT)

    assert found.load_ms == 5.579
    assert found.warmup == Series(queries=1, first_us=1357602, mean_us=1357602, median_us=1357602)
    assert found.timed == Series(queries=50, first_us=1249964, mean_us=1240270, median_us=1239807)
    assert (found.peak_mib, found.loaded_mib) == (None, 6.36328)


def test_an_older_release_tells_means_and_no_medians():
    found = parsed(OLD)

    assert found.timed == Series(queries=50, first_us=207897, mean_us=220000, median_us=None)
    assert (found.load_ms, found.warmup.first_us, found.loaded_mib) == (1.43, 247583, 5.66016)
    assert parsed(OLD.partition("Memory")[0] + OF_2019).loaded_mib == 4.92969


def test_that_of_compiled_models_prints_the_same_series_and_profiles_are_none():
    found = parsed(COMPILED)

    assert found.timed == Series(queries=2112, first_us=463, mean_us=464.545, median_us=462)
    assert (found.load_ms, found.peak_mib, found.loaded_mib) == (4.478, None, 8.94)


def test_the_peak_is_there_where_it_was_asked_for():
    asked = RECENT + "INFO: Overall peak memory footprint (MB) via periodic monitoring: 121.25\n"
    compiled = COMPILED.replace("Peak memory usage not available. (peak_mem_mb <= 0)", "Peak memory:          12.50 MB")

    assert (parsed(asked).peak_mib, parsed(compiled).peak_mib) == (121.25, 12.5)


def test_queries_that_all_took_the_same_are_printed_once_and_none_at_all_likewise():
    same = OLD.replace("count=50 first=207897 curr=225553 min=206675 max=231957 avg=220000 std=6795", "count=50 curr=12(all same)")
    none = RECENT.replace("count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602", "count=0 p5=0 median=0 p95=0")

    assert parsed(same).timed == Series(queries=50, first_us=12, mean_us=12, median_us=12)
    assert parsed(none).warmup == Series(queries=0, first_us=None, mean_us=0, median_us=0)


def test_a_run_that_did_not_come_to_its_end_is_none():
    assert parsed(RECENT.partition("INFO: count=50")[0]) is None
    assert parsed("") is None


def test_options_are_those_that_help_lists():
    text = (
        "INFO: STARTING!\nERROR: usage: ./benchmark_model <flags>\nFlags:\n\t--num_runs=50\tint32\toptional\tsee also min_secs\n"
        "\t--output_filepath=\tstring\toptional\tFile path, as in --graph=x\n"
    )

    assert known_flags(text) == {"num_runs", "output_filepath"}


def test_the_first_error_names_the_cause():
    assert (
        first_fault("INFO: STARTING!\nERROR: Could not open 'x'.\nERROR: Failed to load model x\nERROR: Benchmarking failed.\n")
        == "Could not open 'x'."
    )
    assert first_fault("Failed to apply NNAPI delegate.\nBenchmarking failed.\n") == "Failed to apply NNAPI delegate."
    assert first_fault("INFO: STARTING!\nLoaded model x\n") == "Loaded model x"
    assert first_fault("") == "it said nothing"
