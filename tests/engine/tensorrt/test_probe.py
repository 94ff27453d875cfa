"""The target file of a board, from a reading of it."""

from __future__ import annotations

import pytest

from edgekit.engine.tensorrt.probe import nearest, probed
from edgekit.errors import UsageError
from edgekit.plan import target_faults
from edgekit.strict import toml_of
from edgekit.target import read_target, target_files

# What an Orin Nano with JetPack 6.2 says of itself, as build-result.json has it; values from recorded logs of such a board.
ORIN_NANO = {
    "tensorrt": "10.3.0",
    "python": "3.10.12",
    "arch": "aarch64",
    "board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "l4t": "36.4.3",
    "power_mode": "25W",
    "power_modes": [{"id": 0, "name": "15W"}, {"id": 1, "name": "25W"}, {"id": 2, "name": "MAXN_SUPER"}],
    "clocks": {},
    "gpu": "Orin",
    "compute_capability": "8.7",
    "memory_mib": 7620,
    "cuda_driver": "12.6",
}


@pytest.fixture(scope="module")
def shipped():
    return [read_target(path) for path in target_files().values()]


def test_what_the_board_says_stands_in_the_file_and_the_file_is_good(shipped, tmp_path):
    file = tmp_path / "my-orin.toml"
    file.write_text(toml_of(probed(ORIN_NANO, shipped, name="my-orin")), encoding="utf-8")
    target = read_target(file)

    assert target_faults(file) == ()
    assert (target.name, target.ram_mib, target.runtime("tensorrt").version) == ("my-orin", 8192, "10.3.0")
    assert target.facts["l4t"] == "36.4.3"
    assert target.facts["power_modes"] == ["15W", "25W", "MAXN_SUPER"]
    assert target.facts["cuda"] == "12.6"
    assert target.sources["l4t"] == "read from the board by build_engine.py --check"
    assert target.runtime("tensorrt").scheme == next(one for one in shipped if one.name == "jetson-orin-nano-jp62").runtime("tensorrt").scheme


@pytest.mark.parametrize(
    ("board", "tensorrt", "base"),
    [
        ("NVIDIA Jetson Orin Nano Developer Kit", "10.3.0", "jetson-orin-nano-jp62"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "10.7.0", "jetson-orin-nx-jp62"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "8.5.2", "jetson-agx-orin-jp51"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "10.16.2", "jetson-agx-orin-jp72"),
    ],
)
def test_the_nearest_target_is_of_the_same_board_and_no_newer_release(shipped, board, tensorrt, base):
    assert nearest({**ORIN_NANO, "board": board, "tensorrt": tensorrt}, shipped).name == base


def test_dla_cores_are_those_whose_clocks_the_board_tells(shipped):
    machine = {**ORIN_NANO, "board": "NVIDIA Jetson Orin NX", "clocks": {"dla": {"DLA0_CORE": {}}}}

    assert probed(machine, shipped).facts["dla_cores"] == 1


@pytest.mark.parametrize(
    ("machine", "says"),
    [({**ORIN_NANO, "compute_capability": "5.3"}, "no target has compute capability 5.3"), ({"tensorrt": "10.3.0"}, "says no compute_capability")],
)
def test_a_reading_that_will_not_do_is_a_line_with_a_hint(shipped, machine, says):
    with pytest.raises(UsageError, match=says) as caught:
        probed(machine, shipped)
    assert caught.value.hint
