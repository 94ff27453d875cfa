"""NonMaxSuppression, and rows whose number depends on the numbers: as many as in ONNX Runtime, through what follows."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.engine.tflite import TfliteBackend
from tests.engine.tflite.conftest import onnx_outputs, target

LIMITS = "int64[1] k={7}, float[1] t={0.5}, float[1] s={0.2}, int64[1] zero={0}, int64[1] two={2}, int64[2] both={0,2}"
PORTS = "(float[2,9,4] boxes, float[2,3,9] scores)"
AFTER = {
    "as they are": ("int64[n,3] y", "y = Identity(i)"),
    "their boxes": ("float[n,4] y", "p = Gather<axis=1>(i, both) y = GatherND(boxes, p)"),
    "their boxes, by column": (
        "float[n,4] y",
        "p = Slice(i, two, three, one) b = Reshape(p, flat) r = Gather<axis=1>(boxes, b) y = Gather(r, first)",
    ),
    "their scores beside their classes": (
        "float[n,2] y",
        "v = GatherND(scores, i) u = Unsqueeze(v, one) h, c, b = Split<axis=1, num_outputs=3>(i) f = Cast<to=1>(c) y = Concat<axis=1>(u, f)",
    ),
    "computed with": ("float[4,n] y", "p = Gather<axis=1>(i, both) b = GatherND(boxes, p) m = Mul(b, w) r = Relu(m) y = Transpose(r)"),
    "twice": ("int64[n,3] y, bool[n,3] z", "y = Identity(i) z = Equal(i, zero)"),
}
CONSTANTS = {
    "three": np.array([3]),
    "one": np.array([1]),
    "flat": np.array([-1]),
    "first": np.array(0),
    "w": np.float32([[0.5, 2, -1, 1]]),
}


def feeds(seed=0, spread=1.0):
    """Boxes of about four by four, which overlap the less the wider they are spread."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, spread, (2, 9, 1, 2))
    corners = np.concatenate([places, places + rng.uniform(3, 5, (2, 9, 1, 2))], 2)
    return {"boxes": corners.reshape(2, 9, 4).astype(np.float32), "scores": rng.uniform(0, 1, (2, 3, 9)).astype(np.float32)}


def selecting(outputs, then, *, attributes=""):
    text = f"{PORTS} => ({outputs}) <{LIMITS}> {{ i = NonMaxSuppression{attributes}(boxes, scores, k, t, s) {then} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> net {text}')
    for name, array in CONSTANTS.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True)


@pytest.mark.parametrize("case", AFTER)
@pytest.mark.parametrize("delegate", [True, False])
def test_as_many_rows_come_out_as_are_selected(case, delegate, build):
    proto = selecting(*AFTER[case])
    built, counts = build(proto), set()

    for seed in range(4):
        given = feeds(seed, spread=0.5 + 3 * seed)
        wanted = onnx_outputs(proto, **given)
        found = built.run(delegate=delegate, **given)
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-6)
            assert found[name].dtype == array.dtype
        counts.add(wanted["y"].shape)
    assert len(counts) > 1


def test_one_session_gives_more_rows_and_fewer_again(build):
    runner = build(selecting(*AFTER["as they are"])).interpreter().get_signature_runner("serving_default")

    counts = [len(runner(**feeds(1, spread=spread))["y"]) for spread in (0.5, 20.0, 0.5)]

    assert counts[0] == counts[2] < counts[1] <= 2 * 3 * 7


def test_no_row_at_all(build):
    given = feeds()

    found = build(selecting(*AFTER["their boxes"])).run(boxes=given["boxes"], scores=np.zeros_like(given["scores"]))

    assert found["y"].shape == (0, 4)


def test_boxes_by_their_middles(build):
    proto = selecting(*AFTER["as they are"], attributes="<center_point_box=1>")
    rng = np.random.default_rng(5)
    given = {"boxes": np.concatenate([rng.uniform(0, 3, (2, 9, 2)), rng.uniform(1, 2, (2, 9, 2))], 2).astype(np.float32), "scores": feeds()["scores"]}

    np.testing.assert_array_equal(build(proto).run(**given)["y"], onnx_outputs(proto, **given)["y"])


def test_boxes_without_an_area_are_selected_once_each(build):
    proto = selecting(*AFTER["as they are"])
    given = feeds(3)
    given["boxes"][:, 2] = given["boxes"][:, 5] = [1, 1, 1, 1]
    given["boxes"][:, 4, 2] = given["boxes"][:, 4, 0]
    given["scores"][:, :, 2:6] += 1

    np.testing.assert_array_equal(build(proto).run(**given)["y"], onnx_outputs(proto, **given)["y"])


def test_an_overlap_of_just_the_threshold_is_kept(build):
    boxes = np.float32([[[0, 0, 1, 2], [0, 0, 1, 1]]])  # the smaller is half of the larger
    text = "(float[1,2,4] b, float[1,1,2] s) => (int64[n,3] y) <int64[1] k={5}, float[1] t={0.5}> { y = NonMaxSuppression(b, s, k, t) }"
    built = build(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> net {text}'))

    assert built.run(b=boxes, s=np.float32([[[0.9, 0.8]]]))["y"].tolist() == [[0, 0, 0], [0, 0, 1]]


def test_the_engine_says_that_its_rows_are_open(build):
    built = build(selecting(*AFTER["computed with"]))

    assert [(port.name, port.shape) for port in built.engine.outputs] == [("y", (4, "?"))]
    assert built.operators["NON_MAX_SUPPRESSION_V4"] == 2 * 3
    (output,) = built.interpreter().get_output_details()
    assert output["shape_signature"].tolist() == [4, -1]


@pytest.mark.parametrize(
    ("then", "node"),
    [
        ("f = Cast<to=1>(i) y = ReduceSum(f, zero)", "ReduceSum_2"),
        ("y = Slice(i, zero, three, zero)", "Slice_1"),
        ("c = Gather<axis=1>(i, both) t2 = Transpose(c) y = MatMul(c, t2)", "MatMul_3"),
    ],
)
def test_what_reads_across_rows_is_refused_by_its_name(then, node, store):
    (refusal,) = TfliteBackend().refusals(store(selecting("float[a,b] y" if "Cast" in then else "int64[a,b] y", then)), target())

    assert refusal.node == node
    assert "depends on the numbers" in refusal.reason
    assert "end the model before it" in refusal.remedy
