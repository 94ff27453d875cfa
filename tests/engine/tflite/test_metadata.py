"""What a TFLite file says of how it is called, and the files behind it; what other writers' files say."""

import base64
import zipfile
import zlib

import flatbuffers
import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgekit.engine.tflite.file import read_tflite
from edgekit.engine.tflite.metadata_tables import packed, unpacked
from edgekit.model import Preprocess

WEIGHTS = np.random.default_rng(3).standard_normal((3, 3, 1, 1)).astype(np.float32)
NET = "(float[1,3,8,8] picture) => (classes) { c = Conv(picture, w) g = GlobalAveragePool(c) classes = Flatten(g) }"
HOW = Preprocess(resize_short=10, crop=8, interpolation="bilinear", mean=(127.0,), std=(128.0,))
LABELS = ("tench", "gold\nfish", "räka")

# Written by tflite-support 0.4.4 (its ModelMetadataT), and what its convert_to_json says of it.
THEIRS = (
    "c-n<gJx{|x40S#zX*fYtb?Cszz=YC`4N)<nvNICGsX-zQY9my(j{E=y#t!@t21b5Uk7u6)Y(#po&-d(S`w}9$%JcE**0~}4L*NK_4T;`>9{lsiqO2@Y48N^x4MPFI{0#pL"
    ")=)ys$RtK|4LpE!5qd7?PNBgpK3+QKV*0(?;B5R|#1?5}=R|$jc~RTtNxNz_z5zx;9Y9O7RDU47Ko_{t`o2HU+ylob=Rd8kx38`C7WJSK%TDl}v0awU!Y;YqKKa>v{h{g"
    ";rBFVQyj0`Is+~wqEP0`V`Mk?rsHAcZf>`?qbkaz<JHTzTV);MsF;Z)!cBb*1-wt>I-hof&-y-|br4OFTYplf@*{YG9bzGK8w05FfH(hV*^~C49NrLYC%8}iLJ)KIvFw}"
    "b8T+iJ+MO#+t-`B;=>itand>VVrJKNf_Z5CYY8&0G@r2"
)
NAMES = {"name": "names.txt", "type": "TENSOR_VALUE_LABELS", "locale": "en"}
BOXES = {"index": [1, 0, 3, 2], "type": "BOUNDARIES", "coordinate_type": "PIXEL"}
THEIR_TREE = {
    "name": "detector",
    "version": "v1",
    "subgraph_metadata": [
        {
            "name": "g",
            "input_tensor_metadata": [
                {
                    "name": "image",
                    "dimension_names": ["batch", "y"],
                    "content": {"content_properties_type": "ImageProperties", "content_properties": {"color_space": "GRAYSCALE"}},
                    "process_units": [{"options_type": "NormalizationOptions", "options": {"mean": [127.5], "std": [64.25]}}],
                    "stats": {"max": [1.0], "min": [-2.0, 0.5]},
                }
            ],
            "output_tensor_metadata": [
                {
                    "name": "boxes",
                    "content": {
                        "content_properties_type": "BoundingBoxProperties",
                        "content_properties": BOXES,
                        "range": {"min": 2, "max": 2},
                    },
                },
                {
                    "name": "scores",
                    "process_units": [{"options_type": "ScoreThresholdingOptions", "options": {"global_score_threshold": 0.5}}],
                    "associated_files": [NAMES],
                },
            ],
            "input_process_units": [{"options_type": "BertTokenizerOptions", "options": {"vocab_file": [NAMES]}}],
        }
    ],
    "author": "them",
    "license": "Apache",
}


def their_bytes():
    return zlib.decompress(base64.b85decode(THEIRS))


@pytest.fixture
def engine(graph, store, build):
    """The file of a small classifier of three classes whose signature says what ``said`` holds."""

    def make(**said):
        options = {"io_layout": said.pop("io_layout", "nhwc")}
        model = store(graph(NET, w=WEIGHTS))
        signature = msgspec.structs.replace(model.signature, **said)
        return build(msgspec.structs.replace(model, signature=signature), **options).path

    return make


def picture_of(path):
    return read_tflite(path).metadata["subgraph_metadata"][0]["input_tensor_metadata"][0]


def classes_of(path):
    return read_tflite(path).metadata["subgraph_metadata"][0]["output_tensor_metadata"][0]


def test_a_file_says_how_a_picture_becomes_its_input(engine):
    found = picture_of(engine(preprocess=HOW))

    assert found["name"] == "picture"
    assert found["description"] == ("RGB picture; shorter side resized to 10 (bilinear); middle 8 x 8 (height x width) cut out; (pixel - 127) / 128")
    image = {"color_space": "RGB", "default_size": {"width": 8, "height": 8}}
    assert found["content"] == {"content_properties_type": "ImageProperties", "content_properties": image}
    assert found["process_units"] == [{"options_type": "NormalizationOptions", "options": {"mean": [127.0], "std": [128.0]}}]
    assert found["stats"] == {"max": [1.0], "min": [-0.9921875]}  # (255 - 127) / 128 and (0 - 127) / 128


def test_one_mean_and_a_std_for_each_channel_are_written_as_three_of_both(engine):
    found = picture_of(engine(preprocess=Preprocess(mean=(0.0,), std=(51.0, 85.0, 255.0))))

    assert found["process_units"][0]["options"] == {"mean": [0.0, 0.0, 0.0], "std": [51.0, 85.0, 255.0]}
    assert found["stats"] == {"max": [5.0, 3.0, 1.0], "min": [0.0, 0.0, 0.0]}


def test_nothing_is_said_of_a_normalization_that_nobody_knows(engine):
    path = engine()

    assert picture_of(path) == {"name": "picture"}
    assert classes_of(path) == {"name": "classes"}
    assert read_tflite(path).files == ()
    assert not zipfile.is_zipfile(path)


def test_blue_first_is_a_colour_space_the_schema_has_not_and_is_said_in_words(engine):
    found = picture_of(engine(preprocess=Preprocess(colour="bgr")))

    assert "color_space" not in found["content"]["content_properties"]  # UNKNOWN, the schema's default
    assert found["description"].startswith("BGR picture")


def test_channels_first_are_no_image_to_those_who_take_channels_to_be_last(engine):
    found = picture_of(engine(preprocess=HOW, io_layout="nchw"))

    assert "content" not in found
    assert found["description"].endswith("; channels first")


def test_labels_lie_in_a_zip_behind_the_model(engine):
    path = engine(labels=LABELS)

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read("labels.txt").decode() == "tench\ngold fish\nräka\n"
    (file,) = classes_of(path)["associated_files"]
    assert (file["name"], file["type"]) == ("labels.txt", "TENSOR_AXIS_LABELS")
    content = path.read_bytes()
    assert content[entry.header_offset :].startswith(b"PK\x03\x04")  # counted from the file's first byte


def test_labels_of_other_classes_are_left_out(engine):
    path = engine(labels=(*LABELS, "one too many"))

    assert "associated_files" not in classes_of(path)
    assert not zipfile.is_zipfile(path)


def test_a_file_with_labels_runs(engine):
    interpreter = Interpreter(str(engine(preprocess=HOW, labels=LABELS)))

    outputs = interpreter.get_signature_runner("serving_default")(picture=np.ones((1, 8, 8, 3), np.float32))
    assert outputs["classes"].shape == (1, 3)


def test_the_same_model_gives_the_same_bytes_on_any_day(engine, monkeypatch):
    first = engine(preprocess=HOW, labels=LABELS).read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)

    assert engine(preprocess=HOW, labels=LABELS).read_bytes() == first


def test_the_entry_has_the_schemas_mark_and_lies_on_16_bytes(engine):
    content = engine(preprocess=HOW, labels=LABELS).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)

    assert [entry.name for entry in model.metadata] == [b"min_runtime_version", b"TFLITE_METADATA"]
    data = bytes(model.buffers[model.metadata[1].buffer].data)
    assert data[4:8] == b"M001"
    assert content.index(data) % 16 == 0


def test_what_tflite_support_writes_is_read_as_its_own_json_has_it():
    assert unpacked(their_bytes()) == THEIR_TREE


def test_what_is_written_is_read_back():
    assert unpacked(packed(THEIR_TREE)) == THEIR_TREE


def test_a_name_that_the_schema_does_not_have_is_not_written():
    with pytest.raises(KeyError, match="ModelMetadata has no field licence"):
        packed({"licence": "Apache"})


@pytest.mark.parametrize("cut", [8, 40, 200, 600])
def test_damaged_metadata_is_said_and_does_not_hinder_the_rest(cut, engine):
    path = engine(preprocess=HOW)
    content = path.read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    data = bytes(model.buffers[model.metadata[1].buffer].data)
    path.write_bytes(content.replace(data, data[:cut] + b"\xff" * (len(data) - cut)))

    found = read_tflite(path)
    assert [port.name for port in found.inputs] == ["picture"]
    assert found.metadata_fault.startswith("its entry TFLITE_METADATA cannot be read: ") or found.metadata


def test_small_metadata_that_speaks_of_a_million_tensors_is_refused():
    builder = flatbuffers.Builder(0)

    def table(slots, field, inner):
        """A table whose field lists another table a thousand times."""
        builder.StartVector(4, 1000, 4)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(inner)
        items = builder.EndVector()
        builder.StartObject(slots)
        builder.PrependUOffsetTRelativeSlot(field, items, 0)
        return builder.EndObject()

    builder.StartObject(7)
    tensor = builder.EndObject()
    builder.Finish(table(8, 3, table(7, 2, tensor)), file_identifier=b"M001")

    with pytest.raises(ValueError, match="more than it has room for"):
        unpacked(bytes(builder.Output()))
