"""The package for the board: what lies in it, and that each command in it is one its release knows."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.engine.contract import read_engine
from edgekit.engine.tensorrt import TensorrtBackend
from edgekit.engine.tensorrt.plan import BuildPlan
from edgekit.engine.tensorrt.rules import has_trtexec_option, releases
from edgekit.errors import UnsupportedError

TARGETS = Path(__file__).resolve().parents[3] / "targets"
OPTIONS = json.loads((Path(__file__).parent / "data" / "trtexec_options.json").read_text(encoding="utf-8"))["options"]
NET = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"
QUANTIZED = """net (float[1,3,8,8] x) => (float[1,3,8,8] y) <float s = {0.1}, int8 z = {0}> {
  q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }"""
HALF = """net (float[2] x) => (float[2] y) <float16[2] w = {1, 2}> { h = Cast<to: int = 10>(x)  a = Add(h, w)  y = Cast<to: int = 1>(a) }"""


BRAIN = """net (float[2] x) => (float[2] y) { h = Cast<to: int = 16>(x)  a = Add(h, h)  y = Cast<to: int = 1>(a) }"""


def plan_of(folder: Path) -> dict:
    return json.loads((folder / "build-plan.json").read_text(encoding="utf-8"))


def shell_options(folder: Path, tmp_path: Path) -> list[str]:
    """What build_with_trtexec.sh gives to trtexec."""
    fake = tmp_path / "trtexec"
    fake.write_text('#!/bin/sh\nfor one in "$@"; do printf "%s\\n" "$one"; done\n', encoding="utf-8")
    fake.chmod(0o755)
    ran = subprocess.run(
        [str(folder / "build_with_trtexec.sh")], env={**os.environ, "TRTEXEC": str(fake)}, capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()


def test_the_package_holds_all_that_the_board_needs_and_says_that_it_is_no_engine(package):
    folder = package(NET, "jetson-orin-nano-jp62")
    engine = read_engine(folder)

    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "build-plan.json", "build_engine.py", "build_with_trtexec.sh", "README.txt", "engine.json",
        "board.py", "cuda_memory.py", "jetson.py", "plan_header.py", "tensorrt_config.py", "tensorrt_run.py", "trtexec_output.py", "trtexec_path.py",
        "trtexec_query.py",
    }  # fmt: skip
    assert engine.status == "not built: needs the device"
    assert (engine.file, engine.bytes) == ("model.onnx", (folder / "model.onnx").stat().st_size)
    assert (engine.inputs[0].name, engine.inputs[0].shape, engine.outputs[0].dtype) == ("x", (1, 3, 8, 8), "float32")


@pytest.mark.parametrize(("name", "opset"), [("jetson-xavier-nx-jp51", 17), ("jetson-orin-nano-jp62", 20), ("jetson-agx-thor-jp72", 21)])
def test_the_graph_is_in_the_newest_opset_that_the_release_reads(package, name, opset):
    proto = onnx.load(package(QUANTIZED, name) / "model.onnx")

    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "name", "precision", "typing", "flags"),
    [
        (NET, "jetson-orin-nano-jp62", "float32", "weak", []),
        (HALF, "jetson-orin-nano-jp62", "float16", "weak", ["FP16"]),
        (QUANTIZED, "jetson-orin-nano-jp62", "int8", "weak", ["INT8", "FP16"]),
        (QUANTIZED, "nvidia-rtx-ada", "int8", "strong", []),
        (HALF, "nvidia-rtx-ada", "float16", "strong", []),
        (BRAIN, "jetson-orin-nano-jp62", "bfloat16", "strong", []),
        (BRAIN, "nvidia-rtx-ada", "bfloat16", "strong", []),
    ],
)
def test_precision_is_by_flags_up_to_release_10_and_in_the_graph_from_11_on(package, text, name, precision, typing, flags):
    plan = plan_of(package(text, name))

    assert (plan["precision"], plan["typing"], plan["flags"]) == (precision, typing, flags)


def test_bfloat16_is_refused_by_a_release_that_has_none(package):
    with pytest.raises(UnsupportedError) as caught:
        package(BRAIN, "jetson-orin-nano-jp51")

    assert caught.value.refusals[0].endswith(
        "h is bfloat16, which TensorRT has from release 10.0 on; use the recipe fp16, or a target with a newer JetPack"
    )


def test_what_stays_float_in_an_int8_graph_may_be_kept_in_float32(package):
    assert plan_of(package(QUANTIZED, "jetson-orin-nano-jp62", float_rest="float32"))["flags"] == ["INT8"]


@pytest.mark.parametrize(("name", "mib"), [("jetson-orin-nano-jp62", 2048), ("jetson-agx-orin-jp62", 4096), ("nvidia-rtx-ada", 0)])
def test_workspace_is_a_quarter_of_the_memory_and_at_most_four_gib(package, name, mib):
    assert plan_of(package(NET, name))["workspace_mib"] == mib


def test_int64_is_handed_over_as_int32_by_releases_before_10(package):
    text = "net (int64[2] x) => (int64[2] y) { y = Add(x, x) }"

    old, new = (read_engine(package(text, name)) for name in ("jetson-xavier-nx-jp51", "jetson-orin-nano-jp62"))

    assert (old.inputs[0].dtype, new.inputs[0].dtype) == ("int32", "int64")


def test_the_same_model_gives_the_same_bytes(package):
    one, other = (package(QUANTIZED, "jetson-orin-nano-jp62") for _ in range(2))

    assert all((one / path.name).read_bytes() == path.read_bytes() for path in other.iterdir())


def test_trtexec_options_are_those_the_release_has():
    for tag, present in OPTIONS.items():
        release = tuple(int(part) for part in tag.split("."))
        for option in releases().trtexec:
            if option == "--int8" and release >= (11,):
                continue  # it is still in the source, for the safety builder alone
            assert has_trtexec_option(option, release) == (option in present), (tag, option)


@pytest.mark.parametrize(
    ("name", "tag", "has", "has_not"),
    [
        ("jetson-xavier-nx-jp51", "8.5.2", {"--buildOnly", "--int8", "--fp16"}, {"--skipInference", "--builderOptimizationLevel"}),
        (
            "jetson-orin-nano-jp62",
            "10.3.0",
            {"--skipInference", "--int8", "--fp16", "--builderOptimizationLevel"},
            {"--buildOnly", "--stronglyTyped"},
        ),
        ("nvidia-rtx-ada", "11.1", {"--skipInference", "--stronglyTyped"}, {"--int8", "--fp16"}),
    ],
)
def test_the_shell_script_builds_with_options_of_that_release(package, tmp_path, name, tag, has, has_not):
    given = {option.partition("=")[0] for option in shell_options(package(QUANTIZED, name), tmp_path)}

    assert given <= set(OPTIONS[tag])
    assert has <= given
    assert not has_not & given


@pytest.mark.parametrize("name", sorted(path.stem for path in TARGETS.glob("jetson-*.toml")))
@pytest.mark.parametrize("text", [NET, QUANTIZED], ids=["float", "int8"])
def test_every_jetsons_lines_for_trtexec_hold_options_of_its_release_alone(package, target, text, name):
    found = target(name)
    with_dla = {"dla_core": 0} if found.facts["dla_cores"] and found.facts["tensorrt"] < "10.8" else {}
    plan = plan_of(package(text, name, shapes={}, **with_dla))
    release = found.runtime("tensorrt").version
    tag = next(tag for tag in sorted(OPTIONS, key=len, reverse=True) if release.startswith(tag))

    given = {option.partition("=")[0] for options in plan["trtexec"].values() for option in options}

    assert given <= set(OPTIONS[tag]), (tag, given - set(OPTIONS[tag]))


def test_a_release_whose_trtexec_was_not_read_says_so():
    from edgekit.engine.tensorrt import trtexec

    plan = BuildPlan(
        schema=1, target="t", tensorrt="11.4.0", compute_capability="", model="m", model_sha256="", precision="float32", typing="strong", flags=(),
        workspace_mib=0, optimization_level=3, profiles=(), inputs=(), outputs=(),
    )  # fmt: skip

    assert "# Options of trtexec after 11.1 were not read: these are its." in trtexec.shell_script(plan)
    assert "were not read" not in trtexec.shell_script(msgspec.structs.replace(plan, tensorrt="11.1.0"))


SPARSE = "net (float[1,32,4,4] x) => (float[1,8,4,4] y) { y = Conv(x, w) }"


@pytest.mark.parametrize(("zeros", "is_sparse"), [(2, True), (1, False)])
def test_weights_with_two_zeros_in_every_four_channels_are_used_as_such(model, target, tmp_path, zeros, is_sparse):
    weights = np.ones((8, 32, 1, 1), np.float32)
    for start in range(zeros):
        weights[:, start::4] = 0.0
    TensorrtBackend().compile(model(SPARSE, (onnx.numpy_helper.from_array(weights, "w"),)), target("jetson-orin-nano-jp62"), None, tmp_path)
    plan = plan_of(tmp_path)

    assert plan["sparsity"] is is_sparse
    assert ("--sparsity=enable" in plan["trtexec"]["build"]) is is_sparse


def test_trtexec_is_told_open_sizes_and_memory(package, tmp_path):
    text = 'net (float["batch",3,8,8] x) => (float["batch",3,8,8] y) { y = Relu(x) }'

    given = shell_options(package(text, "jetson-orin-nano-jp62", shapes={"batch": [1, 2, 4]}), tmp_path)

    assert {"--minShapes=x:1x3x8x8", "--optShapes=x:2x3x8x8", "--maxShapes=x:4x3x8x8", "--memPoolSize=workspace:2048"} <= set(given)


def test_the_instructions_are_four_commands(package):
    text = (package(NET, "jetson-orin-nano-jp62") / "README.txt").read_text(encoding="utf-8")
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ") and not line.startswith("   ")]

    assert commands[:3] == ["python3 build_engine.py --check", "python3 build_engine.py", "python3 build_engine.py --run-only"]
    assert commands[3].startswith("/usr/src/tensorrt/bin/trtexec --loadEngine=model.plan ")
    assert len(commands) == 4


def test_the_backend_names_the_packages_whose_versions_decide_its_bytes():
    tools = TensorrtBackend().tools()

    assert {name: tools[name] for name in tools if not name.startswith("tensorrt-rtx")} == {"edgekit": version("edgekit"), "onnx": version("onnx")}
