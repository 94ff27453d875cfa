"""Techniques one after the other, from the request to engines of two runtimes: what an earlier one gave, a later one leaves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.pipeline import rehearse
from edgekit.plan import Request, parse_settings

pytest.importorskip("torch")

NET = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,16,16] x) => (float[1,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, v)  s = Relu(b)
    g = GlobalAveragePool(s)  f = Flatten(g)  y = Gemm(f, u) }"""
SIZES = {"w": (32, 3, 3, 3), "v": (48, 32, 3, 3), "u": (48, 8)}
BOTH = ["x86:onnxruntime", "x86:tflite"]
QUICK = ("finetune.epochs=2", "qat.epochs=2", "finetune.threads=1", "qat.threads=1", "qat.float_if_free=false")
"""x86 computes the first convolution of a small net no faster in integers."""

ENTRIES = 8
SPARSE_FEW_INT8 = """schema = 1
name = "sparse_few_int8"
[[step]]
pass = "prune"
kind = "unstructured"
scope = "layer"
ratio = 0.5
[[step]]
pass = "cluster"
bits = 3
[[step]]
pass = "qat"
"""


@pytest.fixture
def net(tmp_path):
    draw = np.random.default_rng(0)
    proto = onnx.parser.parse_model(NET)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(draw.normal(size=size).astype(np.float32) * 0.1, name) for name, size in SIZES.items()
    )
    onnx.save(proto, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def build(net, arrays, store, tmp_path):
    samples = arrays("x", (3, 16, 16))

    def call(recipe):
        settings = parse_settings(QUICK if recipe == "prune50_distill_qat8" else QUICK[1::2] + QUICK[-1:])
        report = edgekit.build(net, target=BOTH, recipe=recipe, samples=samples, out=tmp_path / "out", bench=False, store=store, settings=settings)
        return report, [tmp_path / "out" / engine.path for engine in report.engines]

    return call


def integer_weights(path):
    """The int8 weights of an engine's products, (outputs, inputs, window…) and less their zero points, first product first."""
    return of_onnx(path) if path.suffix == ".onnx" else of_tflite(path)


def of_onnx(path):
    graph = onnx.load(path).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    found = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            dequantize = makers[node.input[1]]
            values = held[dequantize.input[0]]
            assert values.dtype in (np.int8, np.uint8)
            zero = held[dequantize.input[2]] if len(dequantize.input) > 2 else np.int8(0)
            assert not np.ptp(zero)
            transposes = any(one.name == "transB" and one.i for one in node.attribute)
            wide = values.astype(int) - int(np.ravel(zero)[0])
            found.append(wide if node.op_type == "Conv" or transposes else wide.T)
    return found


def of_tflite(path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    found = []
    for one in interpreter._get_ops_details():
        if one["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            values = interpreter.get_tensor(one["inputs"][1])
            assert values.dtype == np.int8
            found.append(np.moveaxis(values, -1, 1).astype(int))
    return found


def test_half_the_channels_work_then_learning_then_int8_in_both_engines(build):
    report, paths = build("prune50_distill_qat8")

    names = [step.name for step in report.steps]
    assert [name for name in dict.fromkeys(names) if name in ("prune", "finetune", "equalize", "qat")] == ["prune", "finetune", "equalize", "qat"]
    (did,) = {step.did["macs_after"] / step.did["macs_before"] for step in report.steps if step.name == "prune"}
    assert did <= 0.5
    for engine, path in zip(report.engines, paths, strict=True):
        first, second, last = integer_weights(path)
        assert first.shape[0] * 27 + second.shape[0] * second.shape[1] * 9 <= 0.5 * (32 * 27 + 48 * 32 * 9)
        assert second.shape[1] == first.shape[0]
        assert last.shape == (8, second.shape[0])
        assert engine.precision == "int8"
        assert engine.fidelity.sqnr_db > 10


def test_zeros_and_shared_values_are_there_in_the_integers_of_both_engines(build, net, tmp_path):
    """Half of each layer's weights, the smallest, are zero; the others are no more than eight values, zero among them."""
    (tmp_path / "recipe.toml").write_text(SPARSE_FEW_INT8)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(net).graph.initializer}
    smallest = {name: np.abs(held[name]) <= np.median(np.abs(held[name])) for name in "wvu"}

    _, paths = build(str(tmp_path / "recipe.toml"))

    for path in paths:
        for weights, gone in zip(integer_weights(path), (smallest["w"], smallest["v"], smallest["u"].T), strict=True):
            assert not weights[gone].any()
            assert len(np.unique(weights)) <= ENTRIES
            assert weights.any()


SIGNS = """schema = 1
name = "signs"
[[step]]
pass = "binarize"
kind = "binary"
activations = true
[[step]]
pass = "qat"
"""


def test_signs_on_both_sides_are_in_both_engines_and_the_plan_says_that_they_do_not_pay(build, tmp_path):
    (tmp_path / "recipe.toml").write_text(SIGNS)

    report, paths = build(str(tmp_path / "recipe.toml"))

    assert sum(node.op_type == "Sign" for node in onnx.load(paths[0]).graph.node) == 1  # the first and the last product read what they did
    assert report.engines[1].details["operators"]["SIGN"] == 1
    assert all(set(np.unique(np.abs(integer_weights(path)[1]))) == {127} for path in paths)
    for engine, stage in zip(report.engines, report.stages[2::3], strict=True):
        assert engine.fidelity.sqnr_db == pytest.approx(stage.sqnr_db, abs=0.5)
        ends = "activations that are signs make engines of this runtime neither faster nor smaller"
        assert f"{engine.key}: step 1 (binarize): {ends}" in report.remarks


def test_the_plan_knows_the_nodes_that_signs_take(net, arrays, tmp_path, store):
    (tmp_path / "recipe.toml").write_text(SIGNS)
    request = Request(source=net, targets=("rpi5",), recipe=str(tmp_path / "recipe.toml"), samples=arrays("x", (3, 16, 16)))

    (found,) = rehearse(request, store=store).delegations.values()

    assert "SIGN" in {left.op for left in found.left}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (("quantize", "prune"), "step 2 (prune): belongs before step 1 (quantize): what is stored as integers is not changed any more"),
        (("qat", "finetune"), "step 2 (finetune): belongs before step 1 (qat): what is stored as integers is not changed any more"),
        (("cluster", "prune"), "step 2 (prune): belongs before step 1 (cluster): zeros that come later would be values more"),
        (("factorize", "prune"), "step 2 (prune): belongs before step 1 (factorize): channels that go need not be taken apart first"),
    ],
)
def test_the_plan_refuses_a_wrong_order_in_one_line(net, arrays, tmp_path, capfd, steps, said):
    from edgekit.cli import run

    (tmp_path / "wrong.toml").write_text('schema = 1\nname = "wrong"\n' + "".join(f'[[step]]\npass = "{step}"\n' for step in steps))

    status = run(["plan", str(net), "--target", "x86:tflite", "--recipe", str(tmp_path / "wrong.toml"), "--samples", str(arrays("x", (3, 16, 16)))])

    told = capfd.readouterr().err
    assert status == 2
    assert [line for line in told.splitlines() if "belongs before" in line and said in line]
    assert "Traceback" not in told
