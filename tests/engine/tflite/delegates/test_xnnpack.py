"""What the rules say that XNNPACK takes, against what LiteRT hands to it."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from edgekit.engine.tflite.delegates.judge import delegation, verdicts
from edgekit.engine.tflite.delegates.parts import parts
from edgekit.engine.tflite.delegates.rules import table

CHANNELS = 8


@pytest.fixture
def predicted(network_of):
    """``predicted(content)``: the operators that the rules give to XNNPACK, by index, and in how many parts."""

    def judge(content):
        network = network_of(content)
        faults = verdicts(network, table("xnnpack"))
        return {at for at, fault in enumerate(faults) if fault is None}, len(parts(network, [fault is None for fault in faults]))

    return judge


def test_the_rules_say_what_litert_does_of_every_operator_and_type(over_types, is_a_model, predicted, delegated):
    models = {name: content for name, content in over_types() if is_a_model(content)}

    wrong = {name: (delegated(content), predicted(content)) for name, content in models.items() if delegated(content) != predicted(content)}

    assert not wrong
    assert len(models) > 500  # of the others TFLite has no kernel at all
    assert sum(bool(predicted(content)[0]) for content in models.values()) > 150


def stored(net, shape, dtype, scales, axis, zero):
    if dtype.startswith("float"):
        return net.constant(np.zeros(shape, dtype))
    if dtype in ("int4", "int2"):
        return net.packed(shape, int(dtype[3:]), scales, zero, axis)
    return net.constant(np.ones(shape, dtype), scales, zero, axis)


def weights(net, shape, dtype, behind, axis, *, by_channel, zero):
    """Constant weights, as they are or behind a DEQUANTIZE."""
    scales = np.full(shape[axis] if by_channel else 1, 0.02)
    if not behind:
        return stored(net, shape, dtype, scales, axis, zero)
    made = net.tensor(shape)
    net.add("DEQUANTIZE", [stored(net, shape, behind, scales, axis, zero)], [made])
    return made


def scale_of(dtype):
    return None if dtype.startswith("float") else 0.05


def bias_of(net, dtype, *, by_channel):
    return net.constant(np.zeros(CHANNELS, dtype), None if dtype.startswith("float") else np.full(CHANNELS if by_channel else 1, 0.001))


def convolution(net, op, flow, dtype, bias, behind, *, by_channel=True, zero=0, has_bias=True, **options):
    shape, axis = ([CHANNELS, 3, 3, CHANNELS], 0) if op == "CONV_2D" else ([1, 3, 3, CHANNELS], 3)
    axis = axis if by_channel else 0
    inputs = [net.input([1, 8, 8, CHANNELS], flow, scale_of(flow)), weights(net, shape, dtype, behind, axis, by_channel=by_channel, zero=zero)]
    inputs += [bias_of(net, bias, by_channel=by_channel)] if has_bias else []
    more = {"depthMultiplier": 1} if op != "CONV_2D" else {}
    made = net.tensor([1, 8, 8, CHANNELS], flow, scale_of(flow))
    net.add(op, inputs, [made], strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1, **more, **options)


def dense(net, op, flow, dtype, bias, behind, *, by_channel=True, zero=0, has_bias=True, inputs=CHANNELS, **options):
    matrix = weights(net, [CHANNELS, inputs], dtype, behind, 0, by_channel=by_channel, zero=zero)
    read = [net.input([4, inputs], flow, scale_of(flow)), matrix, bias_of(net, bias, by_channel=by_channel) if has_bias else -1]
    net.add(op, read, [net.tensor([4, CHANNELS], flow, scale_of(flow))], **options)


def transposed(net, op, flow, dtype, bias, behind, *, by_channel=True, zero=0, has_bias=True, stride=2, padding="SAME", **options):
    size = 4 * stride if padding == "SAME" else 3 * stride + 3
    kernel = weights(net, [CHANNELS, 3, 3, 4], dtype, behind, 0, by_channel=by_channel, zero=zero)
    read = [net.constant(np.array([1, size, size, CHANNELS], np.int32)), kernel, net.input([1, 4, 4, 4], flow, scale_of(flow))]
    read += [bias_of(net, bias, by_channel=by_channel)] if has_bias else []
    net.add(op, read, [net.tensor([1, size, size, CHANNELS], flow, scale_of(flow))], strideW=stride, strideH=stride, padding=padding, **options)


FLOWS = [
    # what flows, weights, bias, what the weights are stored as behind a DEQUANTIZE
    ("float32", "float32", "float32", ""),
    ("float16", "float16", "float16", ""),
    ("float32", "float16", "float32", ""),
    ("int8", "int8", "int32", ""),
    ("int8", "int4", "int32", ""),
    ("int8", "int2", "int32", ""),
    ("uint8", "uint8", "int32", ""),
    ("int16", "int8", "int64", ""),
    ("int16", "int8", "int32", ""),
    ("int16", "int4", "int64", ""),
    ("float32", "int8", "float32", ""),
    ("float32", "int4", "float32", ""),
    ("float32", "int2", "float32", ""),
    *(("float32", "float32", "float32", behind) for behind in ("float16", "int8", "uint8", "int4", "int2")),
]
FORMS = [
    {},
    {"by_channel": False},
    {"has_bias": False},
    {"fusedActivationFunction": "RELU6"},
    {"fusedActivationFunction": "TANH"},
]
OF_ONE = {
    "CONV_2D": [{"padding": "SAME"}],
    "DEPTHWISE_CONV_2D": [{"padding": "SAME"}],
    "FULLY_CONNECTED": [{}, {"inputs": 7}, {"inputs": 6}, {"keepNumDims": True}, {"asymmetricQuantizeInputs": True}],
    "TRANSPOSE_CONV": [{}, {"padding": "VALID"}, {"stride": 4}, {"stride": 4, "padding": "VALID"}],
}
MAKERS = {"CONV_2D": convolution, "DEPTHWISE_CONV_2D": convolution, "FULLY_CONNECTED": dense, "TRANSPOSE_CONV": transposed}


@pytest.mark.parametrize("op", list(MAKERS))
def test_products_go_to_xnnpack_by_the_types_of_their_weights(op, new_net, is_a_model, predicted, delegated):
    tried, wrong = 0, {}
    for flow in FLOWS:
        for form in FORMS:
            for more in OF_ONE[op]:
                net = new_net()
                MAKERS[op](net, op, *flow, **{**more, **form})
                if is_a_model(net.content()):
                    tried += 1
                    found = delegated(net.content()), predicted(net.content())
                    wrong |= {(flow, str(form), str(more)): found} if found[0] != found[1] else {}

    assert not wrong
    assert tried > 25


def products(new_net):
    """Name and content of each product over types and forms."""
    for op, make in MAKERS.items():
        for flow in FLOWS:
            for form in FORMS:
                for more in OF_ONE[op]:
                    net = new_net()
                    make(net, op, *flow, **{**more, **form})
                    yield f"{op} {flow} {form} {more}", net.content()


def test_an_older_litert_leaves_what_it_was_seen_to_leave(over_types, new_net, is_a_model, network_of, predicted):
    seen = tomllib.loads(Path(__file__).with_name("litert_2_1.toml").read_text())
    older, tried, found = table("xnnpack").at("2.1.0"), set(), set()
    for name, content in (*over_types(), *products(new_net)):
        if name not in seen["refused"] and is_a_model(content) and predicted(content)[0]:
            tried.add(name)
            found |= {name} if all(verdicts(network_of(content), older)) else set()

    assert found == tried.intersection(seen["left"])  # the others only XNNPACK reads
    assert len(found) > 75
    assert older.by == "LiteRT 2.1.0"


def test_of_a_release_that_nobody_measured_the_newest_rules_are_told():
    assert table("xnnpack").at("2.2.9") == table("xnnpack")


def ints(*numbers):
    return np.array(numbers, np.int32)


def int8_sum(op, one, other, made):
    return lambda net: net.add(op, [net.input([4], "int8", one), net.input([4], "int8", other)], [net.tensor([4], "int8", made)])


def int8_unary(op, one, made, **options):
    return lambda net: net.add(op, [net.input([4], "int8", one)], [net.tensor([4], "int8", made)], **options)


def pool(op, window, stride):
    size = (6 - window) // stride + 1
    options = {"strideW": stride, "strideH": stride, "filterWidth": window, "filterHeight": window, "padding": "VALID"}
    return lambda net: net.add(op, [net.input([1, 6, 6, 8])], [net.tensor([1, size, size, 8])], **options)


def of_rank(op, rank, *constants, made=None, **options):
    shape = [2] * rank
    return lambda net: net.add(op, [net.input(shape), *map(net.constant, constants)], [net.tensor(shape if made is None else made)], **options)


def computed(op, shape, dtype, made, first=False, **options):
    def make(net):
        read = [net.input([1, 4, 4, 8]), net.input(shape, dtype)]
        net.add(op, read[::-1] if first else read, [net.tensor(one) for one in made], **options)

    return make


def matrices(one, other, made, **options):
    return lambda net: net.add("BATCH_MATMUL", [one(net), other(net)], [net.tensor([2, 4, 5], *made)], **options)


LIMITS = {
    **{f"ADD of steps {ratio:.3g}": int8_sum("ADD", ratio, 1.0, 1.0) for ratio in (1 / 1025, 1 / 1024, 255.0, 256.0)},
    **{f"SUB of steps {ratio:.3g}": int8_sum("SUB", 1.0, ratio, 1.0) for ratio in (1 / 1025, 1 / 1024, 255.0, 256.0)},
    **{f"MUL of steps {ratio:.3g}": int8_sum("MUL", ratio, 1.0, 1.0) for ratio in (1 / 65537, 1 / 65536, 255.0, 256.0)},
    **{f"QUANTIZE of steps {ratio:.3g}": int8_unary("QUANTIZE", ratio, 1.0) for ratio in (1 / 257, 1 / 256, 128.0, 129.0)},
    **{f"LEAKY_RELU of steps {ratio:.3g}": int8_unary("LEAKY_RELU", ratio, 1.0, alpha=0.9) for ratio in (1 / 256, 1 / 128, 128.0, 129.0)},
    **{f"LEAKY_RELU of slope {alpha}": of_rank("LEAKY_RELU", 2, alpha=alpha) for alpha in (0.0, -0.5, 1e-39, 2.0)},
    **{f"SOFTMAX of beta {beta}": of_rank("SOFTMAX", 2, beta=beta) for beta in (0.5, 1.0)},
    **{
        f"{op} {window} by {stride}": pool(op, window, stride)
        for op in ("MAX_POOL_2D", "AVERAGE_POOL_2D")
        for window, stride in ((1, 1), (1, 2), (2, 3), (3, 2))
    },
    **{f"RELU of {rank} axes": of_rank("RELU", rank) for rank in (0, 1, 6, 7)},
    **{f"TRANSPOSE of {rank} axes": of_rank("TRANSPOSE", rank, ints(*reversed(range(rank)))) for rank in (1, 6, 7)},
    **{f"MEAN of {rank} axes": of_rank("MEAN", rank, ints(0), made=[1] + [2] * (rank - 1), keepDims=True) for rank in (1, 6)},
    "MEAN along no axis": of_rank("MEAN", 2, np.zeros(0, np.int32), keepDims=True),
    "MEAN along one axis": of_rank("MEAN", 2, np.array(1, np.int32), made=[2, 1], keepDims=True),
    "DEPTH_TO_SPACE by 1": of_rank("DEPTH_TO_SPACE", 4, blockSize=1),
    "RESHAPE to a scalar": lambda net: net.add("RESHAPE", [net.input([1, 1]), net.constant(np.zeros(0, np.int32))], [net.tensor([])]),
    "RESHAPE to another scale": lambda net: net.add(
        "RESHAPE", [net.input([1, 4], "int8", 0.1), net.constant(ints(4))], [net.tensor([4], "int8", 0.2)]
    ),
    "RESHAPE of no scale": lambda net: net.add("RESHAPE", [net.input([1, 4], "int8"), net.constant(ints(4))], [net.tensor([4], "int8")]),
    "RELU of nothing": lambda net: net.add("RELU", [net.input([1, 0])], [net.tensor([1, 0])]),
    "PRELU by computed slopes": computed("PRELU", [8], "float32", [[1, 4, 4, 8]]),
    "RESHAPE to a computed shape": computed("RESHAPE", [2], "int32", [[16, 8]]),
    "RESIZE_BILINEAR to a computed size": computed("RESIZE_BILINEAR", [2], "int32", [[1, 8, 8, 8]]),
    "TRANSPOSE by computed axes": computed("TRANSPOSE", [4], "int32", [[1, 8, 4, 4]]),
    "MEAN along computed axes": computed("MEAN", [2], "int32", [[1, 1, 1, 8]], keepDims=True),
    "PAD by computed sizes": computed("PAD", [4, 2], "int32", [[1, 6, 6, 8]]),
    "SPLIT along a computed axis": computed("SPLIT", [], "int32", [[1, 4, 4, 4], [1, 4, 4, 4]], first=True, numSplits=2),
    "FULLY_CONNECTED by a computed matrix": lambda net: net.add("FULLY_CONNECTED", [net.input([4, 8]), net.input([6, 8]), -1], [net.tensor([4, 6])]),
    "BATCH_MATMUL of int8 by a centred int8": matrices(
        lambda net: net.input([2, 4, 8], "int8", 0.1, 3), lambda net: net.input([2, 8, 5], "int8", 0.1), ("int8", 0.1)
    ),
    "BATCH_MATMUL of int8 by another int8": matrices(
        lambda net: net.input([2, 4, 8], "int8", 0.1), lambda net: net.input([2, 8, 5], "int8", 0.1, 3), ("int8", 0.1)
    ),
    "BATCH_MATMUL of float by int8": matrices(
        lambda net: net.input([2, 4, 8]), lambda net: net.constant(np.ones((2, 8, 5), np.int8), 0.1), ("float32",)
    ),
    "BATCH_MATMUL of float by int8 by column": matrices(
        lambda net: net.input([2, 4, 8]), lambda net: net.constant(np.ones((2, 8, 5), np.int8), np.full(5, 0.1), 0, 2), ("float32",)
    ),
    "BATCH_MATMUL of int8 by int8 by column": matrices(
        lambda net: net.input([2, 4, 8], "int8", 0.1), lambda net: net.constant(np.ones((2, 8, 5), np.int8), np.full(5, 0.1), 0, 2), ("int8", 0.1)
    ),
}


def test_the_limits_of_a_kernel_are_those_of_litert(new_net, is_a_model, predicted, delegated):
    wrong = {}
    for name, make in LIMITS.items():
        net = new_net()
        make(net)
        assert is_a_model(net.content()), name
        found = delegated(net.content()), predicted(net.content())
        wrong |= {name: found} if found[0] != found[1] else {}

    assert not wrong


@pytest.mark.parametrize("kind", ["float16", "int8"])
@pytest.mark.parametrize("readers", [("ADD",), ("POW",), ("ADD", "POW"), ("POW", "ADD"), ()])
def test_unpacked_weights_stay_where_one_of_their_readers_stays(kind, readers, new_net, predicted, delegated):
    net = new_net()
    unpacked = weights(net, [8], kind, kind, 0, by_channel=False, zero=0)
    made = [net.add(op, [net.input([1, 8]), unpacked], [net.tensor([1, 8])]) for op in readers]
    content = net.content(made or [unpacked])

    assert predicted(content) == delegated(content)


@pytest.mark.parametrize("seed", range(40))
def test_a_graph_falls_into_as_many_parts_as_litert_makes_of_it(seed, new_net, predicted, delegated):
    random, net = np.random.default_rng(seed), new_net()
    tensors = [net.input([1, 8]), net.input([1, 8])]
    for _ in range(14):
        op = random.choice(["RELU", "EXP", "SIGN", "ADD", "POW", "MUL", "NEG", "FLOOR_MOD"])
        count = 2 if op in ("ADD", "POW", "MUL", "FLOOR_MOD") else 1
        tensors.append(net.add(str(op), [tensors[at] for at in random.integers(0, len(tensors), count)], [net.tensor([1, 8])]))
    content = net.content(tensors[-4:])

    found = delegated(content)

    assert predicted(content)[1] == found[1]
    assert predicted(content)[0] >= found[0]  # what nothing reads cannot be seen in LiteRT's list


def test_what_is_left_is_named_with_types_shapes_reason_and_remedy(new_net, network_of):
    net = new_net()
    dense(net, "FULLY_CONNECTED", "int16", "int8", "int64", "")

    found = delegation(network_of(net.content()), table("xnnpack"))

    assert (found.operators, found.taken, found.parts, found.is_full) == (1, 0, 0, False)
    assert found.left[0].line() == (
        "t3 (FULLY_CONNECTED int16, int8, int64 -> int16; 4x8, 8x8, 8 -> 4x8): XNNPACK has no kernel for int16, int8, int64 -> int16;"
        " quantize activations to 8 bits: --set quantize.activation_bits=8"
    )


def test_weights_that_nobody_unpacks_are_the_reason_why_a_product_stays(new_net, network_of):
    net = new_net()
    dense(net, "FULLY_CONNECTED", "float32", "float32", "float32", "int4")

    product = delegation(network_of(net.content()), table("xnnpack")).left[1]

    assert product.reason == "its weights t1 are int4 behind a DEQUANTIZE that XNNPACK does not unpack"
    assert product.remedy.startswith("store the weights in 8 bits or float16")
