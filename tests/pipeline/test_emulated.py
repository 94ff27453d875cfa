"""What a build says of engines that an emulator ran: no times, but the instructions where it counts them. No emulator is needed here."""

from __future__ import annotations

import msgspec
import pytest

from edgekit.device.contract import DeviceFacts
from edgekit.engine.contract import Engine
from edgekit.measure import Instructions, Load
from edgekit.model import Signature
from edgekit.pipeline.assess import NO_COUNTER, Taken, judged, not_taken, take, with_taken
from edgekit.pipeline.place import Bench, why_not_here
from edgekit.recipe import Budget
from edgekit.report import NOT_A_LATENCY, EngineEntry
from edgekit.target import choose

NOTHING = Signature(inputs=(), outputs=())
COUNTED = Taken(reason=NOT_A_LATENCY, instructions=Instructions(per_query=(12_345,), cpu="Cortex-A76 in QEMU 7.2", runtime="ai-edge-litert 2.3.0"))


class Emulated:
    """A device that must not be asked for anything."""

    def __init__(self, **facts):
        self.facts = DeviceFacts(url="emulated:aarch64", name="qemu-aarch64", arch="aarch64", cpu="Cortex-A76", emulated=True, **facts)


def engine(runtime="tflite", status="built"):
    return Engine(
        file="model", target="raspberry-pi-5", runtime=runtime, precision="int8", status=status, inputs=(), outputs=(), bytes=1, sha256="0" * 64
    )


def bench(**facts):
    return Bench(device=Emulated(**facts), is_named=True)


@pytest.fixture
def entry():
    return EngineEntry(target="raspberry-pi-5", runtime="tflite", path="x", bytes=1, sha256="0" * 64, precision="int8", status="built")


def test_an_emulated_device_that_cannot_count_is_not_asked_for_times(tmp_path):
    found = take(tmp_path, engine(), None, NOTHING, bench(packages={"ai-edge-litert": "2.3.0"}), Load())

    assert found == Taken(reason=NOT_A_LATENCY, instructions_reason=NO_COUNTER)


@pytest.mark.parametrize(
    ("runtime", "packages", "words"),
    [
        ("tflite", {"tflite-runtime": "2.14.0"}, ""),
        ("tflite", {"ai-edge-litert": "2.3.0"}, ""),
        ("tflite", {"numpy": "2.4.6"}, "ai-edge-litert is not installed on qemu-aarch64"),
        ("onnxruntime", {"ai-edge-litert": "2.3.0"}, "onnxruntime is not installed on qemu-aarch64"),
        ("onnxruntime", None, ""),
    ],
)
def test_a_runtime_that_a_device_is_known_to_lack_is_said_before_anything_runs(runtime, packages, words):
    assert why_not_here(engine(runtime), bench(packages=packages)) == words


def test_an_emulated_machine_is_the_place_of_instructions_and_not_of_times(entry):
    place = bench().measured_on(choose("raspberry-pi-5").target)

    told = with_taken(entry, COUNTED, place)

    assert (told.latency, told.latency_reason) == (None, "emulated: not a latency")
    assert (told.memory, told.memory_reason) == (None, "emulated: the memory is the emulator's")
    assert told.instructions.median == 12_345
    assert (told.measured_on.emulated, told.measured_on.is_target) == (True, False)


def test_a_latency_budget_is_not_judged_by_an_emulator(entry):
    place, target = bench(), choose("raspberry-pi-5").target

    (line,) = judged(with_taken(entry, COUNTED, place.measured_on(target)), Budget(max_latency_ms=1.0), place, target).verdict

    assert (line.outcome, line.remark) == ("not judged", "emulated: not a latency")


def test_nothing_of_an_earlier_run_stays_beside_what_was_not_taken(entry):
    earlier = with_taken(entry, COUNTED, bench().measured_on(None))

    told = with_taken(earlier, not_taken("--no-bench"), bench().measured_on(None))

    assert told == msgspec.structs.replace(
        entry, latency_reason="--no-bench", memory_reason="--no-bench", energy_reason="--no-bench", instructions_reason="--no-bench"
    )


def test_what_was_taken_is_said_in_a_few_words():
    assert COUNTED.note == "12,345 instructions a query"
    assert not_taken("not built: needs the device").note == "not built: needs the device"
