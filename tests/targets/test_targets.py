"""The target files that edgekit ships, against facts written down here by hand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.target import choose, host_target, read_target, target_files, unsourced

FOLDER = Path(__file__).resolve().parents[2] / "targets"
FILES = sorted(FOLDER.glob("*.toml"))
JETSONS = [path for path in FILES if path.stem.startswith("jetson-")]

JETPACK = {  # JetPack: L4T, TensorRT, CUDA, python3 of its Ubuntu
    "jp51": ("5.1", "35.2.1 to 35.6.4", "8.5.2", "11.4", "3.8"),
    "jp62": ("6.2", "36.4.3", "10.3.0", "12.6", "3.10"),
    "jp70": ("7.0", "38.2", "10.13.3", "13.0", "3.12"),
    "jp72": ("7.2", "39.2.0", "10.16.2", "13.2", "3.12"),
}
BOARD = {  # board: compute capability, DLA cores while JetPack still has DLA, GiB
    "xavier-nx": ("7.2", 2, 8),
    "agx-xavier": ("7.2", 2, 32),
    "orin-nano": ("8.7", 0, 8),
    "orin-nx": ("8.7", 2, 16),
    "agx-orin": ("8.7", 2, 64),
    "agx-thor": ("11.0", 0, 128),
}
SAME_SCALE_IN_LITERT = {  # operators whose input and output the int8 specification binds to one scale, by their ONNX names
    "AveragePool", "MaxPool", "Reshape", "Flatten", "Resize", "Transpose", "Squeeze", "Unsqueeze", "Pad", "Slice", "SpaceToDepth",
}  # fmt: skip


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def raw(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_every_target_loads_and_bears_the_name_of_its_file(file):
    assert read_target(file).name == file.stem


def test_every_fact_has_a_source_and_every_source_a_fact(file):
    assert unsourced(read_target(file)) == ()


def test_what_a_file_changes_it_gives_its_own_source_for(file):
    data = raw(file)
    own = ("version", "max_opset", "dtypes", "scheme", "remarks", "pays", "channel_multiple")
    changed = {key for key in ("arch", "cpu", "features", "ram_mib", "builds_on") if key in data} | set(data.get("facts", {}))
    for runtime in data["runtimes"]:
        changed |= {f"{runtime['name']}.{key}" for key in own if key in runtime}

    assert changed <= set(data["sources"])


def test_every_runtime_is_one_that_edgekit_has_a_backend_for(file):
    assert {runtime.name for runtime in read_target(file).runtimes} <= {"onnxruntime", "tflite", "tensorrt", "tensorrt-rtx", "ethos-u"}


def test_every_scheme_shares_scales_only_among_ops_it_computes_in_integers(file):
    for runtime in read_target(file).runtimes:
        scheme = runtime.scheme
        assert scheme is not None
        for one in filter(None, (scheme, scheme.int16_activations)):
            assert {*one.same_scale_ops, *one.shared_input_ops, *one.float_output_ops, *one.low_bit_static_ops} <= set(one.integer_ops)


def test_every_scheme_says_why_it_lacks_what_it_lacks(file):
    for runtime in read_target(file).runtimes:
        scheme = runtime.scheme
        assert scheme is not None
        lacking = {name for name in ("int16_activations", "low_bit_static_ops", "bfloat16") if not getattr(scheme, name)}
        assert lacking <= set(scheme.lacks)
        assert scheme.bfloat16 == ("bfloat16" in runtime.dtypes)


def test_jetsons_are_built_on_the_device_and_every_other_board_here(file):
    on_device = file.stem.startswith(("jetson-", "nvidia-rtx-"))

    assert read_target(file).builds_on == ("device" if on_device else "host")


def test_arm_boards_run_tflite_first_and_x86_onnxruntime_first():
    first = {path.stem: read_target(path).runtimes[0].name for path in FILES}

    assert {first[name] for name in first if name.startswith(("raspberry", "android", "aarch64"))} == {"tflite"}
    assert {first[name] for name in first if name.startswith("x86-64")} == {"onnxruntime"}


@pytest.mark.parametrize("path", JETSONS, ids=lambda path: path.stem)
def test_jetson_facts_follow_from_its_jetpack_and_its_board(path):
    board, _, jetpack = path.stem.removeprefix("jetson-").rpartition("-")
    capability, dla_cores, gib = BOARD[board]
    target = read_target(path)
    facts = target.facts

    assert tuple(facts[key] for key in ("jetpack", "l4t", "tensorrt", "cuda", "python")) == JETPACK[jetpack]
    assert facts["compute_capability"] == capability
    assert facts["dla_cores"] == (dla_cores if jetpack in ("jp51", "jp62") else 0)
    assert target.ram_mib == gib * 1024
    assert target.runtime("tensorrt").version == facts["tensorrt"]


def test_tensorrt_wants_symmetric_int8_and_float_bias():
    for path in [*JETSONS, *FOLDER.glob("nvidia-rtx-*.toml")]:
        scheme = read_target(path).runtime("tensorrt").scheme
        assert (scheme.activations, scheme.bias, scheme.residual, scheme.float16) == ("int8 symmetric", "float32", "skip", "graph")


@pytest.mark.parametrize("name", ["x86-64", "aarch64"])
def test_tflite_scheme_is_that_of_the_int8_specification(name):
    scheme = read_target(FOLDER / f"{name}.toml").runtime("tflite").scheme

    assert scheme.activations == "int8"
    assert set(scheme.same_scale_ops) >= SAME_SCALE_IN_LITERT
    assert set(scheme.shared_input_ops) == {"Concat", "Min", "Max"}
    assert scheme.fixed_output == {
        "Sigmoid": (1 / 256, -128),
        "Softmax": (1 / 256, -128),
        "Tanh": (1 / 128, 0),
        "LogSoftmax": (16 / 256, 127),
    }


def test_seven_bit_weights_are_for_x86_without_vnni_alone():
    reduced = {path.stem for path in FILES for runtime in read_target(path).runtimes if runtime.scheme.reduce_range}

    assert reduced == {"x86-64", "x86-64-avx2"}


def test_onnxruntime_on_x86_takes_unsigned_activations_and_on_arm_signed():
    assert read_target(FOLDER / "x86-64-vnni.toml").runtime("onnxruntime").scheme.activations == "uint8"
    assert read_target(FOLDER / "raspberry-pi-5.toml").runtime("onnxruntime").scheme.activations == "int8"


def test_aliases_are_unique_and_never_the_name_of_another_target():
    aliases = [alias for path in FILES for alias in raw(path).get("aliases", ())]

    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & {path.stem for path in FILES}
    assert not set(aliases) & {"host", "x86"}


@pytest.mark.parametrize(
    ("alias", "name", "runtime"),
    [
        ("jetson", "jetson-orin-nano-jp62", "tensorrt"),
        ("rpi5", "raspberry-pi-5", "tflite"),
        ("rpi4:onnxruntime", "raspberry-pi-4", "onnxruntime"),
        ("rpi3", "raspberry-pi-3", "tflite"),
        ("android", "android-arm64", "tflite"),
        ("rtx40", "nvidia-rtx-ada", "tensorrt-rtx"),
        ("rtx40:tensorrt", "nvidia-rtx-ada", "tensorrt"),
    ],
)
def test_aliases_stand_for_targets(alias, name, runtime):
    chosen = choose(alias)

    assert (chosen.asked, chosen.target.name, chosen.runtime) == (alias, name, runtime)


@pytest.mark.parametrize(
    ("arch", "features", "name"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, "x86-64-vnni"),
        ("x86_64", {"avx2", "avx_vnni"}, "x86-64-vnni"),
        ("x86_64", {"avx2"}, "x86-64-avx2"),
        ("x86_64", {"sse4_1"}, "x86-64"),
        ("aarch64", {"asimd"}, "aarch64"),
    ],
)
def test_this_machine_is_a_target_that_ships(arch, features, name):
    assert host_target(arch, frozenset(features)) == name
    assert name in target_files()


def test_a_wrong_name_is_answered_with_the_nearest_right_one():
    with pytest.raises(UsageError, match=r"raspbery-pi-5: no such target; did you mean raspberry-pi-5\?"):
        choose("raspbery-pi-5")


def test_a_runtime_the_target_does_not_run_is_answered_with_those_it_runs():
    with pytest.raises(UsageError, match="raspberry-pi-5 does not run tensorrt; it runs tflite, onnxruntime"):
        choose("rpi5:tensorrt")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


BASE = """
schema = 1
name = "base"
arch = "aarch64"
ram_mib = 512
aliases = ["b"]
[[runtimes]]
name = "tflite"
dtypes = ["int8"]
[runtimes.scheme]
activations = "int8"
reduce_range = true
[[runtimes]]
name = "onnxruntime"
[sources]
arch = "somewhere"
"""

OVER = """
schema = 1
name = "over"
extends = "base"
[[runtimes]]
name = "tflite"
[runtimes.scheme]
reduce_range = false
[sources]
ram_mib = "here"
"""


def test_extends_lays_a_file_over_its_base(tmp_path):
    write(tmp_path, "base", BASE)
    over = write(tmp_path, "over", OVER)

    target = read_target(over)

    assert (target.arch, target.ram_mib, target.aliases) == ("aarch64", 512, ())
    assert [runtime.name for runtime in target.runtimes] == ["tflite"]
    assert (target.runtimes[0].dtypes, target.runtimes[0].scheme.activations, target.runtimes[0].scheme.reduce_range) == (("int8",), "int8", False)
    assert target.sources == {"arch": "somewhere", "ram_mib": "here"}


def test_extends_goes_one_level_deep(tmp_path):
    write(tmp_path, "base", BASE)
    write(tmp_path, "middle", 'schema = 1\nname = "middle"\nextends = "base"\nruntimes = []\nsources = {}\n')
    top = write(tmp_path, "top", 'schema = 1\nname = "top"\nextends = "middle"\nruntimes = []\nsources = {}\n')

    with pytest.raises(UsageError, match="extends middle, which extends another"):
        read_target(top)


def test_an_unknown_key_is_answered_with_the_nearest_right_one(tmp_path):
    path = write(tmp_path, "base", BASE.replace("ram_mib", "ram_mb"))

    with pytest.raises(UsageError, match=r"ram_mb: no such key; did you mean ram_mib\?"):
        read_target(path)


def test_facts_without_a_source_are_named(tmp_path):
    path = write(tmp_path, "base", BASE + 'weight = "its own"\n')

    assert unsourced(read_target(path)) == (
        "ram_mib: no source",
        "tflite.max_opset: no source",
        "tflite.dtypes: no source",
        "tflite.scheme: no source",
        "tflite.scheme.reduce_range: no source",
        "onnxruntime.max_opset: no source",
        "onnxruntime.dtypes: no source",
        "sources: weight is no fact of base",
    )
