"""The builder script: what it may say in Python and of TensorRT, and what it does with either."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
SCRIPT = Path(__file__).resolve().parents[3] / "edgekit" / "engine" / "tensorrt" / "build_engine.py"
API = json.loads((DATA / "api_names.json").read_text(encoding="utf-8"))["classes"]
NET = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"

HELD_BY = {  # names of the script's variables: the class of TensorRT that they hold
    "builder": "Builder", "config": "IBuilderConfig", "network": "INetworkDefinition", "parser": "OnnxParser",
    "error": "ParserError", "profile": "IOptimizationProfile", "cache": "ITimingCache", "runtime": "Runtime",
    "engine": "ICudaEngine", "inspector": "EngineInspector",
}  # fmt: skip
GUARDED = {("IBuilderConfig", "builder_optimization_level")}  # asked for with hasattr: 8.5 does not have it
FREE = {"__version__", "__init__"}


def tree() -> ast.Module:
    return ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_the_script_is_python_3_8():
    compiled = tree()

    assert not [node for node in ast.walk(compiled) if isinstance(node, ast.Match | ast.TryStar)]


def test_the_script_needs_nothing_but_the_standard_library():
    imported = {alias.name for node in ast.walk(tree()) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree()) if isinstance(node, ast.ImportFrom)}

    assert imported <= sys.stdlib_module_names | {"__future__"}


def test_every_name_of_tensorrt_in_the_script_is_in_every_release_from_8_6_to_11():
    strange = []
    for node in ast.walk(tree()):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt" and owner.attr in API:
            known = [*API[owner.attr]["everywhere"], *FREE]
        elif isinstance(owner, ast.Name) and owner.id == "trt":
            known = [*API, *FREE]
        elif isinstance(owner, ast.Name) and owner.id in HELD_BY:
            known = API[HELD_BY[owner.id]]["everywhere"]
        else:
            continue
        if node.attr not in known and (HELD_BY.get(getattr(owner, "id", "")), node.attr) not in GUARDED:
            strange.append(f"line {node.lineno}: {ast.unparse(node)}")

    assert not strange


@pytest.mark.parametrize(
    ("class_", "name"),
    [
        ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("BuilderFlag", "INT8"),
        ("ParserError", "node_name"),
    ],
)
def test_names_that_only_some_releases_have_are_asked_for_and_never_written_out(class_, name):
    assert name in API[class_]["somewhere"]
    assert not [node for node in ast.walk(tree()) if isinstance(node, ast.Attribute) and node.attr == name]


@pytest.fixture
def build(package):
    """Runs the script of a package for a target; exit status, result and what it said."""

    def run(name: str, *arguments: str, release: str, does: str = "build", text: str = NET, **options: object):
        folder = package(text, name, **options)
        return again(folder, *arguments, release=release, does=does)

    return run


def again(folder: Path, *arguments: str, release: str, does: str = "build"):
    environment = {**os.environ, "PYTHONPATH": str(DATA), "FAKE_TENSORRT_VERSION": release, "FAKE_TENSORRT_DOES": does}
    argv = [sys.executable, "-W", "error", str(folder / "build_engine.py"), "--module", "fake_tensorrt", *arguments]
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert not ran.stderr, ran.stderr
    return ran.returncode, json.loads((folder / "build-result.json").read_text(encoding="utf-8")), ran.stdout, folder


def done(folder: Path) -> dict:
    return json.loads((folder / "model.plan").read_text(encoding="utf-8"))


QUANTIZED = """net (float[1,3,8,8] x) => (float[1,3,8,8] y) <float s = {0.1}, int8 z = {0}> {
  q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }"""


def test_release_8_5_builds_int8_by_flags_with_explicit_batch_and_a_quarter_of_the_memory(build):
    status, result, said, folder = build("jetson-xavier-nx-jp51", release="8.5.2", text=QUANTIZED)

    assert (status, result["status"]) == (0, "built")
    assert done(folder) == {"creation_flags": 1, "level": None, "flags": ["INT8", "FP16"], "profiles": [], "WORKSPACE": 2048 << 20}
    assert "built: jetson-xavier-nx-jp51, TensorRT 8.5.2" in said


def test_release_10_builds_strongly_typed_where_the_target_says_so(build):
    _, result, _, folder = build("jetson-orin-nano-jp62", release="10.3.0", text=QUANTIZED, typing="strong")

    assert done(folder)["creation_flags"] == 0b11
    assert done(folder)["flags"] == []
    assert result["inspected"]["device_memory_bytes"] == 4096


def test_release_11_takes_precision_from_the_graph_alone(build):
    _, _, _, folder = build("nvidia-rtx-ada", release="11.1.0", text=QUANTIZED)

    assert (done(folder)["creation_flags"], done(folder)["flags"]) == (0b10, [])


def test_open_sizes_become_one_profile(build):
    text = 'net (float["batch",3,8,8] x) => (float["batch",3,8,8] y) { y = Relu(x) }'

    _, _, _, folder = build("jetson-orin-nano-jp62", release="10.3.0", text=text, shapes={"batch": [1, 2, 4]})

    assert done(folder)["profiles"] == [{"x": [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]]}]


def test_the_result_says_what_was_built_with_what_and_what_tensorrt_logged(build):
    _, result, _, folder = build("jetson-orin-nano-jp62", release="10.3.0")

    assert result["machine"]["tensorrt"] == "10.3.0"
    assert result["engine"]["bytes"] == (folder / "model.plan").stat().st_size
    assert result["memory"] == {"total_weights_memory_bytes": 1234}
    assert (result["inspected"]["layers"], result["complaints"]) == (5, [])
    assert (folder / "build.log").read_text(encoding="utf-8") == "[INFO] Total Weights Memory: 1234 bytes\n"
    assert (folder / "layers.json").exists()
    assert not list(folder.glob("*.part"))


def test_a_second_build_begins_with_the_timing_cache_of_the_first(build):
    _, first, _, folder = build("jetson-orin-nano-jp62", release="10.3.0")
    _, second, _, _ = again(folder, release="10.3.0")

    assert first["timing_cache"]["bytes_before"] == 0
    assert second["timing_cache"]["bytes_before"] == len(b"timed ")


def test_check_builds_nothing(build):
    status, result, said, folder = build("jetson-orin-nano-jp62", "--check", release="10.3.0")

    assert (status, result["status"]) == (0, "fits")
    assert not (folder / "model.plan").exists()
    assert said == "fits: jetson-orin-nano-jp62, TensorRT 10.3.0\n"


def test_another_release_is_refused_unless_told_otherwise(build):
    status, result, said, folder = build("jetson-orin-nano-jp62", release="8.6.2")

    assert (status, result["status"]) == (2, "refused")
    assert "TensorRT here is 8.6.2, the plan (jetson-orin-nano-jp62) is for 10.3.0" in said
    assert not (folder / "model.plan").exists()
    assert again(folder, "--anyway", release="8.6.2")[0] == 0


def test_a_graph_that_is_not_the_plans_is_refused(package):
    folder = package(NET, "jetson-orin-nano-jp62")
    (folder / "model.onnx").write_bytes(b"another")

    status, result, _, _ = again(folder, release="10.3.0")

    assert status == 2
    assert "not the graph this plan was made for" in result["reason"]


def test_nodes_the_parser_refuses_are_named(build):
    status, result, said, _ = build("jetson-orin-nano-jp62", release="10.3.0", does="refuse")

    assert (status, result["status"]) == (1, "failed")
    assert result["nodes"] == [{"index": 3, "name": "Det_3", "op": "Det", "code": "UNSUPPORTED_NODE", "reason": "no such thing"}]
    assert "Det_3 (Det): no such thing" in said


def test_a_build_that_fails_ends_with_what_tensorrt_said_last(build):
    status, _, said, folder = build("jetson-xavier-nx-jp51", release="8.5.2", does="fail")

    assert status == 1
    assert said == "failed: ERROR: Could not find any implementation for node Conv_7\n"
    assert not (folder / "model.plan").exists()


def test_a_missing_driver_is_a_failed_build_and_no_traceback(build):
    status, result, _, _ = build("jetson-orin-nano-jp62", release="10.3.0", does="no driver")

    assert (status, result["status"]) == (1, "failed")
    assert "factory function returned nullptr" in result["reason"]


def test_a_python_without_tensorrt_says_where_it_comes_from(package):
    folder = package(NET, "jetson-orin-nano-jp62")

    ran = subprocess.run(
        [sys.executable, str(folder / "build_engine.py"), "--module", "tensorrt_that_is_nowhere"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert "it comes with JetPack" in ran.stdout


@pytest.mark.parametrize("text", [NET, QUANTIZED], ids=["float", "int8"])
def test_nvidias_own_compiler_builds_the_package_the_way_release_11_does(package, text, rtx_python):
    """TensorRT for RTX has TensorRT 11's API and compiles without a GPU; the engine cannot be opened without one."""
    folder = package(text, "nvidia-rtx-ampere")
    argv = [rtx_python, str(folder / "build_engine.py"), "--module", "tensorrt_rtx", "--anyway", "--no-timing-cache", "--no-open"]

    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    result = json.loads((folder / "build-result.json").read_text(encoding="utf-8"))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert result["status"] == "built"
    assert result["complaints"] == []
    assert result["engine"]["bytes"] > 100_000
    assert result["memory"]["total_weights_memory_bytes"] >= 0
