"""A recipe with the step prune: fewer channels in every engine, and beforehand what comes of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import PlanError, UsageError
from edgekit.plan import Request, check, parse_settings

NET = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,16,16] x) => (float[1,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, v)  s = Relu(b)
    g = GlobalAveragePool(s)  f = Flatten(g)  y = Gemm(f, u) }"""


@pytest.fixture
def net(tmp_path):
    draw = np.random.default_rng(0)
    sizes = {"w": (64, 3, 3, 3), "v": (64, 64, 3, 3), "u": (64, 8)}
    proto = onnx.parser.parse_model(NET)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(draw.normal(size=size).astype(np.float32) * 0.1, name) for name, size in sizes.items()
    )
    onnx.save(proto, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def recipe(tmp_path):
    def make(**options):
        lines = "".join(f"{key} = {value!r}\n".replace("'", '"') for key, value in options.items())
        (tmp_path / "recipe.toml").write_text(f'schema = 1\nname = "pruned"\n[[step]]\npass = "prune"\n{lines}')
        return str(tmp_path / "recipe.toml")

    return make


def channels_of(path):
    """Output channels of each convolution and product of an ONNX engine or a TFLite one."""
    if path.suffix == ".onnx":
        shapes = {tensor.name: tensor.dims for tensor in onnx.load(path).graph.initializer}
        return [shapes[node.input[1]][0] for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    shapes = {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
    return [int(shapes[one["outputs"][0]][-1]) for one in interpreter._get_ops_details() if one["op_name"] == "CONV_2D"]


def test_engines_of_both_runtimes_have_fewer_channels(net, recipe, store, arrays, tmp_path):
    samples = arrays("x", (3, 16, 16))
    given = {"recipe": recipe(ratio=0.5, multiple_of=8), "samples": samples, "bench": False, "store": store}

    report = edgekit.build(net, target=["x86:onnxruntime", "x86:tflite"], out=tmp_path / "out", **given)

    for engine in report.engines:
        first, second = channels_of(tmp_path / "out" / engine.path)
        assert first % 8 == second % 8 == 0
        assert first * second <= 0.52 * 64 * 64
    step, again = (one for one in report.steps if one.name == "prune")
    assert again.cached
    assert step.did["macs_after"] <= 0.5 * step.did["macs_before"]
    assert [one for one in report.remarks if "fewer channels make engines of this runtime faster" in one]


def test_by_latency_what_a_layer_takes_on_this_machine_decides(net, recipe, store, arrays, tmp_path):
    given = {"recipe": recipe(ratio=0.4, of="latency", multiple_of=16), "samples": arrays("x", (3, 16, 16)), "bench": False, "store": store}

    report = edgekit.build(net, target="x86:onnxruntime", out=tmp_path / "out", **given)

    (step,) = [one for one in report.steps if one.name == "prune"]
    assert step.target == report.targets[0].key
    assert 0 < step.did["ms_after"] < step.did["ms_before"]
    assert step.did["macs_after"] < step.did["macs_before"]


def planned(net, recipe, target, **settings):
    return check(
        Request(source=net, targets=(target,), recipe=recipe, settings=parse_settings(f"prune.{key}={value}" for key, value in settings.items()))
    )


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        ("x86:onnxruntime", "unstructured", "zeros anywhere make engines of this runtime no faster, only smaller once they are compressed (zip)"),
        ("rpi5:tflite", "2:4", "two zeros in every four make engines of this runtime no faster, only smaller once they are compressed (zip)"),
        ("jetson-orin-nano", "2:4", "two zeros in every four make engines of this runtime faster"),
        (
            "jetson-xavier-nx-jp51",
            "2:4",
            "two zeros in every four make engines of this runtime no faster, only smaller once they are compressed (zip)",
        ),
        ("rpi5:onnxruntime", "structured", "fewer channels make engines of this runtime faster"),
        (
            "nvidia-rtx-ampere:tensorrt-rtx",
            "2:4",
            "two zeros in every four may or may not make engines of this runtime faster or smaller: nobody has measured it",
        ),
    ],
)
def test_the_plan_says_what_a_runtime_makes_of_it(net, recipe, target, kind, said):
    plan = planned(net, recipe(), target, kind=kind)

    (line,) = [one for one in plan.remarks if "(prune)" in one]
    assert line == f"{plan.chosen[0].key}: step 1 (prune): {said}"


def test_latency_is_refused_where_engines_are_built_on_the_device(net, recipe):
    with pytest.raises(PlanError, match="prune"):
        planned(net, recipe(), "jetson-orin-nano", of="latency", importance="activation")
    with pytest.raises(UsageError, match="ratio = 2"):
        planned(net, recipe(), "x86", ratio=2)
