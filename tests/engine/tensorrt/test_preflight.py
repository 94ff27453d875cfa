"""What NVIDIA's parser says of a node is kept apart from what edgekit's rules say, and from what nobody knows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import pytest

from edgekit.engine.tensorrt import TensorrtBackend, TensorrtRtxBackend, preflight, rtx_process
from edgekit.engine.tensorrt.rtx_process import Answered, RefusedNode
from edgekit.errors import MissingExtraError, UnsupportedError
from edgekit.target import read_target

TARGETS = Path(__file__).resolve().parents[3] / "targets"

GRAPH = onnx.parser.parse_model(
    '<ir_version: 10, opset_import: ["" : 20]> net (float[2,2] x) => (float[2,2] y, int64[2,n] z) { a = Relu(x)  y = Abs(a)  z = NonZero(a) }'
).graph
NET = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"


def verdicts(answered: Answered, **how: bool) -> list[tuple[str, str]]:
    return [(one.op, one.label) for one in preflight.verdicts(onnx.ModelProto(graph=GRAPH), answered, **how)]


def test_a_graph_that_the_parser_took_is_proved_where_its_answer_counts():
    assert verdicts(Answered(version="1.7.1.116", parsed=True)) == [("Relu", "proved"), ("Abs", "proved"), ("NonZero", "rule")]


def test_a_node_that_rule_allows_and_the_parser_refuses_is_unknown_and_the_rest_is_rule():
    refused = (RefusedNode(index=1, name="", op="Abs", code="UNSUPPORTED_NODE", reason="no"),)

    assert verdicts(Answered(version="1", parsed=False, refused=refused)) == [("Relu", "rule"), ("Abs", "unknown"), ("NonZero", "rule")]


def test_for_an_engine_of_its_own_every_answer_of_the_parser_counts():
    refused = (RefusedNode(index=2, name="", op="NonZero", code="UNSUPPORTED_NODE", reason="no plugin"),)

    assert verdicts(Answered(version="1", parsed=False, refused=refused), is_its_own=True)[2] == ("NonZero", "unknown")


@pytest.mark.parametrize(("asked", "built"), [("8.6", "8.6"), ("8.7", "8.6"), ("11.0", "8.9"), ("7.2", "8.0"), ("12.0", "12.0"), ("", "")])
def test_a_board_that_nvidias_compiler_does_not_know_is_stood_in_for_by_the_nearest_older(asked, built):
    assert preflight.stand_in(asked) == built


def test_without_the_extra_the_rules_alone_answer_and_the_answer_says_so(model, target, monkeypatch):
    monkeypatch.setattr(rtx_process, "MODULE", "tensorrt_rtx_that_is_nowhere")

    found = TensorrtBackend().preflight(model(NET), target("jetson-orin-nano-jp62"))

    assert found.count() == {"proved": 0, "rule": 1, "unknown": 0}
    assert "1 of 1 nodes are taken by rule, none is proved" in found.sentence()
    assert "pip install 'edgekit[tensorrt-rtx]'" in found.sentence()


def test_an_engine_for_an_rtx_card_without_the_extra_is_an_install_command(model, rtx_target, monkeypatch, tmp_path):
    monkeypatch.setattr(rtx_process, "MODULE", "tensorrt_rtx_that_is_nowhere")

    with pytest.raises(MissingExtraError) as caught:
        TensorrtRtxBackend().compile(model(NET), rtx_target("nvidia-rtx-ampere"), None, tmp_path)
    assert caught.value.hint == "pip install 'edgekit[tensorrt-rtx]'"


@pytest.fixture
def rtx_target():
    """A target for RTX cards as it ships, options of its own runtime set."""

    def get(name: str, **options: object):
        found = read_target(TARGETS / f"{name}.toml")
        runtime = msgspec.structs.replace(found.runtime("tensorrt-rtx"), options=options)
        return msgspec.structs.replace(found, runtimes=(runtime,))

    return get


@pytest.fixture
def rtx():
    pytest.importorskip("tensorrt_rtx", reason="pip install 'edgekit[tensorrt-rtx]'")


@pytest.mark.usefixtures("rtx")
class TestWithNvidiasParser:
    def test_a_package_for_a_jetson_says_what_was_proved_and_what_stood_in_for_the_board(self, package):
        from edgekit.engine.contract import read_engine

        told = read_engine(package(NET, "jetson-orin-nano-jp62")).details["preflight"]

        assert (told["proved"], told["rule"], told["unknown"]) == (1, 0, 0)
        assert "built it for compute capability 8.6, in place of 8.7" in told["said"]

    def test_the_same_model_gives_the_same_engine_for_each_generation(self, model, rtx_target, tmp_path):
        digests = {}
        for name in ("nvidia-rtx-ampere", "nvidia-rtx-ada", "nvidia-rtx-blackwell"):
            for run in (1, 2):
                out = tmp_path / f"{name}-{run}"
                out.mkdir()
                engine = TensorrtRtxBackend().compile(model(NET), rtx_target(name), None, out)
                digests.setdefault(name, set()).add(engine.sha256)
                assert engine.status == "built"
                assert engine.details["tensorrt_rtx"].startswith("1.")
                assert "max_scratch_memory_bytes" in engine.details["memory"]
                assert sorted(path.name for path in out.iterdir()) == ["engine.json", "model.engine"]

        assert [len(found) for found in digests.values()] == [1, 1, 1]
        assert len(set.union(*digests.values())) == 3

    def test_open_sizes_are_built_with_a_profile(self, model, rtx_target, tmp_path):
        text = 'net (float["batch",3,8,8] x) => (float["batch",3,8,8] y) { y = Relu(x) }'

        engine = TensorrtRtxBackend().compile(model(text), rtx_target("nvidia-rtx-ada", shapes={"batch": [1, 2, 4]}), None, tmp_path)

        assert engine.bytes > 100_000

    def test_a_node_that_the_parser_refuses_is_a_refusal_with_its_reason(self, model, rtx_target, tmp_path):
        text = "net (float[2,2] x) => (int64[2,n] y) { y = NonZero(x) }"

        (refusal,) = TensorrtRtxBackend().refusals(model(text), rtx_target("nvidia-rtx-ampere"))

        assert (refusal.op, refusal.remedy) == ("NonZero", "export the model without it, or run that part outside of the engine")
        assert "NVIDIA's parser refuses it: Assertion failed: creator" in refusal.reason
        with pytest.raises(UnsupportedError):
            TensorrtRtxBackend().compile(model(text), rtx_target("nvidia-rtx-ampere"), None, tmp_path)
