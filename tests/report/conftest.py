"""A report as a real build would fill it: three targets on this machine, one emulated, one broken budget."""

import random
import statistics

import pytest

from edgekit.engine.contract import Delegation, Fallback
from edgekit.measure import Instructions, Judged, Memory
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.recipe import Budget, Recipe
from edgekit.report import (
    NOT_A_LATENCY,
    Accuracy,
    EngineEntry,
    Fidelity,
    Host,
    Latency,
    MeasuredOn,
    ModelEntry,
    Report,
    SamplesEntry,
    StepEntry,
    TargetEntry,
)

HERE = MeasuredOn(device="local", arch="x86_64", cpu="AMD EPYC 9B45")
HOME = MeasuredOn(device="local", arch="x86_64", cpu="AMD EPYC 9B45", is_target=True)
EMULATED = MeasuredOn(device="qemu-aarch64", arch="aarch64", emulated=True, cpu="Cortex-A76 in QEMU 7.2")
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def latency(median_ms, *, spread=0.02, n=1200, drift=0.0, outliers=0.01, seed=0, p99_reason=""):
    """Times that look like a shared machine's: a narrow body, a tail, and a drift where wanted."""
    draw = random.Random(seed)
    samples = []
    for index in range(n):
        value = median_ms * (1 + drift * index / n) * draw.lognormvariate(0, spread)
        if draw.random() < outliers:
            value *= 1 + draw.expovariate(1.2)
        samples.append(int(value * 1e6))
    at = statistics.quantiles(samples, n=100)
    mean = statistics.fmean(samples) / 1e6
    half = 1.96 * statistics.stdev(samples) / 1e6 / n**0.5
    return Latency(
        p50_ms=at[49] / 1e6,
        p90_ms=at[89] / 1e6,
        p99_ms=None if p99_reason else at[98] / 1e6,
        p99_reason=p99_reason,
        mean_ms=mean,
        ci95_ms=(mean - half, mean + half),
        n=n,
        warmup=50,
        first_ms=median_ms * 3.1,
        load_ms=median_ms * 14,
        samples_ns=tuple(samples),
    )


def conditions(runtime, threads=1, **more):
    """As ``Measurement.summary()`` gives them."""
    return {
        "taken_at": "2026-11-21T23:14:02+00:00",
        "device": "builder",
        "arch": "x86_64",
        "cpu": "AMD EPYC 9B45",
        "emulated": False,
        "board": None,
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-26-amd64",
        "cpus": 2,
        "threads": threads,
        "load": {"warmup_s": 0.5, "warmup_queries": 3, "min_queries": 662, "min_duration_s": 3.0, "max_duration_s": 12.0, "threads": threads},
        "runtime": runtime,
        "versions": {runtime.split()[0]: runtime.split()[1], "numpy": "2.4.6", "python": "3.11.7"},
        "feeds": 8,
        "governor": "schedutil",
        "clock_mhz": [3120.0, 3098.0],
        "temperature_c": [54.2, 57.9],
        "throttled": [],
        "loadavg": [1.42, 1.61, 1.2],
        "processor_share": 0.97,
        "others_cores": 0.4,
        "steal_cores": 0.0,
        "power_mw": None,
        "wall_s": 3.412,
        "capped": False,
        **more,
    }


def reference_entry():
    return EngineEntry(
        target="reference",
        runtime="onnxruntime",
        path="engines/reference/model.onnx",
        bytes=18_604_113,
        sha256=DIGEST,
        precision="float32",
        status="built",
        latency=latency(5.62, spread=0.03, seed=1),
        memory=Memory(peak_mib=128.4, load_mib=52.1, base_mib=70.2),
        measured_on=HERE,
        conditions=conditions("onnxruntime 1.31.1"),
    )


def x86_entry():
    return EngineEntry(
        target="x86-64-vnni",
        asked="x86",
        runtime="onnxruntime",
        path="engines/x86-64-vnni-onnxruntime/model.onnx",
        bytes=5_127_882,
        sha256=DIGEST,
        precision="int8",
        status="built",
        fidelity=Fidelity(sqnr_db=19.42, cosine=0.99431, max_abs=2.113, top1_agreement=23 / 24, samples=24, judged_on=HOME),
        accuracy=Accuracy(top1=0.875, top1_reference=0.9167, top5=1.0, top5_reference=1.0, n=24),
        latency=latency(2.83, spread=0.025, seed=2),
        memory=Memory(peak_mib=96.2, load_mib=21.8, base_mib=70.1),
        energy_reason="no power rail on this machine",
        measured_on=HOME,
        conditions=conditions("onnxruntime 1.31.1"),
        verdict=(
            Judged(budget="min_sqnr_db", limit=15.0, value=19.42, outcome="kept", remark="4.4 dB to spare"),
            Judged(budget="min_agreement", limit=0.95, value=23 / 24, outcome="kept", remark="one photo more may change"),
            Judged(budget="max_latency_ms", limit=4.0, value=2.83, outcome="kept", remark="1.2 ms to spare"),
            Judged(budget="max_bytes", limit=5_200_000, value=5_127_882, outcome="kept", remark="72 kB to spare"),
        ),
        details={"operators": {"QLinearConv": 49, "QLinearAdd": 10, "QGemm": 1}, "float_convs": 0},
        snippets=("engines/x86-64-vnni-onnxruntime/run.py", "engines/x86-64-vnni-onnxruntime/run.cc"),
    )


def pi_entry():
    return EngineEntry(
        target="raspberry-pi-5",
        asked="rpi5",
        runtime="tflite",
        path="engines/raspberry-pi-5-tflite/model.tflite",
        bytes=5_312_880,
        sha256=DIGEST,
        precision="int8",
        status="built",
        fidelity=Fidelity(sqnr_db=18.87, cosine=0.99361, max_abs=2.498, top1_agreement=22 / 24, samples=24, judged_on=HERE),
        accuracy=Accuracy(top1=0.9167, top1_reference=0.9167, top5=1.0, top5_reference=1.0, n=24),
        latency=latency(2.34, spread=0.02, drift=0.08, n=400, seed=3, p99_reason="needs 459 queries, has 400"),
        memory=Memory(peak_mib=61.7, load_mib=11.2, base_mib=48.1),
        energy_reason="not measured on the target",
        measured_on=HERE,
        conditions=conditions("ai-edge-litert 2.3.0", delegate="XNNPACK"),
        verdict=(
            Judged(budget="min_sqnr_db", limit=15.0, value=18.87, outcome="kept", remark="3.9 dB to spare"),
            Judged(budget="min_agreement", limit=0.95, value=22 / 24, outcome="broken", remark="3.3 % short: 2 of 24 photos changed class"),
            Judged(budget="max_latency_ms", limit=4.0, value=None, outcome="not judged", remark="not measured on a raspberry-pi-5"),
            Judged(budget="max_bytes", limit=5_200_000, value=5_312_880, outcome="broken", remark="113 kB too large"),
        ),
        remarks=("Latency rose by 8 % from the first to the last query.",),
        delegation=Delegation(
            delegate="XNNPACK",
            by="LiteRT 2.3.0",
            operators=64,
            taken=62,
            parts=2,
            left=(
                Fallback(
                    "pool", "AVERAGE_POOL_2D", "int8 -> int8", "1x7x7x320 -> 1x1x1x320", "XNNPACK has no kernel for int8 -> int8", "keep it in float"
                ),
                Fallback("softmax", "SOFTMAX", "int8 -> int8", "1x1000 -> 1x1000", "XNNPACK has no kernel for int8 -> int8", "keep it in float"),
            ),
        ),
        details={"operators": {"CONV_2D": 34, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1, "FULLY_CONNECTED": 1}, "transposes": 0},
        snippets=("engines/raspberry-pi-5-tflite/run.py", "engines/raspberry-pi-5-tflite/run.cc"),
    )


def jetson_entry():
    return EngineEntry(
        target="jetson-orin-nano-jp62",
        asked="jetson",
        runtime="tensorrt",
        path="engines/jetson-orin-nano-jp62-tensorrt/model.onnx",
        bytes=18_991_204,
        sha256=DIGEST,
        precision="int8",
        status="not built: needs the device",
        fidelity=Fidelity(sqnr_db=19.31, cosine=0.99418, max_abs=2.207, top1_agreement=1.0, samples=24, judged_on=HERE),
        accuracy_reason="the engine is not built",
        latency_reason="the engine is built on the device",
        memory_reason="the engine is built on the device",
        energy_reason="the engine is built on the device",
        verdict=(
            Judged(budget="min_sqnr_db", limit=15.0, value=19.31, outcome="kept", remark="of the graph the engine is built from"),
            Judged(budget="max_latency_ms", limit=4.0, value=None, outcome="not judged", remark="the engine is built on the device"),
        ),
        remarks=("Build it there: python3 build_engine.py --output model.engine",),
        details={"preflight": "nvonnxparser 11.1: 61 layers, none refused"},
    )


def android_entry():
    return EngineEntry(
        target="android-arm64",
        asked="android-arm64",
        runtime="tflite",
        path="engines/android-arm64-tflite/model.tflite",
        bytes=5_312_880,
        sha256=DIGEST,
        precision="int8",
        status="built",
        fidelity=Fidelity(sqnr_db=18.87, cosine=0.99361, max_abs=2.498, top1_agreement=22 / 24, samples=24, judged_on=EMULATED),
        latency_reason=NOT_A_LATENCY,
        memory_reason="emulated: the memory is the emulator's",
        energy_reason=NOT_A_LATENCY,
        instructions=Instructions(per_query=(3_233_101, 3_233_100, 3_233_100), cpu="Cortex-A76 in QEMU 7.2", runtime="ai-edge-litert 2.3.0"),
        measured_on=EMULATED,
        verdict=(Judged(budget="min_sqnr_db", limit=15.0, value=18.87, outcome="kept", remark="3.9 dB to spare"),),
        snippets=("engines/android-arm64-tflite/run.py", "engines/android-arm64-tflite/run.cc", "engines/android-arm64-tflite/Run.kt"),
    )


def steps():
    all_bytes = 18_604_113
    return (
        StepEntry(
            name="ingest",
            did={"format": "torch state dict", "opset": 21, "parity": {"sqnr_db": 118.2, "max_abs": 0.0000047}},
            wall_s=9.82,
            cpu_s=11.4,
            nodes_after=131,
            bytes_after=18_664_020,
        ),
        StepEntry(
            name="simplify",
            options={"rounds": 3},
            did={"removed": {"Identity": 12, "Constant": 9, "Reshape": 2}},
            wall_s=0.31,
            cpu_s=0.30,
            cached=True,
            nodes_before=131,
            nodes_after=96,
            bytes_before=18_664_020,
            bytes_after=18_641_870,
        ),
        StepEntry(
            name="fuse",
            did={"batchnorm into conv": 49, "pad into conv": 4},
            wall_s=0.22,
            cpu_s=0.21,
            nodes_before=96,
            nodes_after=61,
            bytes_before=18_641_870,
            bytes_after=all_bytes,
        ),
        StepEntry(
            name="quantize",
            target="x86-64-vnni-onnxruntime",
            options={"weight_bits": 8, "observer": "mse"},
            did={"activations": 95, "weights": 50, "observer": "mse", "clipped": {"median_share": 0.00012}},
            wall_s=4.71,
            cpu_s=8.65,
            nodes_before=61,
            nodes_after=251,
            bytes_before=all_bytes,
            bytes_after=5_127_882,
        ),
        StepEntry(
            name="quantize",
            target="raspberry-pi-5-tflite",
            options={"weight_bits": 8, "observer": "mse"},
            did={"activations": 95, "weights": 50, "observer": "mse", "ranges": "from the store"},
            wall_s=0.92,
            cpu_s=0.90,
            nodes_before=61,
            nodes_after=251,
            bytes_before=all_bytes,
            bytes_after=5_127_902,
        ),
        StepEntry(
            name="compile",
            target="raspberry-pi-5-tflite",
            did={"operators": 61, "transposes": 0},
            wall_s=0.28,
            cpu_s=0.27,
            bytes_before=5_127_902,
            bytes_after=5_312_880,
        ),
        StepEntry(name="measure", target="x86-64-vnni-onnxruntime", did={"queries": 1200}, wall_s=4.1, cpu_s=3.9),
    )


def realistic_report():
    return Report(
        schema=1,
        edgekit="0.1.0",
        created="2026-11-21T23:14:05+00:00",
        model=ModelEntry(
            source="models/efficientnet_lite0.pth",
            format="torch",
            sha256=DIGEST,
            bytes=18_799_104,
            signature=Signature(
                inputs=(Tensor(name="image", dtype="float32", shape=(1, 3, 224, 224), layout="nchw"),),
                outputs=(Tensor(name="logits", dtype="float32", shape=(1, 1000)),),
                preprocess=Preprocess(resize_short=256, crop=224, mean=(127.0,), std=(128.0,)),
                labels=("tench", "goldfish", "great white shark"),
            ),
            parameters=4_652_008,
            macs=385_000_000,
        ),
        recipe=Recipe(
            schema=1,
            name="static_wi8_ai8",
            step=({"pass": "quantize", "weight_bits": 8},),
            budget=Budget(min_sqnr_db=15.0, min_agreement=0.95, max_latency_ms=4.0, max_bytes=5_200_000),
        ),
        targets=(
            TargetEntry(
                key="x86-64-vnni-onnxruntime",
                asked="x86",
                name="x86-64-vnni",
                runtime="onnxruntime",
                arch="x86_64",
                title="x86-64 with VNNI",
                runtime_version="1.31",
            ),
            TargetEntry(
                key="raspberry-pi-5-tflite",
                asked="rpi5",
                name="raspberry-pi-5",
                runtime="tflite",
                arch="aarch64",
                title="Raspberry Pi 5",
                runtime_version="2.3",
            ),
            TargetEntry(
                key="jetson-orin-nano-jp62-tensorrt",
                asked="jetson",
                name="jetson-orin-nano-jp62",
                runtime="tensorrt",
                arch="aarch64",
                title="Jetson Orin Nano, JetPack 6.2",
                runtime_version="10.3",
            ),
            TargetEntry(
                key="android-arm64-tflite", asked="android-arm64", name="android-arm64", runtime="tflite", arch="aarch64", title="Android, 64-bit Arm"
            ),
        ),
        samples=SamplesEntry(
            name="demo-photos", sha256=DIGEST, calibrating=32, judging=24, licence="CC BY 2.0", skipped=("cat 7.jpg: JPEG cut short",)
        ),
        tools={"onnx": "1.23.2", "onnx-ir": "1.1.0", "onnxruntime": "1.31.1", "onnxsim": "0.8.1", "ai-edge-litert": "2.3.0"},
        steps=steps(),
        engines=(x86_entry(), pi_entry(), jetson_entry(), android_entry()),
        references=(reference_entry(),),
        wall_s=21.4,
        host=Host(arch="x86_64", cpu="AMD EPYC 9B45", os="Debian GNU/Linux 12", python="3.11.7"),
        remarks=("With 24 photos to judge by, agreement and accuracy move in steps of 4.2 %.",),
    )


@pytest.fixture(scope="session")
def report():
    return realistic_report()
