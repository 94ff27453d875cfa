import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.device.contract import DeviceFacts, Ran
from edgekit.errors import DeviceError, SamplesError, UsageError
from edgekit.measure import Load, Measurement, infer, measure


def feeds(*values):
    return [{"x": np.array([value], np.float32)} for value in values]


class FakeDevice:
    """Keeps files in a folder and answers every command with the same result."""

    def __init__(self, folder, ran, result=None):
        self.facts = DeviceFacts(url="fake", name="fake-board", arch="aarch64", cpu="")
        self.folder, self.ran, self.result = folder, ran, result

    def push(self, local, remote):
        shutil.copytree(local, self.folder / str(remote), dirs_exist_ok=True)

    def pull(self, remote, local):
        if self.result is None or remote.name != "result.json":
            raise DeviceError("no such file", hint="")
        local.write_bytes(self.result)

    def run(self, argv, *, timeout_s, stdin=b""):
        return self.ran

    def workspace(self):
        return Path("workspace")

    def close(self):
        pass


def test_a_measurement_holds_raw_times_and_what_they_were_taken_under(twice, device, quick):
    folder, engine, signature = twice

    found = measure(folder, engine, feeds([1, 2], [3, 4]), device, quick, signature=signature)

    assert len(found.latencies_ns) == 30
    assert min(found.latencies_ns) > 0
    assert (found.target, found.runtime, found.engine_sha256) == ("x86-64", "onnxruntime", engine.sha256)
    assert found.device == device.facts
    assert found.load == quick
    assert found.conditions.feeds == 2
    assert found.conditions.runtime.startswith("onnxruntime 1.")
    assert found.memory.base_mib < found.memory.peak_mib
    assert msgspec.json.decode(msgspec.json.encode(found), type=Measurement) == found


def test_no_more_than_a_few_feeds_are_read_for_timing(twice, device, quick):
    folder, engine, signature = twice
    many = iter(feeds(*([index, 0] for index in range(100))))

    found = measure(folder, engine, many, device, quick, signature=signature)

    assert found.conditions.feeds == 8
    assert next(many)["x"][0, 0] == 8


def test_nothing_is_left_on_the_device(twice, device, quick):
    folder, engine, signature = twice

    measure(folder, engine, feeds([1, 2]), device, quick, signature=signature)
    list(infer(folder, engine, feeds([1, 2]), device, signature=signature))

    assert [list(Path(workspace).iterdir()) for workspace in device._workspaces] == [[], []]


def test_outputs_come_sample_by_sample(twice, device):
    folder, engine, signature = twice

    outputs = infer(folder, engine, feeds([1, 2], [3, 4], [5, 6]), device, signature=signature)

    assert [result["y"].tolist() for result in outputs] == [[[2, 4]], [[6, 8]], [[10, 12]]]


def test_samples_go_in_lots_that_fit_the_disk(twice, device):
    folder, engine, signature = twice

    outputs = infer(folder, engine, feeds([1, 2], [3, 4], [5, 6]), device, signature=signature, lot_bytes=40)  # 8 in and 8 out: two queries

    assert [result["y"].tolist() for result in outputs] == [[[2, 4]], [[6, 8]], [[10, 12]]]
    assert len(device._workspaces) == 2


def test_an_int8_nhwc_engine_is_fed_and_read_as_its_float_nchw_source(relu8, device):
    folder, engine, signature = relu8
    values = np.arange(-12, 12, dtype=np.float32).reshape(1, 4, 2, 3) * 0.5  # all on the engine's grid of 0.5

    (outputs,) = infer(folder, engine, [{"image": values}], device, signature=signature)

    assert outputs["result"].dtype == np.float32
    np.testing.assert_array_equal(outputs["result"], np.maximum(values, 0))


def test_a_tflite_engine_is_timed_with_several_threads(relu8, device, quick):
    folder, engine, signature = relu8
    load = msgspec.structs.replace(quick, threads=2)

    found = measure(folder, engine, [{"image": np.zeros((1, 4, 2, 3), np.float32)}], device, load, signature=signature)

    assert found.summary()["threads"] == 2
    assert found.conditions.runtime.startswith("ai-edge-litert ")


def test_an_engine_of_another_converter_is_opened_by_the_runtimes_adapter(relu8, device):
    folder, engine, signature = relu8
    engine = msgspec.structs.replace(engine, runtime="tflite-tensorflow")
    zeros = {"image": np.zeros((1, 4, 2, 3), np.float32)}

    assert next(infer(folder, engine, [zeros], device, signature=signature))["result"].max() == 0


def test_an_engine_the_runtime_refuses_is_a_device_error_in_one_line(twice, device, quick):
    folder, engine, signature = twice
    (folder / "model.onnx").write_bytes(b"nonsense")

    with pytest.raises(DeviceError, match="ONNX Runtime does not open the engine") as caught:
        measure(folder, engine, feeds([1, 2]), device, quick, signature=signature)

    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_unknown_runtime_options_are_named(twice, device, quick):
    folder, engine, signature = twice
    engine = msgspec.structs.replace(engine, options={"turbo": True})

    with pytest.raises(DeviceError, match="unknown runtime options: turbo"):
        measure(folder, engine, feeds([1, 2]), device, quick, signature=signature)


def test_samples_of_another_shape_are_refused_before_anything_is_sent(twice, device, quick):
    folder, engine, signature = twice

    with pytest.raises(SamplesError, match=r"x: a sample has shape \(1, 3\), the engine takes \(1, 2\)"):
        measure(folder, engine, feeds([1, 2, 3]), device, quick, signature=signature)


def test_no_samples_at_all_are_refused(twice, device, quick):
    folder, engine, signature = twice

    with pytest.raises(SamplesError, match="no samples"):
        measure(folder, engine, [], device, quick, signature=signature)


def test_an_engine_that_must_be_built_on_the_device_first_is_refused(twice, device, quick):
    folder, engine, signature = twice
    engine = msgspec.structs.replace(engine, status="not built: needs the device")

    with pytest.raises(UsageError, match="not built: needs the device"):
        measure(folder, engine, feeds([1, 2]), device, quick, signature=signature)


@pytest.mark.parametrize(
    ("ran", "words"),
    [
        (Ran(-11, b"", b""), "fake-board: the agent was ended by SIGSEGV"),
        (Ran(137, b"", b""), "fake-board: the agent was ended by SIGKILL"),
        (Ran(127, b"", b"sh: 1: exec: python3: not found\n"), "ended with status 127: sh: 1: exec: python3: not found"),
        (Ran(1, b"", b"Traceback\n  ...\nKeyError: 'x'\n"), "ended with status 1: KeyError: 'x'"),
        (Ran(2, b"", b""), "ended with status 2"),
    ],
)
def test_an_agent_that_dies_without_an_answer_is_a_device_error(twice, quick, tmp_path, ran, words):
    folder, engine, signature = twice

    with pytest.raises(DeviceError) as caught:
        measure(folder, engine, feeds([1, 2]), FakeDevice(tmp_path, ran), quick, signature=signature)

    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_an_answer_cut_short_is_a_device_error(twice, quick, tmp_path):
    folder, engine, signature = twice

    with pytest.raises(DeviceError, match="answer cannot be read"):
        measure(folder, engine, feeds([1, 2]), FakeDevice(tmp_path, Ran(0, b"", b""), b'{"error": nul'), quick, signature=signature)


@pytest.mark.parametrize(("kind", "error"), [("feeds", SamplesError), ("runtime", DeviceError), ("memory", DeviceError), ("news", DeviceError)])
def test_each_kind_of_answer_has_its_error_and_a_hint(twice, quick, tmp_path, kind, error):
    folder, engine, signature = twice
    answer = msgspec.json.encode({"error": {"kind": kind, "reason": "so it is"}})

    with pytest.raises(error, match="fake-board: so it is") as caught:
        measure(folder, engine, feeds([1, 2]), FakeDevice(tmp_path, Ran(1, b"", b""), answer), quick, signature=signature)

    assert caught.value.hint


def test_the_default_load_lets_p99_be_stated_and_ends():
    load = Load()

    assert load.min_queries == 662
    assert load.max_duration_s <= 15
