import json

import pytest

from edgekit.run.errors import RunError
from edgekit.run.tensors import Tensor, read_tensors, write_tensors


def test_tensors_come_back_as_they_were_written(tmp_path):
    sets = [
        [Tensor("a", "uint8", (3,), b"\1\2\3"), Tensor("b", "float16", (1, 2), b"\0\1\2\3")],
        [Tensor("a", "uint8", (0,), b""), Tensor("b", "float16", (1, 1), b"\7\7")],
    ]

    write_tensors(str(tmp_path / "t"), sets)

    back = [[Tensor(name, dtype, shape, bytes(data)) for name, dtype, shape, data in tensors] for tensors in read_tensors(str(tmp_path / "t"))]
    assert back == sets


def test_every_tensor_begins_at_a_multiple_of_64_bytes(tmp_path):
    written = write_tensors(str(tmp_path / "t"), [[Tensor("a", "uint8", (65,), bytes(65)), Tensor("b", "uint8", (1,), b"\1")]])

    offsets = [entry["offset"] for entry in json.loads((tmp_path / "t.json").read_text())["sets"][0]]
    assert offsets == [0, 128]
    assert written == 192


def test_a_file_cut_short_is_refused(tmp_path):
    write_tensors(str(tmp_path / "t"), [[Tensor("a", "uint8", (100,), bytes(100))]])
    (tmp_path / "t.bin").write_bytes(bytes(50))

    with pytest.raises(RunError, match="cut short: 50 bytes"):
        read_tensors(str(tmp_path / "t"))


def test_a_missing_file_is_an_error_of_kind_file(tmp_path):
    with pytest.raises(RunError) as caught:
        read_tensors(str(tmp_path / "nothing"))

    assert caught.value.kind == "file"


def test_no_sets_at_all_can_be_written_and_read(tmp_path):
    write_tensors(str(tmp_path / "t"), [])

    assert read_tensors(str(tmp_path / "t")) == []
