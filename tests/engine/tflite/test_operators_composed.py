"""What TFLite has no operator for, in what it has; indices, truth values and integers: against ONNX Runtime."""

import numpy as np
import pytest

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def f32(number):
    return np.float32(number)


PICTURE = "(float[1,6,9,7] x) => (y)"
ROWS = "(float[3,10] x) => (y)"
TWO = "(float[3,1,5] x, float[4,5] z) => (y)"
LOGIC = "(bool[2,3,4] x, bool[3,1] z) => (y)"
FUNCTIONS = ("Softplus", "Mish", "Selu", "Elu<alpha=0.5>", "Celu", "Celu<alpha=2.0>", "ThresholdedRelu<alpha=0.3>", "Shrink<lambd=0.4, bias=0.2>")
FUNCTIONS += ("Softsign", "Erf", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "Sign", "Round", "HardSigmoid<alpha=0.5, beta=0.6>", "Hardmax<axis=1>")
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare", "ReduceMax", "ReduceMin")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LSTM = {"w": normal(2, 16, 3) / 2, "r": normal(2, 16, 4) / 2, "b": normal(2, 32), "p": normal(2, 12), "h": normal(2, 2, 4), "c": normal(2, 2, 4)}
GRU = {"w": normal(2, 12, 3) / 2, "r": normal(2, 12, 4) / 2, "b": normal(2, 24)}
SEQUENCE = "(float[5,2,3] x) => (y, h)"
CASES = {
    **{f"{op.lower()}": (f"{PICTURE} {{ y = {op}(x) }}", {}) for op in FUNCTIONS},
    **{f"{op.lower()} over two axes": (f"{PICTURE} {{ y = {op}<keepdims=0>(x, a) }}", {"a": ints(1, -1)}) for op in REDUCTIONS},
    **{f"{op.lower()} over all": (f"{PICTURE} {{ y = {op}(x) }}", {}) for op in REDUCTIONS},
    **{op.lower(): (f"{TWO} {{ y = {op}(x, z) }}", {}) for op in COMPARISONS},
    **{f"{op.lower()} of integers": (f"(int64[3,4] x, int64[4] z) => (y) {{ y = {op}(x, z) }}", {}) for op in COMPARISONS},
    "log of a sum": (f"{PICTURE} {{ z = Exp(x) y = ReduceLogSum(z, a) }}", {"a": ints(2)}),
    "any": ("(bool[2,3,4] x) => (y) { y = ReduceMax(x, a) }", {"a": ints(1)}),
    "all": ("(bool[2,3,4] x) => (y) { y = ReduceMin(x, a) }", {"a": ints(1)}),
    "asin": (f"{PICTURE} {{ z = Tanh(x) y = Asin(z) }}", {}),
    "acos": (f"{PICTURE} {{ z = Tanh(x) y = Acos(z) }}", {}),
    "atanh": (f"{PICTURE} {{ z = Tanh(x) w = Mul(z, c) y = Atanh(w) }}", {"c": f32(0.9)}),
    "acosh": (f"{PICTURE} {{ z = Exp(x) w = Add(z, c) y = Acosh(w) }}", {"c": f32(1.1)}),
    "and": (f"{LOGIC} {{ y = And(x, z) }}", {}),
    "or": (f"{LOGIC} {{ y = Or(x, z) }}", {}),
    "xor": (f"{LOGIC} {{ y = Xor(x, z) }}", {}),
    "not": (f"{LOGIC} {{ w = And(x, z) y = Not(w) }}", {}),
    "where": (f"{TWO} {{ c = Greater(x, z) y = Where(c, x, z) }}", {}),
    "where after conv": (
        f"{PICTURE} {{ z = Conv(x, w) c = Less(z, k) y = Where(c, z, n) }}",
        {"w": normal(4, 6, 3, 3), "k": normal(4, 1, 1), "n": f32(-1)},
    ),
    "what is not a number": (f"{ROWS} {{ z = Log(x) y = IsNaN(z) }}", {}),
    **{
        f"what is infinite, {name}": (f"{ROWS} {{ r = Relu(x) l = Log(r) m = Neg(l) z = Concat<axis=0>(l, m) y = IsInf<{attrs}>(z) }}", {})
        for name, attrs in {
            "of both signs": "detect_positive=1",
            "above": "detect_negative=0",
            "below": "detect_positive=0",
            "of no sign": "detect_positive=0, detect_negative=0",
        }.items()
    },
    "cast to integers and back": (f"{ROWS} {{ i = Cast<to=7>(x) y = Cast<to=1>(i) }}", {}),
    "cast to bool": (f"{ROWS} {{ z = Relu(x) y = Cast<to=9>(z) }}", {}),
    "mod": ("(int64[3,4] x) => (y) { y = Mod(x, c) }", {"c": ints(2, 3, -2, 5)}),
    "mod of floats": (f"{ROWS} {{ y = Mod<fmod=1>(x, c) }}", {"c": f32(-0.7)}),
    "mod of int64 with the dividend's sign": ("(int64[3,4] x) => (y) { y = Mod<fmod=1>(x, c) }", {"c": ints(2, 3, -2, 5)}),
    "add of integers": ("(int64[3,4] x, int64[4] z) => (y) { y = Add(x, z) }", {}),
    "power of an integer": (f"{ROWS} {{ y = Pow(x, c) }}", {"c": ints(3)}),
    "mean of three": (f"{PICTURE} {{ a = Relu(x) b = Neg(x) y = Mean(x, a, b) }}", {}),
    "clip by what is computed": ("(float[3,4] x, float v) => (y) { y = Clip(x, , v) }", {}),
    "prelu by what is computed": ("(float[3,4] x, float[4] z) => (y) { y = PRelu(x, z) }", {}),
    "triangle": ("(float[2,4,5] x) => (y) { y = Trilu<upper=0>(x, k) }", {"k": ints(1).reshape(())}),
    "triangle of a constant": (
        "(float[2,4,4] x) => (y) { t = Trilu<upper=0>(c) y = Where(t, x, n) }",
        {"c": np.ones((4, 4), bool), "n": f32(-9)},
    ),
    "gather of rows": (f"{ROWS} {{ y = Gather<axis=1>(x, i) }}", {"i": ints(1, -1, 3)}),
    "gather of one": (f"{PICTURE} {{ y = Gather<axis=1>(x, i) }}", {"i": np.array(-2)}),
    "gather of neighbours": (f"{PICTURE} {{ y = Gather<axis=2>(x, i) }}", {"i": ints(-5, -4, 6)}),
    "gather by a table": (f"{ROWS} {{ y = Gather<axis=1>(x, i) }}", {"i": ints(1, -1, 3, 0).reshape(2, 2)}),
    "gather of channels": (f"{PICTURE} {{ z = Conv(x, w) y = Gather<axis=1>(z, i) }}", {"w": normal(4, 6, 3, 3), "i": ints(3, 0, -3)}),
    "embedding": ("(int64[2,5] x) => (y) { y = Gather(t, x) }", {"t": normal(7, 4)}),
    "gather by coordinates": ("(float[4,3,2] x, int64[5,2] i) => (y) { y = GatherND(x, i) }", {}),
    "gather by coordinates in batches": ("(float[4,3,2] x, int64[4,1] i) => (y) { y = GatherND<batch_dims=1>(x, i) }", {}),
    "gather of elements": ("(float[4,3,5] x, int64[4,2,5] i) => (y) { y = GatherElements<axis=1>(x, i) }", {}),
    "scatter": ("(float[4,5] x, float[2,5] u) => (y) { y = ScatterND(x, i, u) }", {"i": ints(2, -4).reshape(2, 1)}),
    "scatter that adds": ('(float[4,5] x, float[3,5] u) => (y) { y = ScatterND<reduction="add">(x, i, u) }', {"i": ints(2, 0, 2).reshape(3, 1)}),
    "scatter of elements": ("(float[4,5] x, float[1,5] u) => (y) { y = ScatterElements(x, i, u) }", {"i": ints(2, -4, 0, 1, 2).reshape(1, 5)}),
    "scatter that keeps the greatest": (
        '(float[4,5] x, int64[6,1] i, float[6,5] u) => (y) { y = ScatterND<reduction="max">(x, i, u) }',
        {},
    ),
    "scatter that keeps the least of integers": (
        '(int64[4,5] x, int64[6] u) => (y) { y = ScatterND<reduction="min">(x, i, u) }',
        {"i": np.array([[0, 1], [3, -1], [0, 1], [-4, 1], [2, 2], [0, 0]])},
    ),
    "scatter that multiplies": (
        '(float[4,5] x, float[3,5] u) => (y) { y = ScatterND<reduction="mul">(x, i, u) }',
        {"i": ints(2, 0, 2).reshape(3, 1)},
    ),
    "scatter of elements that keeps the least": (
        '(float[3,5] x, int64[3,4] i, float[3,4] u) => (y) { y = ScatterElements<axis=1, reduction="min">(x, i, u) }',
        {},
    ),
    "tile": (f"{PICTURE} {{ z = Conv(x, w) y = Tile(z, n) }}", {"w": normal(4, 6, 3, 3), "n": ints(1, 2, 1, 3)}),
    "expand": ("(float[3,1] x) => (y) { y = Expand(x, s) }", {"s": ints(2, 3, 4)}),
    "greatest three": ("(float[3,10] x) => (y, i) { y, i = TopK(x, k) }", {"k": ints(3)}),
    "least two of channels": (f"{PICTURE} {{ y, i = TopK<axis=1, largest=0>(x, k) }}", {"k": ints(2)}),
    "places of the greatest": ("(float[3,10] x) => (y) { v, y = TopK(x, k) }", {"k": ints(3)}),
    "argmax": (f"{PICTURE} {{ z = Conv(x, w) y = ArgMax<axis=1>(z) }}", {"w": normal(4, 6, 3, 3)}),
    "argmin without its axis": (f"{PICTURE} {{ y = ArgMin<axis=2, keepdims=0>(x) }}", {}),
    "last argmax": ("(int64[4,9] x) => (y) { f = Cast<to=1>(x) y = ArgMax<axis=1, select_last_index=1>(f) }", {}),
    "one hot": ("(int64[3,4] x) => (y) { y = OneHot<axis=1>(x, d, v) }", {"d": np.array(5), "v": np.float32([0.5, 2])}),
    "sums up to here": (f"{PICTURE} {{ y = CumSum<exclusive=1, reverse=1>(x, a) }}", {"a": np.array(-2)}),
    "instance normalization": (f"{PICTURE} {{ y = InstanceNormalization(x, s, b) }}", {"s": normal(6), "b": normal(6)}),
    "group normalization": (
        "(float[1,6,9,7] x) => (float[1,6,9,7] y) { y = GroupNormalization<num_groups=3>(x, s, b) }",
        {"s": normal(6), "b": normal(6)},
    ),
    "batch normalization": (
        f"{PICTURE} {{ y = BatchNormalization(x, s, b, m, v) }}",
        {"s": normal(6), "b": normal(6), "m": normal(6), "v": np.abs(normal(6)) + 1},
    ),
    "layer normalization by what is computed": ("(float[3,10] x, float[10] z) => (y) { y = LayerNormalization(x, z) }", {}),
    "length normalization": (f"{ROWS} {{ y = LpNormalization<axis=0>(x) }}", {}),
    "local response normalization": (f"{PICTURE} {{ y = LRN<size=3, alpha=0.5, beta=0.6, bias=1.5>(x) }}", {}),
    "pad by edges": (f'{PICTURE} {{ y = Pad<mode="edge">(x, p) }}', {"p": ints(0, 0, 2, 3, 0, 0, 1, 12)}),
    "pad that comes round": (f'{PICTURE} {{ y = Pad<mode="wrap">(x, p) }}', {"p": ints(0, 0, 2, 3, 0, 0, 1, 0)}),
    "pad that takes away": (f"{PICTURE} {{ y = Pad(x, p) }}", {"p": ints(0, 0, -2, 3, 0, 0, 1, -1)}),
    "depth to space by columns": ('(float[1,8,3,5] x) => (y) { y = DepthToSpace<blocksize=2, mode="CRD">(x) }', {}),
    "dilated maxpool": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[3,2], dilations=[2,3], pads=[1,1,1,1], strides=[1,2]>(x) }}", {}),
    "dilated averagepool": (f"{PICTURE} {{ y = AveragePool<kernel_shape=[3,2], dilations=[2,3], pads=[1,1,1,1]>(x) }}", {}),
    "maxpool of volumes": ("(float[1,2,4,5,6] x) => (y) { y = MaxPool<kernel_shape=[2,2,3], strides=[2,1,2], pads=[0,1,1,0,0,1]>(x) }", {}),
    "averagepool of volumes": (
        "(float[1,2,4,5,6] x) => (y) { y = AveragePool<kernel_shape=[2,2,3], pads=[0,1,1,0,0,1], count_include_pad=1>(x) }",
        {},
    ),
    "maxpool that says where": (f"{PICTURE[:-3]}(y, i) {{ y, i = MaxPool<kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,1]>(x) }}", {}),
    "maxpool that says where by columns": (
        "(float[2,3,5,6] x) => (i) { y, i = MaxPool<kernel_shape=[2,2], dilations=[2,1], storage_order=1>(x) }",
        {},
    ),
    "maxpool of single elements that says where": (f"{PICTURE[:-3]}(y, i) {{ y, i = MaxPool<kernel_shape=[1,1], strides=[2,3]>(x) }}", {}),
    "maxpool of sequences that says where": ("(float[2,3,9] x) => (y, i) { y, i = MaxPool<kernel_shape=[3], pads=[1,1]>(x) }", {}),
    "maxpool of sequences": ("(float[2,3,9] x) => (y) { y = MaxPool<kernel_shape=[3], dilations=[2]>(x) }", {}),
    "transposed conv with gaps": (
        f"{PICTURE} {{ y = ConvTranspose<dilations=[2,3], strides=[2,1], pads=[1,0,0,2]>(x, w, b) }}",
        {"w": normal(6, 4, 3, 2), "b": normal(4)},
    ),
    "transposed conv in groups": (
        f"{PICTURE} {{ y = ConvTranspose<group=2, strides=[2,3], pads=[1,0,0,1], output_padding=[1,2]>(x, w, b) }}",
        {"w": normal(6, 4, 3, 4), "b": normal(8)},
    ),
    "transposed depthwise conv": (f"{PICTURE} {{ y = ConvTranspose<group=6, strides=[2,2], pads=[1,1,1,1]>(x, w) }}", {"w": normal(6, 1, 4, 4)}),
    "conv of volumes": (
        "(float[2,4,5,6,7] x) => (y) { y = Conv<group=2, strides=[2,1,2], dilations=[1,2,1], pads=[1,0,1,0,2,1]>(x, w, b) }",
        {"w": normal(6, 2, 3, 2, 3), "b": normal(6)},
    ),
    "conv of volumes of the same size": (
        '(float[1,2,4,5,6] x) => (y) { y = Conv<auto_pad="SAME_UPPER", strides=[1,2,2]>(x, w) }',
        {"w": normal(3, 2, 2, 3, 3)},
    ),
    "transposed conv of volumes": (
        "(float[1,4,3,4,5] x) => (y) { y = ConvTranspose<group=2, strides=[2,1,2], dilations=[1,2,1], pads=[1,0,1,0,1,1]>(x, w, b) }",
        {"w": normal(4, 3, 3, 2, 3), "b": normal(6)},
    ),
    "transposed conv of sequences in groups": (
        "(float[2,4,9] x) => (y) { y = ConvTranspose<group=2, strides=[2], output_padding=[1]>(x, w) }",
        {"w": normal(4, 3, 3)},
    ),
    "resize by cubic": (f'{PICTURE} {{ y = Resize<mode="cubic">(x, , , s) }}', {"s": ints(1, 6, 12, 5)}),
    "resize with antialias": (f'{PICTURE} {{ y = Resize<mode="linear", antialias=1>(x, , , s) }}', {"s": ints(1, 6, 5, 4)}),
    "resize of channels": (
        f'{PICTURE} {{ y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s) }}',
        {"s": np.float32([1, 2, 1, 1])},
    ),
    "gemm of two that are computed": ("(float[3,4] x, float[5,4] z) => (y) { y = Gemm<transB=1, alpha=0.5, beta=2.0>(x, z, b) }", {"b": normal(5)}),
    "matmul by a vector": ("(float[2,3,4] x, float[4] z) => (y) { y = MatMul(x, z) }", {}),
    "matmul of a vector": ("(float[3] x, float[2,3,4] z) => (y) { y = MatMul(x, z) }", {}),
    "lstm": (
        f'{SEQUENCE} {{ y, h, l = LSTM<hidden_size=4, direction="bidirectional">(x, w, r, b, , s, c, p) }}',
        {"s": LSTM["h"], **{key: value for key, value in LSTM.items() if key != "h"}},
    ),
    "lstm of one direction": (
        f"{SEQUENCE} {{ y, h = LSTM<hidden_size=4>(x, w, r) }}",
        {"w": LSTM["w"][:1], "r": LSTM["r"][:1]},
    ),
    "gru": (f'{SEQUENCE} {{ y, h = GRU<hidden_size=4, direction="bidirectional">(x, w, r, b) }}', GRU),
    "gru that resets afterwards": (
        f'{SEQUENCE} {{ y, h = GRU<hidden_size=4, linear_before_reset=1, direction="bidirectional">(x, w, r, b) }}',
        GRU,
    ),
    "rnn backwards": (
        f'{SEQUENCE} {{ y, h = RNN<hidden_size=4, direction="reverse">(x, w, r) }}',
        {"w": LSTM["w"][:1, :4], "r": LSTM["r"][:1, :4]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_engine_computes_what_onnx_runtime_computes(case, graph, assert_same):
    text, constants = CASES[case]

    assert_same(graph(text, **constants))


@pytest.mark.parametrize(
    ("equation", "one", "other"),
    [
        ("bhqd,bhkd->bhqk", "2,3,4,5", "2,3,6,5"),
        ("bhqk,bkhd->bqhd", "2,3,4,5", "2,5,3,6"),
        ("bqhd,hdm->bqm", "2,3,4,5", "4,5,6"),
        ("...ij,...jk->...ik", "2,3,4,5", "2,3,5,6"),
        ("i,j->ij", "3", "4"),
        ("bij,bij->b", "2,3,4", "2,3,4"),
        ("abcd,abce->dabce", "2,2,3,4", "2,2,3,5"),
        ("ij,jk", "3,4", "4,5"),
    ],
)
def test_einsum_of_two_is_a_matrix_product(equation, one, other, graph, assert_same):
    proto = graph(f'(float[{one}] x, float[{other}] z) => (y) {{ y = Einsum<equation="{equation}">(x, z) }}')

    assert_same(proto)


@pytest.mark.parametrize(("equation", "sizes"), [("bij->bi", "2,3,4"), ("ii->i", "3,3"), ("bii", "2,4,4"), ("ij->ji", "3,4"), ("...i->...", "2,3,4")])
def test_einsum_of_one_sums_and_sorts(equation, sizes, graph, assert_same):
    assert_same(graph(f'(float[{sizes}] x) => (y) {{ y = Einsum<equation="{equation}">(x) }}'))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_aligned_corners_lie_on_the_outputs_own_pixels_where_a_scale_gives_no_whole_size(mode, graph, assert_same):
    text = f'{PICTURE} {{ y = Resize<mode="{mode}", coordinate_transformation_mode="align_corners">(x, , s) }}'

    assert_same(graph(text, s=np.float32([1, 1, 0.6, 0.7])))
