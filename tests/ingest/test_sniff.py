import io
import pickle
import struct
import zipfile

import onnx
import pytest

from edgekit.errors import SourceError, UsageError
from edgekit.ingest.contract import frontend_for, tools_for
from edgekit.ingest.sniff import Kind, kind_of, pickled_globals

NET = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }').SerializeToString()


def archive(*names: str, **contents: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for name in names:
            made.writestr(name, contents.get(name.rpartition("/")[2].replace(".", "_"), b"x"))
    return held.getvalue()


STATE = pickle.dumps({"w": 1}, protocol=2)
MODULE = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."
SHELL = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (NET, Kind.ONNX),
        (NET[:-5], Kind.ONNX_CUT),
        (b"", Kind.EMPTY),
        (b"hello, this is no model\n", Kind.TEXT),
        ("größer als gedacht".encode(), Kind.TEXT),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", Kind.LFS),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), Kind.HDF5),
        (archive("metadata.json", "config.json", "model.weights.h5"), Kind.KERAS),
        (archive("net/models/model.json", "net/archive_format"), Kind.EXPORTED),
        (archive("serialized_exported_program.json", "version"), Kind.EXPORTED),
        (archive("net/data.pkl", "net/data/0", data_pkl=STATE), Kind.STATE_DICT),
        (archive("net/data.pkl", "net/data/0", data_pkl=MODULE), Kind.PICKLED),
        (archive("net/data.pkl", data_pkl=SHELL), Kind.PICKLED),
        (archive("net/data.pkl", data_pkl=STATE[:-3]), Kind.PICKLE_CUT),
        (archive("net/code/net.py", "net/constants.pkl", "net/data.pkl"), Kind.TORCHSCRIPT),
        (archive("config.json", "model.weights.h5")[:-30], Kind.ZIP_CUT),
        (b"PK\x03\x04" + bytes(50) + archive("net/data.pkl", data_pkl=STATE), Kind.ZIP_CUT),
        (archive("model.h5", "readme.txt"), Kind.ZIP),
        (b"\x1c\0\0\0TFL3" + bytes(50), Kind.TFLITE),
        (b"GGUF" + bytes(50), Kind.GGUF),
        (struct.pack("<Q", 40) + b'{"w":{"dtype":"F32"}}', Kind.SAFETENSORS),
        (pickle.dumps([1]), Kind.PICKLED),
        (bytes(range(256)), Kind.UNKNOWN),
        (b"\x0a\x05\x0a\x03abc", Kind.UNKNOWN),  # a TensorFlow GraphDef begins with a node
    ],
)
def test_a_file_is_told_by_its_content(tmp_path, content, kind):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert kind_of(path) is kind


def test_a_folder_is_a_saved_model_if_it_holds_one(tmp_path):
    assert kind_of(tmp_path) is Kind.FOLDER
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert kind_of(tmp_path) is Kind.SAVEDMODEL


def test_what_a_pickle_would_import_is_read_without_loading_it(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(archive("net/data.pkl", data_pkl=SHELL))
    assert pickled_globals(path) == ("posix.system",)


@pytest.mark.parametrize(
    ("name", "content", "said", "hint"),
    [
        ("net.onnx", b"hello", "net.onnx: this is a text file", ".keras"),
        ("net.onnx", NET[:-5], "net.onnx: this is an ONNX file that is cut short", "download"),
        ("net.onnx", b"", "net.onnx: this is empty", "download"),
        ("net.onnx", b"version https://git-lfs", "net.onnx: this is a Git LFS pointer", "git lfs pull"),
        ("net.zip", archive("a/model.h5"), "net.zip: this is a zip archive", "unzip it first and give a/model.h5"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "net.tflite: this is a TFLite file", "converted from"),
        ("saved_model.pb", b"\x08\x01\x12\x00", "saved_model.pb: this is of no format known here", "give its folder"),
    ],
)
def test_what_nobody_reads_is_named_with_a_way_out(tmp_path, name, content, said, hint):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        frontend_for(path)
    assert caught.value.message == f"{tmp_path}/{said}"
    assert hint in caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.onnx: no such file"):
        frontend_for(tmp_path / "nowhere.onnx")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(SourceError, match="a folder without a model"):
        frontend_for(tmp_path)


def test_versions_of_the_tools_are_known_without_importing_them(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(NET)
    assert tools_for(path)["onnx"] == onnx.__version__


@pytest.mark.parametrize(
    ("content", "error", "said", "hint"),
    [
        (archive("net/code/net.py", "net/constants.pkl", "net/data.pkl"), SourceError, "this is TorchScript", "torch.export.save"),
        (archive("net/data.pkl", data_pkl=MODULE), SourceError, "torch.nn.modules.linear.Linear", "state_dict()"),
        (archive("net/data.pkl", data_pkl=SHELL), SourceError, "posix.system", "state_dict()"),
        (archive("net/data.pkl", data_pkl=STATE), UsageError, "not the network they belong to", "--factory module.py:function"),
    ],
)
def test_torch_files_that_cannot_be_taken_as_they_are_say_what_to_do(tmp_path, ingested, content, error, said, hint):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        ingested(path)
    assert said in caught.value.message
    assert hint in caught.value.hint
