import numpy as np
import onnx
import pytest

from edgekit.errors import SourceError
from edgekit.ingest.feeds import feeds, record_parity
from edgekit.ingest.finish import compare
from edgekit.ingest.names import rename
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.model.signature import unique

RELU = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }')
SIGNATURE = Signature(inputs=(Tensor("x", "float32", (1, 4)),), outputs=())


def recorded(folder, call):
    (folder / "model.onnx").write_bytes(RELU.SerializeToString())
    record_parity(call, SIGNATURE, folder, samples=None, count=0)
    return folder / "model.onnx"


def test_a_graph_that_computes_the_same_has_no_error(tmp_path):
    model = recorded(tmp_path, lambda feed: {"y": np.maximum(feed["x"], 0)})
    assert compare(model, tmp_path, "net") == {"parity_max_abs": 0.0, "parity_sqnr_db": None, "parity_samples": 2}


def test_rounding_is_reported_in_decibels(tmp_path):
    # a part in 10^4 of every value is off: noise / signal = 10^-8 in power
    model = recorded(tmp_path, lambda feed: {"y": np.maximum(feed["x"], 0) * np.float32(1.0001)})
    found = compare(model, tmp_path, "net")
    assert found["parity_sqnr_db"] == pytest.approx(80.0, abs=0.1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda feed: {"y": np.maximum(feed["x"], 0) * np.float32(1.01)}, "output y is off by"),
        (lambda feed: {"y": np.maximum(feed["x"], 0)[:, :3]}, r"output y has shape \(1, 4\), in the source \(1, 3\)"),
        (lambda feed: {"y": np.full((1, 4), np.nan, np.float32)}, "8 values are finite on one side only"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(tmp_path, call, said):
    model = recorded(tmp_path, call)
    with pytest.raises(SourceError, match=f"net: the ONNX graph does not compute what the source does: .*{said}"):
        compare(model, tmp_path, "net")


def test_random_inputs_are_the_same_every_time_and_suit_the_input():
    signature = Signature(inputs=(Tensor("x", "float32", ("N", 3, "H", 8)), Tensor("ids", "int64", (1, 5))), outputs=())
    one, two = feeds(signature, None, 4)
    again, _ = feeds(signature, None, 4)
    assert one["x"].shape == (2, 3, 224, 8)
    assert one["x"].dtype == np.float32
    assert set(np.unique(one["ids"])) <= {0, 1}
    assert np.array_equal(one["x"], again["x"])
    assert not np.array_equal(one["x"], two["x"])


def test_a_network_that_scales_pixels_itself_gets_pixels():
    signature = Signature(inputs=(Tensor("x", "float32", (1, 8, 8, 1), "nhwc"),), outputs=(), preprocess=Preprocess(colour="grey"))
    values = feeds(signature, None, 0)[0]["x"]
    assert 0 <= values.min() < 64
    assert 192 < values.max() <= 255


def test_renaming_reaches_every_use_and_moves_others_out_of_the_way():
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> net (float[1,4] a, bool c) => (float[1,4] b) '
        "{ image = Relu(a)  b = If(c) <then_branch = yes () => (float[1,4] t) { t = Add(image, a) }, "
        "else_branch = no () => (float[1,4] e) { e = Identity(a) }> }"
    )
    rename(proto, {"a": "image", "b": "scores"})
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == ["image", "c"]
    assert [value.name for value in proto.graph.output] == ["scores"]
    assert list(proto.graph.node[0].output) == ["image_inner"]
    yes = next(attribute.g for attribute in proto.graph.node[1].attribute if attribute.name == "then_branch")
    assert list(yes.node[0].input) == ["image_inner", "image"]


def test_names_that_come_twice_get_numbers():
    assert unique(["a", "b", "a", "a_1", "a"]) == ["a", "b", "a_1", "a_1_1", "a_2"]
