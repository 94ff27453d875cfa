"""Integer weights beside float activations in TFLite: operators, types and numbers, with XNNPACK and without."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.engine.tflite.draft import Draft
from edgekit.errors import UnsupportedError

RNG = np.random.default_rng(5)
ROUNDED = "a, s, z = DynamicQuantizeLinear(x)  r = DequantizeLinear(a, s, z)  "


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def integers(low, high, *shape, kind=np.int8):
    return RNG.integers(low, high + 1, shape).astype(np.int8).astype(kind)


def scales(*shape):
    return RNG.uniform(0.01, 0.03, shape).astype(np.float32)


def tensor_types(built):
    """Element types by name, as the file has them."""
    names = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(built.path.read_bytes(), 0)
    return {tensor.name.decode(): names[tensor.type] for tensor in model.subgraphs[0].tensors}


def versions(built):
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(built.path.read_bytes(), 0)
    return {names[code.builtinCode]: code.version for code in model.operatorCodes}


@pytest.mark.parametrize("product", ["y = MatMul(r, w)", "m = MatMul(r, w)  y = Add(m, b)", "y = Gemm(r, w, b)", "m = Gemm(r, w, b)  y = Relu(m)"])
def test_a_dynamic_product_is_one_hybrid_operator(graph, assert_rounds_alike, product):
    """One row: LiteRT rounds each row over its own range, ONNX the whole tensor."""
    weights = {"wq": integers(-127, 127, 64, 5), "ws": scales(5)} | ({"b": normal(5)} if "b)" in product else {})
    proto = graph(f"(float[1,64] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 1>(wq, ws)  {product} }}", **weights)

    built = assert_rounds_alike(proto, least_db=38)

    assert built.operators == {"FULLY_CONNECTED": 1}
    assert tensor_types(built)["wq"] == "INT8"
    assert set(tensor_types(built).values()) == {"FLOAT32", "INT8"}
    assert built.engine.precision == "dynamic int8"
    assert versions(built) == {"FULLY_CONNECTED": 12}
    assert built.runs_delegated()


@pytest.mark.parametrize("shape", [(7, 40), (2, 3, 40)])
def test_many_rows_are_rounded_each_by_itself_which_is_no_coarser(graph, assert_rounds_alike, shape):
    sizes = ",".join(map(str, shape))
    text = f"(float[{sizes}] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 1>(wq, ws)  y = MatMul(r, w) }}"

    built = assert_rounds_alike(graph(text, wq=integers(-127, 127, 40, 6), ws=scales(6)), least_db=35)

    assert "QUANTIZE" not in built.operators
    assert "DEQUANTIZE" not in built.operators


def test_a_dynamic_convolution_is_one_hybrid_operator(graph, assert_rounds_alike):
    text = f"(float[1,8,9,9] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 0>(wq, ws)  c = Conv<pads = [1,1,1,1]>(r, w, b)  y = Relu(c) }}"

    built = assert_rounds_alike(graph(text, wq=integers(-127, 127, 6, 8, 3, 3), ws=scales(6), b=normal(6)), least_db=35)

    assert built.operators["CONV_2D"] == 1
    assert not {"QUANTIZE", "DEQUANTIZE", "RELU"} & set(built.operators)
    assert versions(built)["CONV_2D"] == 5
    assert built.engine.precision == "dynamic int8"


def test_a_dynamic_convolution_over_sequences_too(graph, assert_rounds_alike):
    text = f"(float[1,8,20] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 0>(wq, ws)  y = Conv(r, w) }}"

    built = assert_rounds_alike(graph(text, wq=integers(-127, 127, 6, 8, 3), ws=scales(6)), least_db=35)

    assert built.engine.precision == "dynamic int8"


def test_rounding_is_told_once_for_those_who_share_it(graph, assert_rounds_alike):
    text = f"(float[1,64] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 1>(wq, ws)  b1 = MatMul(r, w)  b2 = MatMul(r, w)  y = Mul(b1, b2) }}"

    built = assert_rounds_alike(graph(text, wq=integers(-127, 127, 64, 5), ws=scales(5)), least_db=32)

    assert built.operators["FULLY_CONNECTED"] == 2


@pytest.mark.parametrize(
    ("text", "weights", "node"),
    [
        ("y = Conv<group = 4>(r, w)", {"wq": integers(-127, 127, 4, 1, 1, 1), "ws": scales(4)}, "Conv_3"),
        ("y = Conv(r, w)", {"wq": integers(0, 255, 4, 4, 1, 1, kind=np.uint8), "ws": scales(4)}, "Conv_3"),
        ("y = Add(r, w)", {"wq": integers(-127, 127, 4, 1, 1), "ws": scales(4)}, "Add_3"),
    ],
    ids=["in groups", "not symmetric", "no product"],
)
def test_rounding_that_no_kernel_does_is_refused_with_what_can_be_done(graph, build, text, weights, node):
    proto = graph(f"(float[1,4,6,6] x) => (y) {{ {ROUNDED} w = DequantizeLinear<axis = 0>(wq, ws)  {text} }}", **weights)

    with pytest.raises(UnsupportedError) as caught:
        build(proto)

    (line,) = caught.value.refusals
    assert line.startswith(node)
    assert "rounded at run time" in line
    assert "quantize the model for this target" in line


def test_rounding_of_an_output_is_refused(graph, build):
    with pytest.raises(UnsupportedError, match="is an output"):
        build(graph("(float[1,4] x) => (y) { t = Relu(x)  a, s, z = DynamicQuantizeLinear(t)  y = DequantizeLinear(a, s, z) }"))


FORMS = {
    "int8": ("INT8", integers(-127, 127, 33, 5), None),
    "uint8": ("INT8", integers(0, 127, 33, 5, kind=np.uint8), integers(0, 100, 5, kind=np.uint8)),
    "int4": ("INT4", integers(-8, 7, 33, 5, kind=ml_dtypes.int4), None),
    "uint4": ("INT4", integers(0, 15, 33, 5, kind=ml_dtypes.uint4), integers(0, 15, 5, kind=ml_dtypes.uint4)),
    "int2": ("INT2", integers(-1, 1, 33, 5, kind=ml_dtypes.int4), None),
    "uint2": ("INT2", integers(0, 3, 33, 5, kind=ml_dtypes.uint4), integers(0, 3, 5, kind=ml_dtypes.uint4)),
}


@pytest.mark.parametrize(("form", "product"), list(itertools.product(FORMS, ["y = MatMul(x, w)", "y = Gemm(x, w, b)"])))
def test_weights_alone_are_stored_as_they_are_and_dequantized_by_the_runtime(graph, assert_same, form, product):
    """An odd number of rows: packed rows do not begin a byte."""
    kind, stored, zeros = FORMS[form]
    given = {"wq": stored, "ws": scales(5)} | ({"wz": zeros} if zeros is not None else {}) | ({"b": normal(5)} if "b)" in product else {})
    point = ", wz" if zeros is not None else ""

    built = assert_same(graph(f"(float[3,33] x) => (y) {{ w = DequantizeLinear<axis = 1>(wq, ws{point})  {product} }}", **given))

    assert built.operators == {"DEQUANTIZE": 1, "FULLY_CONNECTED": 1}
    assert tensor_types(built)["wq"] == kind
    assert built.engine.precision == f"{kind.lower()} weights"
    assert built.engine.details["constant_bytes"] < 33 * 5 * int(kind[3:]) / 8 + 1 + 5 * 4 + 16


@pytest.mark.parametrize(("kind", "version"), [("int8", 5), ("int4", 6), ("int2", 6)])
def test_dequantize_has_the_lowest_version_that_reads_its_type(graph, build, kind, version):
    proto = graph("(float[3,33] x) => (y) { w = DequantizeLinear<axis = 1>(wq, ws)  y = MatMul(x, w) }", wq=FORMS[kind][1], ws=scales(5))

    assert versions(build(proto)) == {"DEQUANTIZE": version, "FULLY_CONNECTED": 1}


@pytest.mark.parametrize("group", [1, 4])
def test_convolutions_take_weights_of_four_bits_too(graph, assert_same, group):
    stored = integers(-8, 7, 4, 4 // group, 3, 3, kind=ml_dtypes.int4)
    proto = graph(f"(float[1,4,7,7] x) => (y) {{ w = DequantizeLinear<axis = 0>(wq, ws)  y = Conv<group = {group}>(x, w) }}", wq=stored, ws=scales(4))

    assert tensor_types(assert_same(proto))["wq"] == "INT4"


def test_blocks_are_refused_before_anything_is_written(graph, build):
    text = "(float[3,32] x) => (y) { w = DequantizeLinear<axis = 0, block_size = 16>(wq, ws)  y = MatMul(x, w) }"

    with pytest.raises(UnsupportedError) as caught:
        build(graph(text, wq=integers(-8, 7, 32, 5, kind=ml_dtypes.int4), ws=scales(2, 5)))

    assert any("it has a scale for each block; quantize weights per channel" in line for line in caught.value.refusals)


def test_numbers_of_few_bits_are_packed_with_the_first_in_the_lowest_bits_by_hand():
    draft = Draft()
    draft.constant("four", np.array([[1, -2, 3]], ml_dtypes.int4))
    draft.constant("two", np.array([1, -2, 0, -1, 1], ml_dtypes.int2))

    assert [buffer.tolist() for buffer in draft.buffers[1:]] == [[0xE1, 0x03], [0b11001001, 0b01]]
