"""The builder script: what it may say in Python and of TensorRT, and what it does with either."""

from __future__ import annotations

import array
import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.run import trtexec_query

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).resolve().parents[3] / "edgekit"
SCRIPT = ROOT / "engine" / "tensorrt" / "build_engine.py"
BESIDE = [
    ROOT / "run" / f"{name}.py"
    for name in (
        "board",
        "cuda_memory",
        "jetson",
        "plan_header",
        "tensorrt_config",
        "tensorrt_run",
        "trtexec_output",
        "trtexec_path",
        "trtexec_query",
    )
]
API = json.loads((DATA / "api_names.json").read_text(encoding="utf-8"))["classes"]
NET = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"

HELD_BY = {  # names of the script's variables: the class of TensorRT that they hold
    "builder": "Builder", "config": "IBuilderConfig", "network": "INetworkDefinition", "parser": "OnnxParser",
    "error": "ParserError", "profile": "IOptimizationProfile", "cache": "ITimingCache", "runtime": "Runtime",
    "engine": "ICudaEngine", "inspector": "EngineInspector", "context": "IExecutionContext",
}  # fmt: skip
GUARDED = {("IBuilderConfig", "builder_optimization_level")}  # asked for with hasattr: 8.5 does not have it
FREE = {"__version__", "__init__"}


def tree(path: Path = SCRIPT) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("path", [SCRIPT, *BESIDE], ids=lambda path: path.name)
def test_what_goes_to_the_board_is_python_3_8(path):
    assert not [node for node in ast.walk(tree(path)) if isinstance(node, ast.Match | ast.TryStar)]


@pytest.mark.parametrize("path", [SCRIPT, *BESIDE], ids=lambda path: path.name)
def test_what_goes_to_the_board_needs_nothing_but_the_standard_library_and_what_lies_beside_it(path):
    imported = {alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or node.names[0].name for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"__future__"} | {one.stem for one in BESIDE}


@pytest.mark.parametrize("path", [SCRIPT, *BESIDE], ids=lambda path: path.name)
def test_every_name_of_tensorrt_in_the_script_is_in_every_release_from_8_6_to_11(path):
    strange = []
    for node in ast.walk(tree(path)):
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
    for path in (SCRIPT, *BESIDE):
        assert not [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr == name]


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
    return json.loads((folder / "model.plan").read_bytes()[32:])


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


def test_a_build_that_runs_out_of_memory_is_tried_with_less(build):
    status, result, said, folder = build("jetson-orin-nano-jp62", release="10.3.0", does="little memory")

    assert (status, result["status"]) == (0, "built")
    assert done(folder)["WORKSPACE"] == 1024 << 20
    assert result["limits"] == {"workspace_mib": 1024, "optimization_level": 3}
    assert [one["workspace_mib"] for one in result["failed_attempts"]] == [2048]
    assert "out of memory with {'workspace_mib': 2048, 'optimization_level': 3}: trying with less" in said
    assert result["timing_cache"]["bytes_before"] == len(b"timed ")


def test_a_build_that_never_has_enough_memory_says_what_was_tried(build):
    status, result, _, folder = build("jetson-orin-nano-jp62", release="10.3.0", does="no memory")

    assert status == 1
    assert "out of memory in 5 attempts" in result["reason"]
    assert "'workspace_mib': 128, 'optimization_level': 0" in result["reason"]
    assert not (folder / "model.plan").exists()


def test_layers_go_to_the_dla_with_the_gpu_behind_it(build):
    _, result, _, folder = build("jetson-orin-nx-jp62", release="10.3.0", text=QUANTIZED, dla_core=1)

    assert done(folder)["dla"] == ["DLA", 1]
    assert done(folder)["calibration"] == ["TRT-100300-EntropyCalibration2", "x: 3dcccccd"]
    assert "GPU_FALLBACK" in done(folder)["flags"]
    assert result["placement"]["dla"] == ["{ForeignNode[Conv_0]}"]


def test_a_dla_core_that_a_board_does_not_have_is_refused_on_the_host(package):
    with pytest.raises(UsageError, match="jetson-orin-nano-jp62 has no DLA"):
        package(NET, "jetson-orin-nano-jp62", dla_core=0)


def test_the_timing_cache_is_named_after_release_and_machine(build):
    _, result, _, _ = build("jetson-orin-nano-jp62", release="10.3.0")

    assert result["timing_cache"]["file"].startswith("timing-10.3.0")


@pytest.fixture(scope="module")
def cuda_library(tmp_path_factory):
    """A libcudart whose GPU memory is the host's, so that buffers, copies and order can be tried without a GPU."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("cuda")
    source = folder / "cudart.c"
    source.write_text(
        """#include <stdlib.h>
#include <string.h>
int cudaMalloc(void **p, size_t n) { *p = malloc(n); return *p ? 0 : 2; }
int cudaFree(void *p) { free(p); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, void *stream) { memcpy(to, from, n); return kind < 1 || kind > 2; }
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaStreamSynchronize(void *stream) { return stream == 0; }
""",
        encoding="ascii",
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / "libcudart.so"), str(source)], check=True)
    return folder


QUICK = ("--warmup", "0", "--duration", "0", "--queries", "7")


def test_a_built_engine_is_timed_profiled_and_answers_inputs(package, cuda_library, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda_library))
    folder = package(NET, "jetson-orin-nano-jp62")
    values = array.array("f", [0.5] * (3 * 8 * 8))
    (folder / "inputs" / "0").mkdir(parents=True)
    (folder / "inputs" / "0" / "x.bin").write_bytes(values.tobytes())

    status, result, said, _ = again(folder, "--run", *QUICK, release="10.3.0")
    profile = json.loads((folder / "profile.json").read_text(encoding="utf-8"))

    assert status == 0, said
    assert result["run"]["memory_by"] == "libcudart"
    assert len(result["run"]["latencies_ns"]) == 7
    assert all(0 < run <= whole for run, whole in zip(result["run"]["executions_ns"], result["run"]["latencies_ns"], strict=True))
    assert set(array.array("f", (folder / "outputs" / "0" / "y.bin").read_bytes())) == {1.0}
    assert profile[0] == {"count": 50}
    assert profile[1]["name"] == "Conv_0 + Relu_1"
    assert (profile[1]["averageMs"], profile[1]["percentage"]) == (pytest.approx(0.75), pytest.approx(75.0))


def test_without_cuda_every_way_says_why(build):
    status, result, _, _ = build("jetson-orin-nano-jp62", "--run", *QUICK, release="10.3.0")

    assert status == 1
    assert "cuda.bindings: " in result["reason"]
    assert "pycuda: " in result["reason"]
    assert "libcudart: " in result["reason"] or "no libcudart here" in result["reason"]


def test_an_engine_of_another_release_is_not_opened(build):
    _, _, _, folder = build("jetson-orin-nano-jp62", release="10.3.0")

    status, result, said, _ = again(folder, "--run-only", "--anyway", *QUICK, release="10.7.0")

    assert (status, result["status"]) == (2, "refused")
    assert "built by TensorRT 10.3.0.0, and this machine has 10.7.0" in said
    assert "build it here: python3 build_engine.py" in said


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    """A trtexec that writes the engine it is asked for and prints what a real one printed; the version lines are put in front of it."""
    fake = tmp_path / "trtexec"
    recorded = DATA / "trtexec_10.3.txt"
    fake.write_text(
        f"""#!/bin/sh
for one in "$@"; do case "$one" in
  --saveEngine=*) printf engine > "${{one#--saveEngine=}}";;
  --memPoolSize=workspace:*) if [ "${{one##*:}}" -gt "${{TRTEXEC_MEMORY:-9999}}" ]; then
    echo "[E] Error Code 1: Cuda Runtime (out of memory)"; exit 1; fi;;
esac; done
cat {recorded}
exit ${{TRTEXEC_STATUS:-0}}
""",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    monkeypatch.setenv("TRTEXEC", str(fake))


@pytest.mark.usefixtures("trtexec")
class TestWithTrtexecAlone:
    def test_it_builds_and_times_and_what_was_printed_is_read(self, package):
        folder = package(QUANTIZED, "jetson-orin-nano-jp62")

        status, result, _, _ = again(folder, "--trtexec", release="10.3.0")

        assert (status, result["status"], result["by"]) == (0, "built", "trtexec")
        assert result["engine"]["bytes"] == len(b"engine")
        assert result["trtexec"]["latency"]["median"] == 6.13257
        assert result["trtexec"]["gpu_compute_time"]["p99"] == 11.0095

    def test_where_memory_runs_out_it_is_tried_with_less(self, package, monkeypatch):
        monkeypatch.setenv("TRTEXEC_MEMORY", "600")

        status, result, said, _ = again(package(QUANTIZED, "jetson-orin-nano-jp62"), "--trtexec", release="10.3.0")

        assert status == 0, said
        assert result["limits"] == {"workspace_mib": 512, "optimization_level": 2}
        assert said.count("trying with less") == 2

    def test_another_release_of_it_is_refused(self, package):
        status, result, _, _ = again(package(QUANTIZED, "jetson-xavier-nx-jp51"), "--trtexec", release="8.5.2")

        assert status == 2
        assert "TensorRT here is 10.3.0, the plan (jetson-xavier-nx-jp51) is for 8.5.2" in result["reason"]

    def test_one_that_fails_ends_with_what_it_said_last(self, package, monkeypatch):
        monkeypatch.setenv("TRTEXEC_STATUS", "1")

        status, result, _, _ = again(package(QUANTIZED, "jetson-orin-nano-jp62"), "--trtexec", release="10.3.0")

        assert status == 1
        assert result["reason"].startswith("trtexec ended with status 1: ")


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A trtexec whose engine answers as its graph does; the file that lists how it was called."""
    tools = Path(__file__).resolve().parents[2] / "cli" / "jetson_tools"
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("PATH", f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TRTEXEC", str(tools / "trtexec"))
    monkeypatch.setenv("TRTEXEC_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes" / "calls"


class TestWhatTrtexecAnswers:
    def asked(self, folder, *values):
        for number, value in enumerate(values):
            (folder / "inputs" / f"{number:03}").mkdir(parents=True)
            (folder / "inputs" / f"{number:03}" / "x.bin").write_bytes(array.array("f", [value] * 192).tobytes())

    def test_each_set_of_inputs_is_answered_in_the_types_of_the_plan(self, package, answering):
        folder = package(NET, "jetson-orin-nano-jp62")
        self.asked(folder, -1.5, 0.25)

        status, result, said, _ = again(folder, "--trtexec", "--run", *QUICK, release="10.3.0")

        assert (status, result["by"], result["run"]["answered"]) == (0, "trtexec", 2), said
        assert array.array("f", (folder / "outputs" / "000" / "y.bin").read_bytes()).tolist() == [0.0] * 192
        assert array.array("f", (folder / "outputs" / "001" / "y.bin").read_bytes()).tolist() == [0.25] * 192
        assert sorted(result["run"]["latencies_ns"])[len(result["run"]["latencies_ns"]) // 2] == 6_320_000  # the stand-in's trace: 6.30 to 6.34 ms

    def test_what_is_built_is_asked_again_and_not_built_again(self, package, answering):
        folder = package(NET, "jetson-orin-nano-jp62")
        again(folder, "--trtexec", release="10.3.0")
        self.asked(folder, 1.0)

        status, result, _, _ = again(folder, "--trtexec", "--run-only", *QUICK, release="10.3.0")

        assert (status, result["run"]["answered"]) == (0, 1)
        assert answering.read_text().count("--saveEngine") == 1
        assert array.array("f", (folder / "outputs" / "000" / "y.bin").read_bytes()).tolist() == [1.0] * 192

    def test_an_engine_of_another_release_is_not_asked(self, package, answering):
        folder = package(NET, "jetson-orin-nano-jp62")
        again(folder, "--trtexec", release="10.3.0")
        plan = folder / "model.plan"
        plan.write_bytes(plan.read_bytes().replace(bytes([10, 3, 0, 0]), bytes([10, 7, 0, 0]), 1))

        status, result, _, _ = again(folder, "--trtexec", "--run-only", *QUICK, release="10.3.0")

        assert (status, result["status"]) == (2, "refused")
        assert "build it here: python3 build_engine.py" in result["reason"]

    def test_inputs_that_are_not_there_end_with_what_it_said(self, package, answering):
        folder = package(NET, "jetson-orin-nano-jp62")
        (folder / "inputs" / "000").mkdir(parents=True)

        status, result, _, _ = again(folder, "--trtexec", "--run", *QUICK, release="10.3.0")

        assert (status, result["status"]) == (1, "failed")
        assert result["reason"].startswith("trtexec ended with status 1: ")


@pytest.mark.parametrize(
    ("dtype", "values", "content"),
    [
        ("float32", [1.5, -0.0], "0000c03f00000080"),
        ("float16", [1.0, -2.0], "003c00c0"),
        ("int64", [3.0, -1.0], "0300000000000000ffffffffffffffff"),
        ("int8", [-128, 127], "807f"),
        ("bool", [1, 0], "0100"),
    ],
)
def test_numbers_that_were_printed_become_bytes_of_their_type(dtype, values, content):
    """As IEEE 754 and two's complement have them, little-endian."""
    assert trtexec_query.raw({"name": "y", "dimensions": "2", "values": values}, dtype).hex() == content


def test_a_type_that_python_has_no_bytes_for_is_refused():
    with pytest.raises(trtexec_query.CannotAskError, match="y is of type bfloat16"):
        trtexec_query.raw({"name": "y", "dimensions": "1", "values": [1.0]}, "bfloat16")


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
