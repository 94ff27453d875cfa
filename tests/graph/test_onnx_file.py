import numpy as np
import onnx
import pytest

from edgekit.errors import SourceError
from edgekit.graph.onnx_file import load, save
from edgekit.graph.run import Runner

RELUS = "net (float[2,3] x) => (float[2,3] y) { a = Relu(x)  b = Relu(a)  y = Tanh(b) }"


def test_a_saved_model_is_loaded_as_it_was(onnx_text, tmp_path):
    proto = onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Add(x, w) }", w=np.arange(3.0))
    save(proto, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert load(tmp_path / "model.onnx") == proto


def test_the_same_graph_gives_the_same_bytes(onnx_text, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(onnx_text(RELUS), tmp_path / name)
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()


def test_every_node_gets_a_name_of_its_own_and_keeps_one_it_has(onnx_text, tmp_path):
    proto = onnx_text(RELUS)
    proto.graph.node[0].name = "Relu_1"
    proto.graph.node[2].name = "Relu_1"
    save(proto, tmp_path)
    names = [node.name for node in load(tmp_path / "model.onnx").graph.node]
    assert names[0] == "Relu_1"
    assert len(set(names)) == 3
    assert all(names)


def test_names_are_given_inside_subgraphs_too(onnx_text, tmp_path):
    proto = onnx_text("""net (float[2] x, bool k) => (float[2] y) {
        y = If(k) <then_branch = yes () => (float[2] a) { a = Relu(x) }, else_branch = no () => (float[2] b) { b = Tanh(x) }>
    }""")
    save(proto, tmp_path)
    node = load(tmp_path / "model.onnx").graph.node[0]
    inner = [inner.name for attribute in node.attribute for inner in attribute.g.node]
    assert len({node.name, *inner}) == 3
    assert all(inner)


def test_large_weights_go_beside_the_file_and_come_back(onnx_text, tmp_path):
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    proto = onnx_text("net (float[2,64] x) => (float[2,64] y) { y = MatMul(x, w) }", w=weights)
    untouched = proto.SerializeToString()
    save(proto, tmp_path, external_above_bytes=1000)
    assert proto.graph.initializer[0].raw_data == weights.tobytes()
    assert len(untouched) < len(proto.SerializeToString()) + 100
    assert (tmp_path / "model.onnx").stat().st_size < 1000
    assert (tmp_path / "model.onnx.data").stat().st_size >= weights.nbytes
    loaded = load(tmp_path / "model.onnx")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(loaded.graph.initializer[0]), weights)
    x = np.ones((2, 64), np.float32)
    np.testing.assert_allclose(Runner(tmp_path / "model.onnx")({"x": x})["y"], x @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"this is text, not a model", b"\x08\x0a\x12\x07"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"net\.onnx") as caught:
        load(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_truncated_file_is_refused(onnx_text, tmp_path):
    save(onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Add(x, w) }", w=np.ones((2, 3))), tmp_path)
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cut off"):
        load(tmp_path / "model.onnx")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        load(tmp_path / "net.onnx")
    with pytest.raises(SourceError, match="directory"):
        load(tmp_path)


def test_missing_external_data_is_refused(onnx_text, tmp_path):
    save(onnx_text("net (float[2,64] x) => (float[2,64] y) { y = MatMul(x, w) }", w=np.ones((64, 64))), tmp_path, external_above_bytes=1000)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(SourceError, match="external data") as caught:
        load(tmp_path / "model.onnx")
    assert "data file" in caught.value.hint


def test_external_data_outside_the_folder_is_refused(onnx_text, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    save(onnx_text("net (float[2,64] x) => (float[2,64] y) { y = MatMul(x, w) }", w=np.ones((64, 64))), inside, external_above_bytes=1000)
    (inside / "model.onnx.data").rename(tmp_path / "model.onnx.data")
    proto = onnx.load(inside / "model.onnx", load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../model.onnx.data"
    (inside / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(SourceError):
        load(inside / "model.onnx")
