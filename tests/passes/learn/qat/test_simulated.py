import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgekit.graph.structure import Structure, set_structures
from edgekit.numerics.affine import INT8_SYMMETRIC

torch = pytest.importorskip("torch")

SCHEMES = ("x86", "tflite", "tensorrt")


def scales_of(proto):
    """Scale and zero point of each tensor that is quantized, by its name."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return {node.input[0]: (float(held[node.input[1]]), int(held[node.input[2]])) for node in proto.graph.node if node.op_type == "QuantizeLinear"}


def integers_of(proto, weight):
    return next(numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == f"{weight}/quantized")


@pytest.mark.parametrize("name", SCHEMES)
def test_before_any_update_it_computes_what_the_quantized_graph_does(branches, schemes, simulation, name):
    model, samples = branches
    made = simulation(model, schemes[name], samples)

    assert_same(made, seed=1)


@pytest.mark.parametrize("name", SCHEMES)
def test_after_updates_the_graph_that_is_written_computes_the_same(branches, schemes, simulation, name):
    model, samples = branches
    made = simulation(model, schemes[name], samples)
    before = made.written()
    made.move(seed=7)

    assert_same(made, seed=2)
    assert not all(np.array_equal(integers_of(before, one), integers_of(made.written(), one)) for one in ("w0", "w1", "w4"))


def assert_same(made, *, seed):
    """What ONNX Runtime computes of the graph node by node, but for roundings that another order of summing takes the other way."""
    draw, written = np.random.default_rng(seed), made.written()
    onnx.checker.check_model(written, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(written.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(4):
        x = draw.normal(size=(1, 4, 8, 8)).astype(np.float32)
        for wanted, got in zip(session.run(None, {"x": x}), made(x=x), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_what_shared_a_scale_goes_on_sharing_it(branches, schemes, simulation):
    model, samples = branches
    made = simulation(model, schemes["tflite"], samples)
    made.move(seed=7)
    scales = scales_of(made.written())

    assert scales["e"] == scales["p"] == scales["p2"] == scales["c"]
    assert scales["c"] != scales["s"]


def test_a_prescribed_scale_and_the_zero_points_of_a_symmetric_scheme_stay(model_of, samples_of, schemes, simulation):
    draw = np.random.default_rng(0)
    text = "net (float[1,4,4,4] x) => (float[1,4,4,4] y) { a = Conv(x, w)  s = Sigmoid(a)  y = Conv(s, w) }"
    model = model_of(text, w=draw.normal(size=(4, 4, 1, 1)).astype(np.float32))
    samples = samples_of(x=[draw.normal(size=(1, 4, 4, 4)).astype(np.float32) for _ in range(9)])
    fixed, symmetric = simulation(model, schemes["tflite"], samples), simulation(model, schemes["tensorrt"], samples)
    fixed.move(seed=1)
    symmetric.move(seed=1)

    assert scales_of(fixed.written())["s"] == (1 / 256, -128)
    assert {zero_point for _, zero_point in scales_of(symmetric.written()).values()} == {0}


def test_scales_stay_positive_however_far_they_are_moved(branches, schemes, simulation):
    model, samples = branches
    made = simulation(model, schemes["tflite"], samples)
    made.move(seed=3, ranges=5.0)
    held = {one.name: numpy_helper.to_array(one) for one in made.written().graph.initializer}

    assert all((value > 0.0).all() for name, value in held.items() if name.endswith("/scale"))


def test_the_gradient_of_a_scale_is_that_of_lsq(model_of, samples_of, schemes, simulation):
    """Esser et al., eq. 3, for y = x through one scale s, with the loss sum(y): round(x/s) - x/s within the integers, their
    ends beyond; times 1 / sqrt(N Q), and times s, since the parameter is its logarithm."""
    eye = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
    text = "net (float[1,4,2,2] x) => (float[1,4,2,2] y) { y = Conv(x, w) }"
    model = model_of(text, w=eye)
    samples = samples_of(x=[np.full((1, 4, 2, 2), value, np.float32) for value in (-1.27, 1.27, 1.27)])
    made = simulation(model, schemes["tensorrt"], samples, observer="minmax", correct_bias=False)
    x = np.linspace(-1.5, 1.5, 16, dtype=np.float32).reshape(1, 4, 2, 2)
    out = made.student({"x": torch.from_numpy(x)[None]})["y"]
    out.sum().backward()
    shared = made.technique._of("x")
    scale = 1.27 / 127
    steps = x.astype(np.float64) / scale
    slope = np.where(steps > 127, 127, np.where(steps < -128, -128, np.round(steps) - steps))

    np.testing.assert_allclose(float(shared.stretch.grad), slope.sum() * scale / np.sqrt(16 * 127), rtol=1e-3)


def test_zeros_of_a_sparse_weight_stay_zero(branches, schemes, simulation):
    model, samples = branches
    proto = onnx.load(model.path)
    weight = next(one for one in proto.graph.initializer if one.name == "w0")
    values = numpy_helper.to_array(weight).copy()
    values.reshape(-1)[::2] = 0.0
    weight.CopyFrom(numpy_helper.from_array(values, "w0"))
    set_structures(proto, {"w0": Structure("sparse")})
    onnx.save(proto, model.path)
    made = simulation(model, schemes["tflite"], samples)
    made.move(seed=1, weights=3.0)
    integers = integers_of(made.written(), "w0")

    assert (integers.reshape(-1)[::2] == 0).all()
    assert (integers.reshape(-1)[1::2] != 0).mean() > 0.9


@pytest.mark.parametrize(("axis", "most"), [(None, 6), (0, 6 * 4)])
def test_values_that_a_weight_shares_stay_shared(branches, schemes, simulation, axis, most):
    model, samples = branches
    proto = onnx.load(model.path)
    weight = next(one for one in proto.graph.initializer if one.name == "w0")
    book = np.array([-1.5, -0.7, -0.2, 0.0, 0.4, 1.1], np.float32)
    places = np.random.default_rng(2).integers(0, 6, size=(4, 4, 3, 3))
    values = book[places] * (1.0 if axis is None else np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1, 1))
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), "w0"))
    set_structures(proto, {"w0": Structure("codebook", axis)})
    onnx.save(proto, model.path)
    made = simulation(model, schemes["tflite"], samples)
    made.move(seed=1, weights=3.0)
    integers = integers_of(made.written(), "w0")

    assert len(np.unique(integers)) <= most
    for channel in range(4):
        for entry in range(6):
            assert len(np.unique(integers[channel][places[channel] == entry])) == 1


def test_a_ternary_weight_keeps_its_signs_and_learns_its_magnitude(branches, schemes, simulation):
    model, samples = branches
    proto = onnx.load(model.path)
    weight = next(one for one in proto.graph.initializer if one.name == "w0")
    signs = np.random.default_rng(2).integers(-1, 2, size=(4, 4, 3, 3)).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(signs * np.array([0.1, 0.2, 0.4, 0.8], np.float32).reshape(4, 1, 1, 1), "w0"))
    set_structures(proto, {"w0": Structure("ternary", 0)})
    onnx.save(proto, model.path)
    made = simulation(model, schemes["tflite"], samples)
    made.move(seed=1)
    written = made.written()
    scale = next(numpy_helper.to_array(one) for one in written.graph.initializer if one.name == "w0/scale")

    np.testing.assert_array_equal(integers_of(written, "w0"), signs * INT8_SYMMETRIC.high)
    assert (np.abs(scale * 127 / [0.1, 0.2, 0.4, 0.8] - 1.0) > 1e-3).all()
