"""The flatbuffer itself, read back with TFLite's own schema."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.engine.tflite.draft import Draft
from edgekit.engine.tflite.graph import Quant
from edgekit.engine.tflite.versions import operator_version, runtime_version

RNG = np.random.default_rng(2)
BUILTIN = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


NET = "c = Conv<pads=[1,1,1,1]>(images, w, b) r = Clip(c, low, high) d = Conv<pads=[1,1,1,1]>(r, v, b) s = Add(c2, d) t = Relu(s)"
NET += " g = GlobalAveragePool(t) f = Flatten(g)"
TEXT = f"(float[1,4,8,8] images) => (logits) {{ c2 = Conv(images, k) {NET} logits = Gemm(f, m, n) }}"
NUMBERS = {
    "w": normal(4, 4, 3, 3), "v": normal(4, 4, 3, 3), "k": normal(4, 4, 1, 1), "b": normal(4), "m": normal(4, 5), "n": normal(5),
    "low": np.float32(0), "high": np.float32(6),
}  # fmt: skip


@pytest.fixture
def read(build):
    """The engine's file as objects of the schema, and its bytes."""

    def make(proto, **options):
        content = build(proto, **options).path.read_bytes()
        return schema.ModelT.InitFromPackedBuf(content, 0), content

    return make


def operators(model):
    codes = [(BUILTIN[code.builtinCode], code.version) for code in model.operatorCodes]
    return [(codes[operator.opcodeIndex], operator) for operator in model.subgraphs[0].operators]


def test_file_says_what_it_is(graph, read):
    model, content = read(graph(TEXT, **NUMBERS))

    assert content[4:8] == b"TFL3"
    assert model.version == 3


def test_activations_are_fused(graph, read):
    model, _ = read(graph(TEXT, **NUMBERS))

    kind = schema.ActivationFunctionType
    options = [(name, operator.builtinOptions) for (name, _), operator in operators(model)]
    found = [(name, one.fusedActivationFunction) for name, one in options if hasattr(one, "fusedActivationFunction")]
    assert found == [("CONV_2D", kind.NONE), ("CONV_2D", kind.RELU6), ("CONV_2D", kind.NONE), ("ADD", kind.RELU), ("FULLY_CONNECTED", kind.NONE)]
    assert [name for (name, _), _ in operators(model)] == ["CONV_2D", "CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]


def test_constants_lie_at_multiples_of_16_bytes(graph, quantize, read):
    for proto in (graph(TEXT, **NUMBERS), quantize(graph(TEXT, **NUMBERS))):
        _, content = read(proto)
        root = schema.Model.GetRootAs(content, 0)
        for index in range(root.BuffersLength()):
            buffer = root.Buffers(index)
            if not buffer.DataIsNone():
                data = buffer.DataAsNumpy()
                assert (data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0]) % 16 == 0


def test_equal_constants_are_kept_once(graph, read):
    model, _ = read(graph(TEXT, **NUMBERS))

    contents = [bytes(buffer.data) for buffer in model.buffers if buffer.data is not None and len(buffer.data)]
    assert len(contents) == len(set(contents))
    convs = [operator for (name, _), operator in operators(model) if name == "CONV_2D"]
    assert convs[1].inputs[2] == convs[2].inputs[2]


def test_first_buffer_is_empty_and_belongs_to_what_is_computed(graph, read):
    model, _ = read(graph(TEXT, **NUMBERS))

    assert model.buffers[0].data is None
    computed = {index for _, operator in operators(model) for index in operator.outputs} | set(model.subgraphs[0].inputs)
    assert {model.subgraphs[0].tensors[index].buffer for index in computed} == {0}


def test_signature_has_the_names_of_the_source(graph, read):
    model, _ = read(graph(TEXT, **NUMBERS))

    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"serving_default"
    assert [one.name for one in signature.inputs] == [b"images"]
    assert [one.name for one in signature.outputs] == [b"logits"]
    assert signature.inputs[0].tensorIndex == model.subgraphs[0].inputs[0]
    assert signature.outputs[0].tensorIndex == model.subgraphs[0].outputs[0]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_tensors_have_the_names_of_the_source(precision, graph, quantize, read):
    proto = graph(TEXT, **NUMBERS)
    model, _ = read(quantize(proto) if precision == "int8" else proto)

    names = {tensor.name.decode() for tensor in model.subgraphs[0].tensors}
    assert {"images", "logits", "r", "t", "f"} <= names
    suffix = "_int" if precision == "int8" else ""
    assert {f"w{suffix}", f"v{suffix}", f"m{suffix}"} <= names
    assert len(names) == len(model.subgraphs[0].tensors)


def test_nothing_is_stored_that_no_operator_reads(graph, quantize, read):
    for proto in (graph(TEXT, **NUMBERS), quantize(graph(TEXT, **NUMBERS))):
        model, _ = read(proto)
        used = {int(index) for _, operator in operators(model) for index in (*operator.inputs, *operator.outputs)}
        assert used == set(range(len(model.subgraphs[0].tensors)))


def minimum_runtime(model):
    (metadata,) = (one for one in model.metadata if one.name == b"min_runtime_version")
    data = bytes(model.buffers[metadata.buffer].data)
    assert len(data) == 16
    return data.rstrip(b"\0").decode()


def test_versions_are_the_least_that_can_run_it(graph, quantize, read):
    proto = graph(TEXT, **NUMBERS)
    model, _ = read(proto)
    assert {key for key, _ in operators(model)} == {("CONV_2D", 1), ("ADD", 1), ("MEAN", 1), ("FULLY_CONNECTED", 1)}
    assert minimum_runtime(model) == "1.6.0"

    model, _ = read(quantize(proto))
    expected = {("CONV_2D", 3), ("ADD", 2), ("MEAN", 2), ("FULLY_CONNECTED", 4), ("QUANTIZE", 1), ("DEQUANTIZE", 2)}
    assert {key for key, _ in operators(model)} == expected
    assert minimum_runtime(model) == "1.14.0"


def test_newer_operators_raise_the_runtime(graph, read):
    model, _ = read(graph("(float[1,4,8,8] x) => (y) { z = Conv<group=2>(x, w) y = Gelu(z) }", w=normal(4, 2, 1, 1)))

    assert {key for key, _ in operators(model)} == {("CONV_2D", 6), ("GELU", 1)}
    assert minimum_runtime(model) == "2.9.0"


def test_operators_beyond_127_are_marked_in_the_old_field(graph, read):
    model, _ = read(graph("(float[1,4,8,8] x) => (y) { y = Gelu(x) }"))

    code = model.operatorCodes[0]
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (schema.BuiltinOperator.GELU, 127)


def test_a_mul_whose_product_is_coarser_than_its_output_is_version_3():
    draft = Draft()
    sides = [draft.tensor(name, (1, 4), "int8", Quant((1.0,), (0,))) for name in "ab"]
    results = [draft.tensor(name, (1, 4), "int8", Quant((scale,), (0,))) for name, scale in (("fine", 0.5), ("coarse", 2.0))]
    for result in results:
        draft.operator("MUL", sides, [result], {"fusedActivationFunction": "NONE"})

    assert [operator_version(operator, draft.tensors) for operator in draft.operators] == [3, 2]


@pytest.mark.parametrize(
    ("op", "dtypes", "version", "runtime"),
    [
        ("MUL", ("int64", "int64"), 5, "2.6.0"),
        ("MUL", ("int32", "int32"), 1, "1.5.0"),
        ("BROADCAST_TO", ("float32", "int32"), 2, "2.5.0"),
        ("BROADCAST_TO", ("int64", "int32"), 2, "2.5.0"),
        ("BROADCAST_TO", ("int8", "int32"), 3, "2.5.0"),
        ("BROADCAST_TO", ("int16", "int32"), 3, "2.5.0"),
        ("TRANSPOSE", ("bool", "int32"), 3, "1.15.0"),
        ("TRANSPOSE_CONV", ("int32", "float32", "float32"), 1, "1.9.0"),
        ("TRANSPOSE_CONV", ("int32", "int8", "int8"), 2, "2.2.0"),
        ("NON_MAX_SUPPRESSION_V4", ("float32", "float32", "int32", "float32", "float32"), 1, "2.1.0"),
        ("WHERE", ("bool",), 1, "1.14.0"),
    ],
)
def test_versions_by_type_are_those_of_litert(op, dtypes, version, runtime):
    """As ``op_version.cc`` and ``runtime_version.cc`` of LiteRT have them."""
    draft = Draft()
    inputs = [draft.tensor(f"x{number}", (2, 3), dtype) for number, dtype in enumerate(dtypes)]
    draft.operator(op, inputs, [draft.tensor("y", (2, 3), dtypes[0])], {})

    found = operator_version(draft.operators[0], draft.tensors)

    assert (found, runtime_version([(op, found)])) == (version, runtime)


def test_runtime_versions_are_compared_as_numbers():
    assert runtime_version([("CONV_2D", 1), ("PAD", 1), ("MUL", 1)]) == "1.5.0"
    assert runtime_version([("QUANTIZE", 1), ("PADV2", 1)]) == "1.14.0"


def test_the_same_model_gives_the_same_bytes(graph, quantize, read):
    proto = quantize(graph(TEXT, **NUMBERS))

    assert read(proto)[1] == read(proto)[1]


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.filterwarnings("ignore")
def test_versions_are_those_that_tensorflow_writes(graph, quantize, read, tmp_path):
    """The same net by TensorFlow's own converter, float and int8: the same operators in the same versions."""
    import tensorflow as tf

    x = tf.keras.Input((8, 8, 4), batch_size=1)
    c = tf.keras.layers.Conv2D(4, 3, padding="same", activation="relu6")(x)
    d = tf.keras.layers.DepthwiseConv2D(3, padding="same")(c)
    s = tf.keras.layers.ReLU()(tf.keras.layers.Add()([c, d]))
    p = tf.keras.layers.MaxPooling2D()(s)
    y = tf.keras.layers.Softmax()(tf.keras.layers.Dense(5)(tf.keras.layers.Flatten()(p)))
    net = tf.keras.Model(x, y)
    text = "(float[1,4,8,8] x) => (y) { a = Conv<pads=[1,1,1,1]>(x, w, b) l = Clip(a, low, high) d = Conv<group=4, pads=[1,1,1,1]>(l, k, b)"
    text += " t = Add(l, d) s = Relu(t) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s) f = Flatten(p) g = Gemm(f, m, n) y = Softmax(g) }"
    ours = graph(text, **{**NUMBERS, "k": normal(4, 1, 3, 3), "m": normal(64, 5)})
    for proto, is_int8 in ((ours, False), (quantize(ours), True)):
        converter = tf.lite.TFLiteConverter.from_keras_model(net)
        if is_int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: [[normal(1, 8, 8, 4)] for _ in range(4)]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        theirs = schema.ModelT.InitFromPackedBuf(converter.convert(), 0)
        model, _ = read(proto)

        assert {key for key, _ in operators(model)} == {key for key, _ in operators(theirs)}
        wanted = next(bytes(theirs.buffers[one.buffer].data) for one in theirs.metadata if one.name == b"min_runtime_version")
        assert minimum_runtime(model) == wanted.rstrip(b"\0").decode()
