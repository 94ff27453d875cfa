"""What is said otherwise for an NPU gives the numbers that TFLite's own operators give."""

import numpy as np
import pytest

NUMBERS = np.random.default_rng(0).standard_normal((1, 8, 6, 4)).astype(np.float32)
OWN = {"DepthToSpace": "DEPTH_TO_SPACE", "SpaceToDepth": "SPACE_TO_DEPTH"}


def net(body):
    return f"(float[1,8,6,4] x) => (float[1,a,b,c] y) {{ {body} }}"


@pytest.mark.parametrize("op", OWN)
def test_blocks_are_moved_by_a_transpose(op, graph, build):
    proto = graph(net(f"y = {op}<blocksize = 2>(x)"))
    plain, npu = build(proto), build(proto, npu=True)

    assert plain.operators[OWN[op]] == 1
    assert npu.operators[OWN[op]] == 0
    assert np.array_equal(npu.run(x=NUMBERS)["y"], plain.run(x=NUMBERS)["y"])


def test_a_mean_of_channels_is_taken_in_a_column(graph, build):
    proto = graph(net("y = ReduceMean(x, axes)"), axes=np.int64([1]))
    built = build(proto, npu=True)

    assert built.operators["MEAN"] == 1
    np.testing.assert_allclose(built.run(x=NUMBERS)["y"], NUMBERS.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_a_hard_swish_of_floats_is_said_in_operators_that_vela_reads(graph, build):
    built = build(graph(net("y = HardSwish(x)")), npu=True)

    assert built.operators["HARD_SWISH"] == 0
    np.testing.assert_allclose(built.run(x=NUMBERS)["y"], NUMBERS * np.clip(NUMBERS + 3, 0, 6) / 6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "op"),
    [("y = HardSwish(x)", "HARD_SWISH"), ("t = Transpose<perm = [0,1,3,2]>(x) y = MatMul(x, t)", "BATCH_MATMUL"), ("y = PRelu(x, slope)", "PRELU")],
)
def test_slow_integer_kernels_are_taken_for_an_npu_alone_and_are_within_two_steps(body, op, graph, build, quantize):
    constants = {"slope": np.linspace(-0.5, 0.5, 8, dtype=np.float32).reshape(8, 1, 1)} if "slope" in body else {}
    proto = quantize(graph(net(body), **constants))
    plain, npu = build(proto), build(proto, npu=True)

    assert plain.engine.details["float_operators"].get(op) == 1
    assert npu.operators[op] == 1
    assert op not in npu.engine.details["float_operators"]
    step = npu.run(x=NUMBERS)["y"] - plain.run(x=NUMBERS)["y"]
    assert np.abs(step).max() <= 2 * _step(npu)


def _step(built):
    details = built.interpreter().get_tensor_details()
    return max(detail["quantization"][0] for detail in details if detail["name"].startswith("y"))
