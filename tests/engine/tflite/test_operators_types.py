"""Every element type that a row of the table says its kernels take is taken: against ONNX's reference evaluator."""

import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.engine.tflite.lowering.table import LOWERINGS

ANY = ("int32", "int64", "bool")
NUMBERS = ANY[:2]
MOVES = {
    "Concat": "Concat<axis=1>(x, x)",
    "Expand": "Expand(x, e)",
    "Gather": "Gather<axis=1>(x, i)",
    "GatherND": "GatherND(x, c)",
    "Reshape": "Reshape(x, r)",
    "Slice": "Slice(x, b, f, a, t)",
    "Tile": "Tile(x, m)",
    "Transpose": "Transpose(x)",
    "Where": "Where(g, x, x)",
    "Equal": "Equal(x, x)",
    "ReduceMax": "ReduceMax(x, a)",
    "ReduceMin": "ReduceMin<keepdims=0>(x, a)",
}
COMPUTES = {
    **{op: f"{op}(x, x)" for op in ("Add", "Sub", "Mul", "Max", "Min", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    "CumSum": "CumSum(x, d)",
    "Mod": "Mod(x, n)",
    "Neg": "Neg(x)",
    "Pad": "Pad(x, p)",
    "ReduceProd": "ReduceProd(x, a)",
    "ReduceSum": "ReduceSum(x, a)",
    "ScatterElements": "ScatterElements<axis=1>(x, s, x)",
    "Split": "Split<axis=1, num_outputs=1>(x)",
    "TopK": "TopK(x, k)",
}
OF_INT32 = {"Abs": "Abs(x)", "ArgMax": "ArgMax<axis=1>(x)", "ArgMin": "ArgMin<axis=1>(x)", "Sign": "Sign(x)"}
TRIED = [
    *((op, text, dtype) for op, text in MOVES.items() for dtype in ANY),
    *((op, text, dtype) for op, text in COMPUTES.items() for dtype in NUMBERS),
    *((op, text, "int32") for op, text in OF_INT32.items()),
]
INITIALIZERS = (
    "int64[3] e={2,3,4}, int64[2] i={1,-1}, int64[2,1] c={2,0}, int64[2] r={2,6}, int64[1] b={3}, int64[1] f={-9}, int64[1] a={1},"
    " int64[1] t={-2}, int64[2] m={2,1}, int64 d={1}, int64[4] p={0,1,0,0}, int64[1] k={2},"
    " int64[3,4] s={3,2,1,0,0,1,2,3,1,0,3,2}, bool[3,4] g={1,0,1,0,0,1,1,0,1,1,1,0}, "
)


@pytest.mark.parametrize(("op", "text", "dtype"), TRIED)
def test_a_type_of_the_table_is_taken(op, text, dtype, graph, assert_same):
    results = "y, j" if op == "TopK" else "y"
    divisor = f"{dtype}[1] n={{1}}" if dtype == "bool" else f"{dtype}[1] n={{3}}"
    proto = graph(f"({dtype}[3,4] x) => (y) <{INITIALIZERS}{divisor}> {{ {results} = {text} }}")

    assert_same(proto, wanted=ReferenceEvaluator(proto).run)


def test_every_type_of_the_table_is_tried():
    said = {(op, dtype) for op, lowering in LOWERINGS.items() for dtype in lowering.types - {"float32"}}
    elsewhere = {"And", "Cast", "Div", "Dropout", "Flatten", "Identity", "Not", "OneHot", "Or", "Pow", "Squeeze", "Unsqueeze", "Xor"}
    elsewhere |= {"tflite.Scatter", "tflite.Suppress"}
    results = {(op, "bool") for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")} | {("ArgMax", "int64"), ("ArgMin", "int64")}

    assert {pair for pair in said if pair[0] not in elsewhere} - results <= {(op, dtype) for op, _, dtype in TRIED}
