"""The target file of a device's kind, from what devices were seen to tell."""

import msgspec
import pytest

from edgekit.device.probe import Probe
from edgekit.errors import UsageError
from edgekit.pipeline.lab import target_of
from edgekit.plan import target_faults
from edgekit.strict import toml_of
from edgekit.target import read_target, target_files

PI = Probe(
    name="raspberrypi",
    arch="aarch64",
    cpu="Cortex-A76",
    model="Raspberry Pi 5 Model B Rev 1.0",
    kernel="6.6.31+rpt-rpi-2712",
    os="Debian GNU/Linux 12 (bookworm)",
    cpus=4,
    cpus_allowed=4,
    cpu_quota=None,
    memory_mib=8053.9,
    memory_available_mib=7000.0,
    disk_free_mib=9000.0,
    python="3.11.2",
    executable="/usr/bin/python3",
    is_root=False,
    emulated=False,
    l4t="",
    features=("aes", "asimd", "asimddp", "asimdhp", "crc32", "fp"),
    packages={"ai-edge-litert": "2.3.0", "numpy": "2.0.1"},
    governors=("ondemand",),
    temperatures_c={},
    throttled_now={},
    load_average=(0.0, 0.0, 0.0),
)
JETSON = msgspec.structs.replace(
    PI,
    name="orin",
    model="NVIDIA Jetson Orin Nano Developer Kit",
    l4t="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025",
    packages={"tensorrt": "10.3.0"},
)


@pytest.mark.parametrize("name", sorted(target_files()))
def test_a_target_that_is_written_is_the_one_that_is_read(tmp_path, name):
    target = read_target(target_files()[name])
    (tmp_path / "t.toml").write_text(toml_of(target))

    assert read_target(tmp_path / "t.toml") == target


def test_a_raspberry_pi_5_is_told_from_the_generic_one(tmp_path):
    target = target_of(PI, name="my-pi", asked="ssh://pi")
    (tmp_path / "my-pi.toml").write_text(toml_of(target))

    assert (target.title, target.cpu, target.ram_mib) == ("Raspberry Pi 5 Model B Rev 1.0", "4x Cortex-A76", 8054)
    assert set(target.features) == set(read_target(target_files()["raspberry-pi-5"]).features)
    assert [(one.name, one.version) for one in target.runtimes] == [("tflite", "2.3.0")]
    assert target.facts == {
        "board": "Raspberry Pi 5 Model B Rev 1.0",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.6.31+rpt-rpi-2712",
        "python": "3.11.2",
        "governors": ["ondemand"],
    }
    assert target.sources["tflite.version"].startswith("read on ssh://pi, ")
    assert target_faults(tmp_path / "my-pi.toml") == ()


def test_a_jetson_is_started_from_the_kind_that_is_named_and_keeps_what_only_nvidia_says(tmp_path):
    with pytest.raises(UsageError, match="which kind is not guessed") as caught:
        target_of(JETSON, name="orin")
    assert "--like jetson-orin-nano-jp62" in caught.value.hint

    target = target_of(JETSON, name="orin", like="jetson-orin-nano-jp62")
    (tmp_path / "orin.toml").write_text(toml_of(target))

    base = read_target(target_files()["jetson-orin-nano-jp62"])
    assert target.facts == {**base.facts, **target.facts}
    assert target.facts["l4t"] == "36.4.3"
    assert [(one.name, one.version) for one in target.runtimes] == [("tensorrt", "10.3.0")]
    assert target_faults(tmp_path / "orin.toml") == ()


def test_a_processor_that_no_target_has_is_refused():
    with pytest.raises(UsageError, match="raspberrypi is armv7l, and no target is of that architecture"):
        target_of(msgspec.structs.replace(PI, arch="armv7l"), name="x")
    with pytest.raises(UsageError, match="x86-64 is x86_64, the device aarch64"):
        target_of(PI, name="x", like="x86-64")


MACHINE = {
    "tensorrt": "10.3.0", "python": "3.10.12", "arch": "aarch64", "board": "NVIDIA Jetson Orin Nano Developer Kit", "l4t": "36.4.3",
    "power_mode": "25W", "power_modes": [{"id": 0, "name": "15W"}, {"id": 1, "name": "25W"}], "clocks": {}, "gpu": "Orin",
    "compute_capability": "8.7", "memory_mib": 7620, "cuda_driver": "12.6",
}  # fmt: skip


def test_a_jetson_that_tells_its_gpu_gets_its_kind_by_itself_with_jetpack_and_power_modes(tmp_path):
    target = target_of(JETSON, name="orin", asked="ssh://orin", machine=MACHINE)
    (tmp_path / "orin.toml").write_text(toml_of(target))

    assert target_faults(tmp_path / "orin.toml") == ()
    assert (target.facts["jetpack"], target.facts["l4t"], target.facts["power_modes"]) == ("6.2", "36.4.3", ["15W", "25W"])
    assert (target.runtime("tensorrt").version, target.builds_on) == ("10.3.0", "device")
    assert target.sources["power_modes"].startswith("read on ssh://orin, ")
    assert target.sources["jetpack"].startswith("https://developer.nvidia.com/embedded/jetpack-archive")


def test_a_kind_with_another_gpu_is_not_started_from():
    with pytest.raises(UsageError, match=r"no target has compute capability 8\.7"):
        target_of(JETSON, name="orin", like="jetson-agx-thor-jp70", machine=MACHINE)
