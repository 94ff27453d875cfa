import sys

import numpy as np
import onnxruntime
import pytest

from edgekit.errors import ChildError, EdgekitError, SourceError, UsageError

pytestmark = pytest.mark.torch

SHAPE = {"": (1, 3, 16, 16)}


def agrees(model, inputs, outputs):
    session = onnxruntime.InferenceSession(model.path)
    got = session.run(None, dict(zip([value.name for value in session.get_inputs()], inputs, strict=True)))
    for one, other in zip(got, outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_an_exported_program_keeps_its_inputs_and_an_open_batch_becomes_one(torch_files, ingested, kept, needs_sandbox):
    was_imported = "torch" in sys.modules
    model = ingested(torch_files / "net.pt2")
    assert ("torch" in sys.modules) == was_imported
    agrees(model, *kept(torch_files / "net.npz"))
    assert [(tensor.name, tensor.shape, tensor.layout) for tensor in model.signature.inputs] == [("image", (1, 3, 16, 16), "nchw")]
    assert [(tensor.name, tensor.shape) for tensor in model.signature.outputs] == [("output", (1, 5))]
    step = model.history[0]
    assert (step.did["format"], step.did["parity_samples"]) == ("PyTorch ExportedProgram", 2)
    assert step.did["parity_sqnr_db"] > 90


@pytest.mark.slow
def test_outputs_in_a_dictionary_keep_their_names(torch_files, ingested, needs_sandbox):
    model = ingested(torch_files / "two.pt2")
    assert [tensor.name for tensor in model.signature.inputs] == ["left", "right"]
    assert [tensor.name for tensor in model.signature.outputs] == ["sum", "difference"]


@pytest.mark.parametrize("name", ["net.pth", pytest.param("checkpoint.pth", marks=pytest.mark.slow)])
def test_a_state_dict_becomes_a_network_by_its_factory_in_evaluation_mode(torch_files, ingested, kept, name):
    model = ingested(torch_files / name, factory=str(torch_files / "factory.py:make"), shape=SHAPE)
    agrees(model, *kept(torch_files / "net.npz"))


@pytest.mark.slow
def test_a_size_can_be_kept_open(torch_files, ingested):
    model = ingested(torch_files / "net.pth", factory=str(torch_files / "factory.py:make"), shape={"image": ("batch", 3, 16, "width")})
    assert model.signature.inputs[0].shape == ("batch", 3, 16, "width")
    session = onnxruntime.InferenceSession(model.path)
    assert session.run(None, {"image": np.zeros((3, 3, 16, 40), np.float32)})[0].shape == (3, 5)


@pytest.mark.parametrize(
    ("function", "shape", "error", "said"),
    [
        ("make", {}, UsageError, "input image has no shape"),
        ("other", SHAPE, SourceError, "missing weight, bias; unexpected conv.weight, conv.bias, norm.weight and"),
        ("nothing", SHAPE, UsageError, "has no function nothing"),
        ("number", SHAPE, UsageError, "it returns int"),
        pytest.param("make", {"": (1, 4, 16, 16)}, SourceError, "torch.export cannot trace it", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(torch_files, ingested, function, shape, error, said):
    with pytest.raises(error) as caught:
        ingested(torch_files / "net.pth", factory=str(torch_files / f"factory.py:{function}"), shape=shape)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_factory_file_that_is_not_there_is_named(torch_files, ingested):
    with pytest.raises(UsageError, match=r"nowhere\.py:make: no such file"):
        ingested(torch_files / "net.pth", factory="nowhere.py:make", shape=SHAPE)


def test_a_program_exported_in_training_mode_is_refused(torch_files, ingested, needs_sandbox):
    with pytest.raises(SourceError, match="exported in training mode") as caught:
        ingested(torch_files / "training.pt2")
    assert "model.eval()" in caught.value.hint


@pytest.mark.parametrize(("name", "said"), [("module.pth", "factory.Net"), ("script.pt", "TorchScript")])
def test_modules_that_only_code_can_open_are_refused(torch_files, ingested, name, said):
    with pytest.raises(SourceError, match=said):
        ingested(torch_files / name)


@pytest.mark.parametrize("name", ["writes.pt2", "shell.pt2"])
def test_a_hostile_file_cannot_write_outside_nor_run_a_shell(torch_files, ingested, needs_sandbox, name):
    with pytest.raises(EdgekitError) as caught:
        ingested(torch_files / name)
    assert not (torch_files / "hit").exists()
    assert caught.value.message.startswith(str(torch_files / name))
    assert "\n" not in caught.value.message


def test_a_hostile_file_cannot_reach_the_network(torch_files, ingested, listening, needs_sandbox):
    with pytest.raises(EdgekitError) as caught:
        ingested(torch_files / "connects.pt2")
    with pytest.raises(TimeoutError):
        listening.accept()
    assert "\n" not in caught.value.message


@pytest.mark.slow
def test_the_same_hostile_files_do_their_work_where_they_are_trusted(torch_files, ingested, listening):
    for name in ("writes.pt2", "connects.pt2"):
        with pytest.raises((ChildError, SourceError)):
            ingested(torch_files / name, trust=True)
    assert (torch_files / "hit").exists()
    (torch_files / "hit").unlink()
    listening.accept()[0].close()
