"""Integer weights beside float activations: what ONNX Runtime makes of them, and that it computes what the graph says."""

from collections import Counter

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.engine.onnxruntime.precision import precision_of
from edgekit.engine.onnxruntime.products import Stored, few_bits, packed
from edgekit.errors import UnsupportedError, UsageError

RNG = np.random.default_rng(3)
ROUNDED = "a, s, z = DynamicQuantizeLinear(x)  r = DequantizeLinear(a, s, z)  "
BY_COLUMN = "w = DequantizeLinear<axis = 1>(wq, ws)  "
BLOCKS = "w = DequantizeLinear<axis = 0, block_size = 16>(wq, ws)  "
POINTED = "w = DequantizeLinear<axis = 0, block_size = 16>(wq, ws, wz)  "


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def integers(low, high, *shape, kind=np.int8):
    return RNG.integers(low, high + 1, shape).astype(np.int8).astype(kind)


def scales(*shape):
    return RNG.uniform(0.01, 0.03, shape).astype(np.float32)


@pytest.fixture
def built(model_of, target_of, tmp_path):
    """An engine of a graph, how a session sees it, and what that and the unoptimized graph give for an input."""

    def make(text, x, *, arch="x86_64", max_opset=26, options=None, **weights):
        model = model_of(text, **weights)
        out = tmp_path / "engine"
        out.mkdir()
        engine = OnnxRuntimeBackend().compile(model, target_of(arch, max_opset=max_opset, **(options or {})), None, out)
        session = onnxruntime.SessionOptions()
        session.log_severity_level = 3
        session.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        for key, value in engine.options.get("session_config", {}).items():
            session.add_session_config_entry(key, value)
        opened = onnxruntime.InferenceSession(str(out / engine.file), session, providers=["CPUExecutionProvider"])
        found = opened.run(None, {"x": x})[0]
        plain = onnxruntime.SessionOptions()
        plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        wanted = onnxruntime.InferenceSession(str(model.path), plain, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        ops = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
        return engine, ops, found, wanted

    return make


def near(found, wanted, share=1e-5):
    return np.abs(found - wanted).max() <= share * np.abs(wanted).max()


@pytest.mark.parametrize(
    "product",
    [
        "y = MatMul(r, w)",
        "m = MatMul(r, w)  y = Add(m, b)",
        "m = MatMul(r, w)  y = Add(b, m)",
        "y = Gemm(r, w, b)",
        "y = Gemm(r, w)",
        "y = Gemm(r, w, c)",
    ],
)
def test_a_dynamic_product_and_its_bias_are_one_integer_operator(built, product):
    weights = {"wq": integers(-127, 127, 32, 5), "ws": scales(5), "b": normal(5), "c": normal(1, 1)}
    used = {name: value for name, value in weights.items() if name in product or name.startswith("w")}
    text = f"net (float[3,32] x) => (float[3,5] y) {{ {ROUNDED} {BY_COLUMN} {product} }}"

    engine, ops, found, wanted = built(text, normal(3, 32), **used)

    assert ops == {"DynamicQuantizeMatMul": 1}
    assert near(found, wanted)
    assert engine.precision == "dynamic int8"
    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (1, 0)


def test_a_transposed_gemm_is_one_too(built):
    text = f"net (float[3,32] x) => (float[3,5] y) {{ {ROUNDED} w = DequantizeLinear<axis = 0>(wq, ws)  y = Gemm<transB = 1>(r, w, b) }}"

    _, ops, found, wanted = built(text, normal(3, 32), wq=integers(-127, 127, 5, 32), ws=scales(5), b=normal(5))

    assert ops == {"DynamicQuantizeMatMul": 1}
    assert near(found, wanted)


@pytest.mark.parametrize(("arch", "max_opset"), [("aarch64", 26), ("x86_64", 17)])
def test_other_processors_and_older_opsets_have_it_too(built, arch, max_opset):
    text = f"net (float[3,32] x) => (float[3,5] y) {{ {ROUNDED} {BY_COLUMN} y = MatMul(r, w) }}"

    _, ops, found, wanted = built(text, normal(3, 32), arch=arch, max_opset=max_opset, wq=integers(-127, 127, 32, 5), ws=scales(5))

    assert ops == {"DynamicQuantizeMatMul": 1}
    assert near(found, wanted)


def test_weights_of_four_bits_need_opset_21(built):
    with pytest.raises(UnsupportedError, match="cannot be written in opset 17"):
        built(
            f"net (float[3,32] x) => (float[3,5] y) {{ {BLOCKS} y = MatMul(x, w) }}",
            normal(3, 32),
            max_opset=17,
            wq=integers(-8, 7, 32, 5, kind=ml_dtypes.int4),
            ws=scales(2, 5),
        )


def test_a_row_that_makes_the_output_larger_stays_an_add(built):
    text = f"net (float[3,32] x) => (float[1,3,5] y) {{ {ROUNDED} {BY_COLUMN} m = MatMul(r, w)  y = Add(m, b) }}"

    _, ops, found, wanted = built(text, normal(3, 32), wq=integers(-127, 127, 32, 5), ws=scales(5), b=normal(1, 1, 5))

    assert ops["DynamicQuantizeMatMul"] == 1
    assert found.shape == (1, 3, 5)
    assert near(found, wanted)


def test_products_of_one_tensor_round_it_once(built):
    products = "v = DequantizeLinear(vq, vs)  a1 = MatMul(r, w)  a2 = MatMul(r, v)  y = Mul(a1, a2)"
    text = f"net (float[2,3,32] x) => (float[2,3,5] y) {{ {ROUNDED} {BY_COLUMN} {products} }}"
    weights = {"wq": integers(-127, 127, 32, 5), "ws": scales(5), "vq": integers(-127, 127, 32, 5), "vs": np.float32(0.02)}

    _, ops, found, wanted = built(text, normal(2, 3, 32), **weights)

    assert ops == {"DynamicQuantizeLinear": 1, "MatMulIntegerToFloat": 2, "Mul": 1}
    assert near(found, wanted)


def test_rounding_for_a_convolution_is_left_as_the_graph_has_it(built):
    text = f"net (float[1,4,6,6] x) => (float[1,3,6,6] y) {{ {ROUNDED} w = DequantizeLinear<axis = 0>(wq, ws)  y = Conv(r, w) }}"

    _, ops, found, wanted = built(text, normal(1, 4, 6, 6), wq=integers(-127, 127, 3, 4, 1, 1), ws=scales(3))

    assert ops["DynamicQuantizeLinear"] == ops["Conv"] == 1
    assert near(found, wanted)


@pytest.mark.parametrize("product", ["y = MatMul(x, w)", "m = MatMul(x, w)  y = Add(m, b)", "y = Gemm(x, w, b)"])
@pytest.mark.parametrize(
    ("dequantize", "weights"),
    [
        (BLOCKS, {"wq": integers(-8, 7, 48, 5, kind=ml_dtypes.int4), "ws": scales(3, 5)}),
        (BLOCKS, {"wq": integers(-8, 7, 40, 5, kind=ml_dtypes.int4), "ws": scales(3, 5)}),
        (POINTED, {"wq": integers(0, 15, 48, 5, kind=ml_dtypes.uint4), "ws": scales(3, 5), "wz": integers(0, 15, 3, 5, kind=ml_dtypes.uint4)}),
        (POINTED, {"wq": integers(-8, 7, 48, 5, kind=ml_dtypes.int4), "ws": scales(3, 5), "wz": integers(-8, 7, 3, 5, kind=ml_dtypes.int4)}),
        (BLOCKS, {"wq": integers(0, 15, 48, 5, kind=ml_dtypes.uint4), "ws": scales(3, 5)}),
        (BY_COLUMN, {"wq": integers(-8, 7, 200, 5, kind=ml_dtypes.int4), "ws": scales(5)}),
        ("w = DequantizeLinear(wq, ws)", {"wq": integers(-8, 7, 33, 5, kind=ml_dtypes.int4), "ws": np.float32(0.02)}),
    ],
    ids=["blocks", "last block shorter", "zero points", "signed zero points", "unsigned without", "by channel", "per tensor"],
)
def test_products_by_four_bits_compute_in_float_what_the_graph_says(built, product, dequantize, weights):
    width = len(weights["wq"])
    bias = {"b": normal(5)} if "b)" in product else {}

    engine, ops, found, wanted = built(
        f"net (float[3,{width}] x) => (float[3,5] y) {{ {dequantize} {product} }}", normal(3, width), **weights, **bias
    )

    assert ops == {"MatMulNBits": 1}
    assert near(found, wanted)
    assert engine.precision == "int4 weights"
    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (0, 1)


@pytest.mark.parametrize(
    "weights",
    [
        {"wq": integers(-1, 1, 48, 5, kind=ml_dtypes.int4), "ws": scales(3, 5)},
        {"wq": integers(0, 3, 48, 5, kind=ml_dtypes.uint4), "ws": scales(3, 5), "wz": integers(0, 3, 3, 5, kind=ml_dtypes.uint4)},
    ],
    ids=["symmetric", "zero points"],
)
def test_products_by_two_bits_take_a_quarter_of_a_byte_and_round_activations_by_block(built, weights):
    dequantize = POINTED if "wz" in weights else BLOCKS
    engine, ops, found, wanted = built(f"net (float[3,48] x) => (float[3,5] y) {{ {dequantize} y = MatMul(x, w) }}", normal(3, 48), **weights)

    assert ops == {"MatMulNBits": 1}
    assert near(found, wanted, 0.02)
    assert engine.precision == "int2 weights"
    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (1, 0)


def test_the_target_may_ask_for_products_that_round_activations(built):
    weights = {"wq": integers(-8, 7, 64, 5, kind=ml_dtypes.int4), "ws": scales(4, 5)}

    engine, _, found, wanted = built(
        f"net (float[3,64] x) => (float[3,5] y) {{ {BLOCKS} y = MatMul(x, w) }}", normal(3, 64), options={"accuracy_level": 4}, **weights
    )

    assert engine.details["integer_nodes"] == 1
    assert not near(found, wanted)
    assert near(found, wanted, 0.02)


def test_another_accuracy_level_is_no_option(built):
    with pytest.raises(UsageError, match="accuracy_level"):
        built("net (float[2,2] x) => (float[2,2] y) { y = Relu(x) }", normal(2, 2), options={"accuracy_level": 3})


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        (
            "net (float[1,4,6,6] x) => (float[1,3,6,6] y) { w = DequantizeLinear<axis = 0>(wq, ws)  y = Conv(x, w) }",
            {"wq": integers(-127, 127, 3, 4, 1, 1), "ws": scales(3)},
        ),
        (f"net (float[3,32] x) => (float[3,5] y) {{ {BY_COLUMN} y = MatMul(x, w) }}", {"wq": integers(-127, 127, 32, 5), "ws": scales(5)}),
        (f"net (float[3,32] x) => (float[3,5] y) {{ {BLOCKS} y = MatMul(x, w) }}", {"wq": integers(-127, 127, 32, 5), "ws": scales(2, 5)}),
    ],
)
def test_weights_of_eight_bits_are_dequantized_once_and_all_else_is_float(built, text, weights):
    shape = (1, 4, 6, 6) if "Conv" in text else (3, 32)

    engine, ops, found, wanted = built(text, normal(*shape), **weights)

    assert not {"DequantizeLinear", "MatMulNBits"} & set(ops)
    assert near(found, wanted)
    assert engine.precision == "int8 weights"
    assert engine.options["session_config"] == {"session.disable_quant_qdq": "1"}


def test_graphs_whose_activations_are_integers_are_opened_as_before(quantized_conv, target_of, tmp_path):
    engine = OnnxRuntimeBackend().compile(quantized_conv("uint8"), target_of(), None, tmp_path)

    assert (engine.precision, engine.options) == ("int8", {})


def test_half_a_graph_of_integer_weights_is_told_by_what_most_products_have():
    text = "net (float[2,4] x) => (float[2,4] y) { w = DequantizeLinear(q, s)  a = MatMul(x, w)  b = MatMul(a, w)  y = MatMul(b, v) }"
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
    for name, value in {"q": integers(-8, 7, 4, 4, kind=ml_dtypes.int4), "s": np.float32(0.1), "v": normal(4, 4)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))

    assert precision_of(proto) == "int4 weights"


@pytest.mark.parametrize(
    ("flow", "weights", "said"),
    [
        ("int16", "int8", "int16, int8 weights"),
        ("uint16", "int8", "int16, int8 weights"),
        ("uint8", "int4", "int8, int4 weights"),
        ("uint8", "int8", "int8"),
    ],
)
def test_integers_of_other_widths_than_8_are_named(flow, weights, said):
    text = "net (float[2,4] x) => (float[2,4] y) { a = QuantizeLinear(x, s, z)  d = DequantizeLinear(a, s, z)"
    text += "  w = DequantizeLinear(q, s)  y = MatMul(d, w) }"
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
    kind = ml_dtypes.int4 if weights == "int4" else np.int8
    for name, value in {"q": integers(-8, 7, 4, 4, kind=kind), "s": np.float32(0.1), "z": np.zeros((), flow)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))

    assert precision_of(proto) == said


def test_numbers_are_packed_with_the_first_in_the_lowest_bits_by_hand():
    assert packed(np.uint8([[1, 2, 3]]), 4).tolist() == [[0x21, 0x03]]
    assert packed(np.uint8([[1, 2, 3, 0, 2]]), 2).tolist() == [[0b00111001, 0b10]]


def test_few_bits_by_hand():
    """Two outputs of three inputs, blocks of 16: -8, 7 and 0 are 0, 15 and 8 beside the middle, the rest is filled with 0."""
    stored = Stored(np.int16([[-8, 7, 0], [1, 1, 1]]), np.float32([[0.5], [2]]), None, "int4", 0)

    arrays = few_bits(stored, 16)

    assert set(arrays) == {"packed", "scales"}
    assert arrays["packed"].shape == (2, 1, 8)
    assert arrays["packed"][:, 0, :2].tolist() == [[0xF0, 0x08], [0x99, 0x09]]
    assert not arrays["packed"][:, 0, 2:].any()
    assert arrays["scales"].tolist() == [[0.5], [2.0]]
