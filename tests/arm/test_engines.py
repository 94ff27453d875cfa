"""The same engine on emulated ARM and on this machine: what it computes, and what a report says of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgekit import build
from edgekit.engine.contract import read_engine
from edgekit.errors import DeviceError
from edgekit.measure import count, infer
from edgekit.samples import read_samples

ROOT = Path(__file__).resolve().parents[2]
CORES = ("emulated:aarch64/cortex-a53", "emulated:aarch64/cortex-a72", "emulated:aarch64/cortex-a76")
OTHERS = ("emulated:aarch64-tflite-runtime", "emulated:armv7l/cortex-a7", "emulated:armv7l/cortex-a15")  # tflite-runtime 2.14
PORTS = {"io": {"dtype": "int8"}}


class Built:
    """An engine that was built, with samples to run it on."""

    def __init__(self, report, out, samples):
        (self.entry,) = report.engines
        self.signature = report.model.signature
        self.folder = (out / self.entry.path).parent
        self.engine = read_engine(self.folder)
        self.samples = read_samples(samples)

    def feeds(self, most=6):
        return list(itertools.islice(self.samples.feeds("judging", self.signature), most))

    def outputs(self, device, most=6):
        found = infer(self.folder, self.engine, self.feeds(most), device, signature=self.signature)
        return np.stack([outputs[self.signature.outputs[0].name] for outputs in found])


def relative(found, wanted):
    """Largest difference of an output as a share of the largest output."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def steps(found, wanted, engine):
    """Largest difference of an output in steps of the engine's integers."""
    return np.rint(np.abs(found - wanted) / engine.outputs[0].scale).max()


@pytest.fixture(scope="module")
def built(net, arrays, store, tmp_path_factory):
    """``built("float")``: the TFLite engine of the tiny network."""

    def make(recipe, settings=None):
        out = tmp_path_factory.mktemp("out") / "built"
        report = build(net, target="rpi5", samples=arrays, recipe=recipe, settings=settings, bench=False, out=out, store=store)
        return Built(report, out, arrays)

    return make


@pytest.mark.parametrize("url", CORES)
@pytest.mark.parametrize("recipe", ["float", "fp16"])
def test_a_float_engine_computes_on_arm_what_it_computes_here(built, device_of, here, url, recipe):
    device, made = device_of(url), built(recipe)

    assert relative(made.outputs(device), made.outputs(here)) <= 1e-5


@pytest.mark.parametrize("url", CORES)
def test_an_int8_engine_computes_on_arm_what_it_computes_here(built, device_of, here, url):
    device, made = device_of(url), built("static_wi8_ai8", PORTS)

    assert steps(made.outputs(device), made.outputs(here), made.engine) <= 1


@pytest.mark.parametrize("url", OTHERS)
def test_an_older_runtime_computes_the_same_float_network(built, device_of, here, url):
    device, made = device_of(url), built("float")

    assert relative(made.outputs(device), made.outputs(here)) <= 1e-5


@pytest.mark.parametrize("url", OTHERS)
def test_an_older_runtime_computes_the_same_int8_network(built, device_of, here, url):
    device, made = device_of(url), built("static_wi8_ai8", PORTS)

    assert steps(made.outputs(device), made.outputs(here), made.engine) <= 1


def test_an_onnxruntime_engine_runs_on_arm_too(net, arrays, store, tmp_path, device_of, here):
    device = device_of("emulated:aarch64")
    report = build(net, target="rpi5:onnxruntime", samples=arrays, recipe="float", bench=False, out=tmp_path / "out", store=store)
    made = Built(report, tmp_path / "out", arrays)

    assert relative(made.outputs(device), made.outputs(here)) <= 1e-5


def test_instructions_are_the_same_every_time(built, device_of):
    device, made = device_of("emulated:aarch64"), built("static_wi8_ai8")
    if not device.facts.counting:
        pytest.skip("this QEMU has no plugins, or there was no C compiler when the userland was made")

    one, other = (count(made.folder, made.engine, made.feeds(1), device, signature=made.signature) for _ in range(2))

    assert max(one.per_query) - min(one.per_query) <= 0.01 * one.median
    assert abs(one.median - other.median) <= 0.001 * one.median
    assert one.runtime == "ai-edge-litert 2.3.0"


def test_a_build_on_an_emulated_board_is_judged_there_and_has_no_times(net, arrays, store, tmp_path, device_of):
    device_of("emulated:aarch64")  # skips

    report = build(net, target="rpi5", samples=arrays, device="emulated:aarch64", out=tmp_path / "out", store=store)

    (entry,) = report.engines
    assert entry.fidelity.judged_on.emulated
    assert entry.fidelity.judged_on.arch == "aarch64"
    assert entry.fidelity.sqnr_db > 20
    assert (entry.latency, entry.latency_reason) == (None, "emulated: not a latency")
    assert "fidelity is judged on an emulated aarch64, not a raspberry-pi-5" in str(report)


def test_an_engine_that_the_runtime_does_not_open_is_refused_in_one_line(built, device_of, tmp_path):
    device, made = device_of("emulated:aarch64"), built("float")
    (tmp_path / made.engine.file).write_bytes(b"nonsense")

    with pytest.raises(DeviceError, match="qemu-aarch64: TFLite does not open the engine"):
        next(infer(tmp_path, made.engine, made.feeds(1), device, signature=made.signature))


def test_what_an_emulated_program_starts_is_emulated_too(device_of):
    device = device_of("emulated:armv7l")
    script = "import platform, subprocess; print(platform.machine(), subprocess.check_output(['sh', '-c', 'uname -m']).decode())"

    assert device.run(["python3", "-c", script], timeout_s=60).stdout.split() == [b"armv7l", b"armv7l"]


def test_a_program_that_crashes_tells_its_signal_and_leaves_no_core(device_of, tmp_path):
    device = device_of("emulated:aarch64")

    ran = device.run(["sh", "-c", f"cd {tmp_path}; kill -SEGV $$"], timeout_s=60)

    assert ran.status == -11
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(("recipe", "settings"), [("float", None), ("static_wi8_ai8", PORTS)])
def test_the_demos_network_computes_on_arm_what_it_computes_here(recipe, settings, device_of, here, store, tmp_path, monkeypatch):
    device, weights = device_of("emulated:aarch64"), ROOT / "demo/model/efficientnet-lite0.pth"
    if not weights.is_file():
        pytest.skip("the demo's model is not here: python tools/fetch_demo.py")
    pytest.importorskip("torch")
    monkeypatch.chdir(ROOT)
    photos = ROOT / "calibration/demo-photos.toml"

    report = build(
        weights,
        factory="tools/demo_model.py:efficientnet_lite0",
        shape=(1, 3, 224, 224),
        target="rpi5",
        samples=photos,
        recipe=recipe,
        settings=settings,
        bench=False,
        out=tmp_path / "out",
        store=store,
    )
    made = Built(report, tmp_path / "out", photos)

    found, wanted = made.outputs(device, most=2), made.outputs(here, most=2)
    if made.engine.outputs[0].scale is None:
        assert relative(found, wanted) <= 1e-5
    else:
        assert steps(found, wanted, made.engine) <= 1
