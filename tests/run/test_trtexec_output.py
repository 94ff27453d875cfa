"""What trtexec prints, read.

Recordings: the summary, deploy/triton-inference-server/README.md of github.com/WongKinYiu/yolov7; layers on a DLA,
github.com/NVIDIA-AI-IOT/jetson_dla_tutorial; the line of a fallback, github.com/blakeblackshear/frigate issue 16571; the exported
profile, the form of samples/common/sampleReporting.cpp of github.com/NVIDIA/TensorRT.
"""

from __future__ import annotations

import pytest

from edgekit.run import trtexec_output

SUMMARY = """[09/11/2022-22:54:32] [I] === Performance summary ===
[09/11/2022-22:54:32] [I] Throughput: 1004.27 qps
[09/11/2022-22:54:32] [I] Latency: min = 1.17474 ms, max = 4.4541 ms, mean = 1.20348 ms, median = 1.1897 ms, percentile(99%) = 1.50061 ms
[09/11/2022-22:54:32] [I] Enqueue Time: min = 0.303711 ms, max = 4.79843 ms, mean = 0.336177 ms, median = 0.337891 ms, percentile(99%) = 0.387817 ms
[09/11/2022-22:54:32] [I] H2D Latency: min = 0.198151 ms, max = 0.228271 ms, mean = 0.201239 ms, median = 0.200623 ms, percentile(99%) = 0.213379 ms
[09/11/2022-22:54:32] [I] GPU Compute Time: min = 0.965637 ms, max = 4.24448 ms, mean = 0.993252 ms, median = 0.97998 ms, percentile(99%) = 1.29016 ms
[09/11/2022-22:54:32] [I] Total GPU Compute Time: 2.99465 s
"""
BEFORE_8_4 = "[05/09/2022-06:10:36] [I] End-to-End Host Latency: min = 0.848877 ms, max = 12.2706 ms, mean = 0.942851 ms, median = 0.899048 ms\n"
MANY = "[I] Latency: min = 15.1 ms, max = 45.0 ms, mean = 27.5 ms, median = 29.2 ms, percentile(90%) = 29.7 ms, percentile(95%) = 30.0 ms\n"
DLA = """[03/31/2022-14:34:53] [W] [TRT] Layer 'avgpool' (POOLING): Unsupported on DLA. Switching this layer's device type to GPU.
[03/31/2022-14:34:54] [I] [TRT] ---------- Layers Running on DLA ----------
[03/31/2022-14:34:54] [I] [TRT] [DlaLayer] {ForeignNode[Conv_0]}
[03/31/2022-14:34:54] [I] [TRT] [DlaLayer] {ForeignNode[Relu_10...Conv_11]}
[03/31/2022-14:34:54] [I] [TRT] ---------- Layers Running on GPU ----------
[03/31/2022-14:34:54] [I] [TRT] [GpuLayer] SHUFFLE: Reshape_2 + (Unnamed Layer* 7) [Shuffle]
"""


def test_the_summary_is_milliseconds_by_what_they_are_of():
    found = trtexec_output.parse_summary(SUMMARY)

    assert found["throughput_qps"] == 1004.27
    assert found["latency"] == {"min": 1.17474, "max": 4.4541, "mean": 1.20348, "median": 1.1897, "p99": 1.50061}
    assert found["gpu_compute_time"]["median"] == 0.97998
    assert found["passed"] is False


def test_every_percentile_that_was_asked_for_is_there():
    assert trtexec_output.parse_summary(MANY)["latency"]["p95"] == 30.0


def test_the_end_to_end_latency_of_older_releases_is_not_taken_for_the_latency():
    found = trtexec_output.parse_summary(BEFORE_8_4)

    assert set(found) == {"passed", "end_to_end_host_latency"}


def test_placement_is_what_ran_where_and_what_fell_back():
    assert trtexec_output.parse_placement(DLA) == {
        "dla": ["{ForeignNode[Conv_0]}", "{ForeignNode[Relu_10...Conv_11]}"],
        "gpu": ["SHUFFLE: Reshape_2 + (Unnamed Layer* 7) [Shuffle]"],
        "fell_back": ["avgpool (POOLING)"],
    }


def test_an_exported_profile_is_mean_milliseconds_by_layer():
    rows = [{"count": 41400}, {"name": "/conv1/Conv + /act1/Relu", "timeMs": 1160.78, "averageMs": 0.0280382, "percentage": 100}]

    assert trtexec_output.parse_profile(rows) == {"/conv1/Conv + /act1/Relu": 0.0280382}


def test_what_the_pieces_of_an_engine_with_a_dla_cost_is_told_apart():
    times = {
        "{ForeignNode[Conv_0]}": 2.0,
        "Reshape_2 + (Unnamed Layer* 7) [Shuffle]": 0.5,
        "{ForeignNode[Relu_10...Conv_11]}": 1.0,
        "input copy": 0.25,
    }
    rows = [{"count": 10}, *({"name": name, "averageMs": ms} for name, ms in times.items())]

    assert trtexec_output.placement_cost(trtexec_output.parse_placement(DLA), rows) == {"dla": 3.0, "gpu": 0.5, "copies": 0.25}


def test_memory_running_out_is_told_from_other_failures():
    assert trtexec_output.is_out_of_memory("[E] Error Code 1: Cuda Runtime (out of memory)")
    assert trtexec_output.is_out_of_memory("Requested amount of GPU memory (2147483648 bytes) could not be allocated.")
    assert not trtexec_output.is_out_of_memory("Could not find any implementation for node Conv_7")
    assert not trtexec_output.is_out_of_memory("Some tactics do not have sufficient workspace memory to run.")


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help", "8.5.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=m.onnx --fp16", "8.6.1"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec --int8", "10.3.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # /usr/src/tensorrt/bin/trtexec --skipInference", "10.16.2"),
        ("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=m.onnx", ""),
    ],
)
def test_the_banner_tells_the_version(banner, version):
    """Lines of github.com/NVIDIA/TensorRT issues 4494 and of OE4T/meta-tegra pull request 2243."""
    assert trtexec_output.parse_banner(banner) == version
