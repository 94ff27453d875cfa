import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from edgekit.errors import SourceError, UnsupportedError, UsageError
from edgekit.ingest.feeds import read_parity
from edgekit.model import read_model
from edgekit.samples import read_samples

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def written(path, text, *, head=HEAD, **weights):
    proto = onnx.parser.parse_model(f"{head} {text}")
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    path.write_bytes(proto.SerializeToString())
    return path


def conv_net(path, *, head=HEAD, x='float["N",3,8,8]', y='float["N",2]'):
    weight = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
    return written(path, f"net ({x} x) => ({y} y) {{ c = Conv(x, w)  r = Relu(c)  g = GlobalAveragePool(r)  y = Flatten(g) }}", head=head, w=weight)


def test_an_open_batch_becomes_one_and_shapes_are_known_throughout(tmp_path, ingested):
    model = ingested(conv_net(tmp_path / "net.onnx"))
    assert [(tensor.name, tensor.shape, tensor.layout) for tensor in model.signature.inputs] == [("x", (1, 3, 8, 8), "nchw")]
    assert [(tensor.name, tensor.shape) for tensor in model.signature.outputs] == [("y", (1, 2))]
    proto = onnx.load(model.path)
    inner = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in proto.graph.value_info}
    assert inner == {"c": [1, 2, 6, 6], "r": [1, 2, 6, 6], "g": [1, 2, 1, 1]}
    assert (proto.ir_version, proto.opset_import[0].version) == (10, 21)
    assert len({node.name for node in proto.graph.node} - {""}) == 4


def test_what_comes_out_is_what_onnx_runtime_makes_of_the_source(tmp_path, ingested):
    source = conv_net(tmp_path / "net.onnx")
    model = ingested(source)
    feed = {"x": np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    (wanted,), (got,) = (onnxruntime.InferenceSession(path).run(None, feed) for path in (source, model.path))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    did = model.history[0].did
    assert (did["format"], did["parity_samples"]) == ("ONNX", 2)
    assert did["parity_max_abs"] < 1e-6
    assert read_model(model.folder) == model


def test_the_same_source_gives_the_same_bytes(tmp_path, ingested):
    one = ingested(conv_net(tmp_path / "a.onnx"))
    two = ingested(conv_net(tmp_path / "b.onnx"))
    assert one.sha256 == two.sha256
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == ["model.json", "model.onnx", "parity.npz"]
    assert all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)


def test_sizes_can_be_pinned_and_kept_open(tmp_path, ingested):
    source = conv_net(tmp_path / "net.onnx", x='float["N",3,"H","W"]')
    with pytest.raises(SourceError, match=r"net\.onnx: sizes are missing: input x is open in axis 0 \(N\), axis 2 \(H\), axis 3 \(W\)"):
        ingested(source)
    model = ingested(conv_net(tmp_path / "pinned.onnx", x='float["N",3,"H","W"]'), shape={"": ("batch", 3, 16, 16)})
    assert model.signature.inputs[0].shape == ("batch", 3, 16, 16)
    assert model.signature.outputs[0].shape == ("batch", 2)


def test_a_size_the_source_fixes_cannot_be_changed(tmp_path, ingested):
    with pytest.raises(UsageError, match="axis 1 is fixed at 3"):
        ingested(conv_net(tmp_path / "net.onnx"), shape={"x": (1, 4, 8, 8)})


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (9, 4), (13, 7), (21, 10), (22, 10)])
def test_old_and_new_opsets_are_read(tmp_path, ingested, opset, ir_version):
    model = ingested(conv_net(tmp_path / "net.onnx", head=f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'))
    assert onnx.load(model.path).opset_import[0].version == 21


def test_an_old_file_that_lists_its_weights_as_inputs_has_one_input(tmp_path, ingested):
    source = conv_net(tmp_path / "net.onnx", head='<ir_version: 3, opset_import: ["" : 7]>')
    proto = onnx.load(source)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 3, 3]))
    source.write_bytes(proto.SerializeToString())
    model = ingested(source)
    assert [tensor.name for tensor in model.signature.inputs] == ["x"]
    assert [value.name for value in onnx.load(model.path).graph.input] == ["x"]


def test_an_opset_before_seven_is_refused(tmp_path, ingested):
    with pytest.raises(UnsupportedError, match="opset 6"):
        ingested(
            written(tmp_path / "net.onnx", "net (float[1,4] x) => (float[1,4] y) { y = Add(x, x) }", head='<ir_version: 3, opset_import: ["" : 6]>')
        )


def test_integers_are_not_divided_by_zero_to_compare(tmp_path, ingested):
    text = "net (int64[3,40] a, int64[3,40] b, int64[3,40] c) => (int64[3,40] y) { d = Div(a, b)  y = Mod(d, c) }"

    model = ingested(written(tmp_path / "net.onnx", text))

    feeds = [feed for feed, _ in read_parity(model.path.parent)]
    assert all((feed["b"] != 0).all() and (feed["c"] != 0).all() and (feed["a"] == 0).any() for feed in feeds)


def test_a_layer_that_onnx_runtime_lacks_is_compared_with_the_reference(tmp_path, ingested):
    text = "net (float[2,5,3] x, float[1,4,3] w, float[1,4,4] r) => (float[2,5,1,4] y) { y, h = RNN<hidden_size=4, layout=1>(x, w, r) }"

    model = ingested(written(tmp_path / "net.onnx", text))

    assert [node.op_type for node in onnx.load(model.path).graph.node if node.op_type == "RNN"] == ["RNN"]
    assert model.history[0].did["parity_max_abs"] < 1e-6


def test_local_functions_are_inlined(tmp_path, ingested):
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        net (float[1,4] x) => (float[1,4] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }"""
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    proto = onnx.load(ingested(path).path)
    assert [node.op_type for node in proto.graph.node] == ["Add"]
    assert not proto.functions
    assert [entry.domain for entry in proto.opset_import] == [""]


def test_an_operator_of_another_domain_is_named(tmp_path, ingested):
    source = written(
        tmp_path / "net.onnx",
        "net (float[1,4] x) => (float[1,4] y) { y = com.microsoft.Gelu(x) }",
        head='<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>',
    )
    with pytest.raises(UnsupportedError, match=r"Gelu y: domain com\.microsoft"):
        ingested(source)


def test_metadata_and_documentation_of_exporters_are_stripped(tmp_path, ingested):
    source = conv_net(tmp_path / "net.onnx")
    proto = onnx.load(source)
    proto.metadata_props.add(key="a", value="b")
    proto.graph.node[0].metadata_props.add(key="a", value="b")
    proto.graph.node[1].doc_string = "where it came from"
    source.write_bytes(proto.SerializeToString())
    model = ingested(source)
    assert model.sha256 == ingested(conv_net(tmp_path / "plain.onnx")).sha256


def external(path, location, length=216):
    """A net whose weight lies in another file."""
    proto = onnx.load(conv_net(path))
    tensor = proto.graph.initializer[0]
    values = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return values


def test_weights_beside_the_file_come_into_it(tmp_path, ingested):
    values = external(tmp_path / "net.onnx", "net.bin")
    (tmp_path / "net.bin").write_bytes(values)
    model = ingested(tmp_path / "net.onnx")
    assert model.sha256 == ingested(conv_net(tmp_path / "inside.onnx")).sha256


def test_weights_outside_the_folder_of_the_file_are_refused(tmp_path, ingested):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, location in (("up", "../secret.bin"), ("absolute", str(tmp_path / "secret.bin")), ("link", "link.bin")):
        values = external(folder / f"{name}.onnx", location)
        (tmp_path / "secret.bin").write_bytes(values)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for name in ("up", "absolute", "link"):
        with pytest.raises(SourceError, match="its external data cannot be read"):
            ingested(folder / f"{name}.onnx")


@pytest.mark.parametrize("there", [None, b"1234"])
def test_weights_that_are_missing_or_cut_short_are_named(tmp_path, ingested, there):
    external(tmp_path / "net.onnx", "net.bin")
    if there is not None:
        (tmp_path / "net.bin").write_bytes(there)
    with pytest.raises(SourceError, match=r"net\.onnx: its external data cannot be read"):
        ingested(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "text",
    [
        "net (float[1,4] x) => (float[1,4] y) { a = Add(x, b)  b = Relu(a)  y = Relu(b) }",
        "net (float[1,4] x) => (float[1,4] y) { y = Add(x, nothing) }",
        "net (float[1,4] x) => (float[1,4] y) { y = Frobnicate(x) }",
        "net (float[1,4] x, float[5,4] z) => (float[1,4] y) { y = MatMul(x, z) }",
        "net (string[1] x) => (string[1] y) { y = Identity(x) }",
        "net (float[1,4] x) => () { y = Relu(x) }",
    ],
    ids=["cycle", "missing input", "no such operator", "shapes that do not fit", "text", "no output"],
)
def test_a_graph_that_is_not_valid_is_one_line_with_the_name_of_the_file(tmp_path, ingested, text):
    with pytest.raises(SourceError) as caught:
        ingested(written(tmp_path / "net.onnx", text))
    assert "net.onnx: " in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_wrong_output_shape_is_put_right(tmp_path, ingested):
    model = ingested(written(tmp_path / "net.onnx", "net (float[1,4] x) => (float[1,5] y) { y = Relu(x) }"))
    assert model.signature.outputs[0].shape == (1, 4)


def test_a_name_that_is_not_text_is_damage(tmp_path, ingested):
    source = conv_net(tmp_path / "net.onnx")
    source.write_bytes(source.read_bytes().replace(b"Relu", b"R\xfflu"))
    with pytest.raises(SourceError, match="damaged"):
        ingested(source)


def test_sizes_at_which_the_graph_does_not_run_point_to_the_shape(tmp_path, ingested):
    weight = np.zeros((4, 2), np.float32)
    source = written(tmp_path / "net.onnx", 'net (float["N","C"] x) => (float["N",2] y) { y = MatMul(x, w) }', w=weight)
    with pytest.raises(SourceError) as caught:
        ingested(source, shape={"x": (1, 5)})
    assert "--shape" in caught.value.hint


def test_samples_take_part_in_the_parity_check(tmp_path, ingested):
    folder = tmp_path / "samples"
    folder.mkdir()
    arrays = [np.full((3, 8, 8), index, np.float32) for index in range(6)]
    for index, array in enumerate(arrays):
        np.savez(folder / f"{index}.npz", x=array)
    samples = read_samples(folder)
    model = ingested(conv_net(tmp_path / "net.onnx"), samples=samples, check_samples=2)
    assert model.history[0].did["parity_samples"] == 4
    fed = [feed["x"] for feed, _ in read_parity(model.folder)]
    judging = [int(sample.path.stem) for sample in samples.judging[:2]]
    assert [float(array.max()) for array in fed[2:]] == judging


def test_layout_follows_the_channels_unless_it_is_said(tmp_path, ingested):
    text = "net (float[1,8,8,3] x) => (float[1,8,8,3] y) { y = Relu(x) }"
    assert ingested(written(tmp_path / "a.onnx", text)).signature.inputs[0].layout == "nhwc"
    assert ingested(written(tmp_path / "b.onnx", text), layout="nchw").signature.inputs[0].layout == "nchw"
