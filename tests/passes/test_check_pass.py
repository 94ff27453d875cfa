from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import msgspec
import onnx
import pytest

from edgekit.graph.onnx_file import load, save
from edgekit.graph.signature import signature_of
from edgekit.model import Signature, Step, seal_model
from edgekit.passes.contract import Supplies
from edgekit.testing import check_pass

COUNTED = []


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A pass that changes nothing, with one fault if wished."""

    needs: ClassVar = frozenset()

    fault: str = ""

    def __call__(self, model, supplies, out):
        proto = load(model.path)
        if self.fault == "changes its input":
            model.path.write_bytes(b"")
        if self.fault == "writes elsewhere":
            Path("left-over.txt").write_text("here")
        if self.fault == "never the same":
            COUNTED.append(1)
            proto.doc_string = str(len(COUNTED))
        save(proto, out)
        signature = model.signature
        if self.fault == "renames":
            signature = Signature(tuple(msgspec.structs.replace(tensor, name="z") for tensor in signature.inputs), signature.outputs)
        history = () if self.fault == "forgets" else (*model.history, Step("copy", options=asdict(self), tools=self.tools()))
        sealed = seal_model(out, signature, history)
        if self.fault == "changes after sealing":
            sealed.path.write_bytes(sealed.path.read_bytes() + b"\x00")
        return sealed

    def tools(self):
        return {"copy": "1"}


@pytest.fixture
def model(tmp_path):
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net (float[2] x) => (float[2] y) { y = Relu(x) }')
    folder = tmp_path / "model"
    folder.mkdir()
    save(proto, folder)
    return seal_model(folder, signature_of(proto), ())


@pytest.fixture
def tmp(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_a_pass_that_keeps_the_contract_is_let_through(model, tmp):
    result = check_pass(Copy(), model, Supplies(), tmp)
    assert result.sha256 == model.sha256
    assert [step.name for step in result.history] == ["copy"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("changes its input", "input was changed"),
        ("writes elsewhere", "outside the folder"),
        ("never the same", "other bytes"),
        ("renames", "names changed"),
        ("forgets", "one step"),
        ("changes after sealing", "sha256"),
    ],
)
def test_a_pass_that_breaks_the_contract_is_told_how(model, tmp, fault, said):
    with pytest.raises(AssertionError, match=said):
        check_pass(replace(Copy(), fault=fault), model, Supplies(), tmp)


def test_what_is_no_dataclass_is_no_pass(model, tmp):
    class Plain:
        needs = frozenset()

    with pytest.raises(AssertionError, match="dataclass"):
        check_pass(Plain(), model, Supplies(), tmp)
