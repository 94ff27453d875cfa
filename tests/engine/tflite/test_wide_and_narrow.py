"""Activations of 16 bits and weights of 4 between integers: operators, types and numbers, with XNNPACK and without."""

import ml_dtypes
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.engine.tflite import TfliteBackend
from edgekit.target import Runtime, Target

RNG = np.random.default_rng(7)
INNER = "xq = QuantizeLinear(x, sx, zx)  xd = DequantizeLinear(xq, sx, zx)"
OUT = "rq = QuantizeLinear(r, sy, zx)  y = DequantizeLinear(rq, sy, zx)"


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def int4(low, high, *shape):
    return RNG.integers(low, high + 1, shape).astype(np.int8).astype(ml_dtypes.int4)


def packed(built):
    return schema.ModelT.InitFromPackedBuf(built.path.read_bytes(), 0)


def tensors(built):
    """Element type, shape and content of each tensor, as the file has them."""
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    model = packed(built)
    return {one.name.decode(): (kinds[one.type], model.buffers[one.buffer].data, one.quantization) for one in model.subgraphs[0].tensors}


def versions(built):
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return {names[code.builtinCode]: code.version for code in packed(built).operatorCodes}


def narrow(weights, axis, **more):
    """What a graph of INNER and OUT needs besides its product: int8 at 0.02 in and 0.1 out, int4 by channel."""
    scales = RNG.uniform(0.05, 0.1, weights.shape[axis]).astype(np.float32)
    return {"sx": np.float32(0.02), "sy": np.float32(0.1), "zx": np.int8(3), "wq": weights, "sw": scales, **more}


PRODUCTS = {
    "CONV_2D": ("float[1,6,7,7]", 0, "r = Conv(xd, w, b)", (4, 6, 3, 3)),
    "DEPTHWISE_CONV_2D": ("float[1,5,7,7]", 0, "r = Conv<group=5>(xd, w, b)", (5, 1, 3, 3)),
    "FULLY_CONNECTED": ("float[3,16]", 1, "r = Gemm(xd, w, b)", (16, 5)),
}


@pytest.mark.parametrize("op", PRODUCTS)
def test_int4_weights_of_an_int8_product_are_read_as_they_are(op, graph, assert_close_in_steps):
    port, axis, product, shape = PRODUCTS[op]
    text = f"({port} x) => (y) {{ {INNER}  w = DequantizeLinear<axis = {axis}>(wq, sw)  {product}  {OUT} }}"
    weights = int4(-8, 7, *shape)

    built = assert_close_in_steps(graph(text, **narrow(weights, axis, b=normal(shape[axis]))))

    kind, content, _ = tensors(built)["wq"]
    assert (kind, len(content)) == ("INT4", -(-weights.size // 2))
    assert tensors(built)["b"][0] == "INT32"
    assert built.engine.precision == "int8, int4 weights"
    assert versions(built)[op] == {"FULLY_CONNECTED": 10}.get(op, 7)


def test_a_nibble_holds_the_first_number_lowest_by_hand(graph, build):
    weights = np.array([[1, -2], [3, -8]], np.int8).astype(ml_dtypes.int4)
    text = f"(float[1,2] x) => (y) {{ {INNER}  w = DequantizeLinear<axis = 0>(wq, sw)  r = Gemm<transB = 1>(xd, w)  {OUT} }}"

    built = build(graph(text, **narrow(weights, 0)))

    assert bytes(tensors(built)["wq"][1]) == bytes([0xE1, 0x83])


def test_what_fits_2_bits_is_int4_in_an_integer_product_which_has_no_kernel_for_less(graph, assert_close_in_steps):
    text = f"(float[3,16] x) => (y) {{ {INNER}  w = DequantizeLinear<axis = 1>(wq, sw)  r = MatMul(xd, w)  {OUT} }}"

    built = assert_close_in_steps(graph(text, **narrow(int4(-2, 1, 16, 5), 1)))

    assert tensors(built)["wq"][0] == "INT4"


def test_a_transposed_convolution_reads_the_same_numbers_as_int8(graph, assert_close_in_steps):
    text = f"(float[1,6,4,4] x) => (y) {{ {INNER}  w = DequantizeLinear<axis = 1>(wq, sw)  r = ConvTranspose<strides = [2,2]>(xd, w)  {OUT} }}"

    built = assert_close_in_steps(graph(text, **narrow(int4(-8, 7, 6, 4, 2, 2), 1)))

    assert tensors(built)["wq"][0] == "INT8"
    assert built.engine.precision == "int8"


@pytest.mark.parametrize("groups", [1, 6])
def test_with_int16_around_weights_of_4_bits_are_widened(groups, graph, assert_close_in_steps):
    """LiteRT 2.3.0 takes int4 in a DEPTHWISE_CONV_2D of int16 and computes nonsense."""
    text = f"(float[1,6,7,7] x) => (y) {{ {INNER}  w = DequantizeLinear<axis = 0>(wq, sw)  r = Conv<group = {groups}>(xd, w)  {OUT} }}"
    numbers = narrow(int4(-8, 7, 6, 6 // groups, 3, 3), 0) | {"sx": np.float32(1e-4), "sy": np.float32(4e-4), "zx": np.int16(0)}

    built = assert_close_in_steps(graph(text, **numbers))

    assert built.engine.precision == "int16, int8 weights"


def test_the_bias_of_an_int16_product_is_int64_at_the_scale_of_the_products(graph, assert_close_in_steps):
    """A bias of 3000 is 1.5 * 10^12 steps of 1e-4 * 2e-5: more than int32 holds."""
    weights, scales = RNG.integers(-127, 128, (16, 2)).astype(np.int8), np.float32([2e-5, 4e-5])
    text = f"(float[3,16] x) => (y) {{ {INNER}  w = DequantizeLinear<axis = 1>(wq, sw)  r = Gemm(xd, w, b)  {OUT} }}"
    bias = np.float32([3000.0, -0.5])
    numbers = {"sx": np.float32(1e-4), "sy": np.float32(0.1), "zx": np.int16(0), "wq": weights, "sw": scales, "b": bias}

    built = assert_close_in_steps(graph(text, **numbers))

    kind, content, quantization = tensors(built)["b"]
    assert kind == "INT64"
    np.testing.assert_allclose(quantization.scale, np.float32(1e-4) * scales, rtol=1e-6)
    np.testing.assert_allclose(np.frombuffer(bytes(content), np.int64), bias / (1e-4 * scales.astype(np.float64)), rtol=1e-6, atol=1)
    assert versions(built) == {"QUANTIZE": 2, "FULLY_CONNECTED": 7, "DEQUANTIZE": 3}


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Softmax"])
def test_what_is_between_0_and_1_has_the_scale_that_litert_prescribes(op, graph, quantize, assert_close_in_steps):
    proto = quantize(graph(f"(float[2,9] x) => (y) {{ y = {op}(x) }}"), dtype=np.int16, fixed={"y": (1 / 32768, 0)})

    built = assert_close_in_steps(proto, steps=4)  # of 32768: LiteRT looks exponentials up in a table

    assert [quantization.scale[0] for kind, _, quantization in tensors(built).values() if kind == "INT16"][-1] == 1 / 32768
    assert built.operators["QUANTIZE"] == 1  # of the input: nothing is rescaled


def test_uint16_around_its_middle_is_int16(graph, assert_close_in_steps):
    text = f"(float[3,16] x) => (y) {{ {INNER}  r = Relu(xd)  {OUT} }}"

    built = assert_close_in_steps(graph(text, sx=np.float32(1e-4), sy=np.float32(1e-4), zx=np.uint16(32768)))

    assert built.engine.precision == "int16"


@pytest.mark.parametrize("op", ["Elu", "Gelu", "LogSoftmax", "DepthToSpace<blocksize = 2>", "SpaceToDepth<blocksize = 2>"])
def test_what_has_no_int16_kernel_is_computed_in_float32(op, graph, quantize, assert_close_in_steps):
    built = assert_close_in_steps(quantize(graph(f"(float[1,4,4,4] x) => (y) {{ y = {op}(x) }}"), dtype=np.int16))

    assert len(built.engine.details["float_operators"]) >= 1
    assert built.engine.details["float_nodes"] == [f"{op.partition('<')[0]}_0"]


def test_between_int8_and_int16_a_product_is_computed_in_float32(graph, assert_close_in_steps):
    text = "(float[3,16] x) => (y) { xq = QuantizeLinear(x, sx, z8)  xd = DequantizeLinear(xq, sx, z8)  w = DequantizeLinear<axis = 1>(wq, sw)"
    text += "  r = MatMul(xd, w)  rq = QuantizeLinear(r, sy, zx)  y = DequantizeLinear(rq, sy, zx) }"
    numbers = narrow(int4(-8, 7, 16, 4), 1) | {"z8": np.int8(0), "zx": np.int16(0), "sy": np.float32(1e-3)}

    built = assert_close_in_steps(graph(text, **numbers))

    assert built.engine.details["float_operators"] == {"FULLY_CONNECTED": 1}


def test_ports_of_8_bits_are_refused_where_16_are_stored(graph, quantize, store):
    board = Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite", options={"io_dtype": "int8"}),), sources={})

    found = TfliteBackend().refusals(store(quantize(graph("(float[2,9] x) => (y) { y = Relu(x) }"), dtype=np.int16)), board)

    assert {one.reason for one in found} == {"it shall be int8 and is stored as int16"}


def test_ports_of_uint16_and_weights_of_16_bits_by_channel_are_refused(graph, store):
    board = Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite"),), sources={})
    ports = graph("(uint16[1,4] x) => (y) { r = DequantizeLinear(x, s, z)  y = Relu(r) }", s=np.float32(1e-4), z=np.uint16(32768))
    weights = graph(
        "(float[3,16] x) => (y) { w = DequantizeLinear<axis = 1>(wq, sw)  y = MatMul(x, w) }",
        wq=np.ones((16, 4), np.int16),
        sw=np.ones(4, np.float32),
    )

    assert [one.reason for one in TfliteBackend().refusals(store(ports), board)] == ["it is uint16, which TFLite has no scaled tensors of"]
    assert [one.reason for one in TfliteBackend().refusals(store(weights), board)] == ["LiteRT reads no int16 weights by channel"]
