"""TFLite files beside one another; each is made of one small graph, once as it is and once changed by hand."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.engine.tflite import TfliteBackend
from edgekit.errors import SourceError, UsageError
from edgekit.model import Signature, Tensor, seal_model
from edgekit.pipeline import compare_files
from edgekit.target import Runtime, Target

WEIGHTS = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
NET = "c = Conv<pads=[1,1,1,1]>(picture, w) r = Relu(c) g = GlobalAveragePool(r) classes = Flatten(g)"


@pytest.fixture
def tflite(tmp_path):
    """``tflite("a", weights, size=8)``: a file of its own, with no record beside it."""

    def make(name, weights=WEIGHTS, *, size=8, text=NET, outputs=("classes",), **options):
        proto = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,{size},{size}] picture) => ({", ".join(outputs)}) {{ {text} }}'
        )
        proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        folder = tmp_path / f"made-{name}"
        for part in ("model", "engine"):
            (folder / part).mkdir(parents=True)
        onnx.save(proto, folder / "model" / "model.onnx")
        ports = tuple(Tensor(one, "float32", (1, 5)) for one in outputs)
        model = seal_model(folder / "model", Signature((Tensor("picture", "float32", (1, 3, size, size), "nchw"),), ports), ())
        board = Target(schema=1, name="board", arch="x86_64", runtimes=(Runtime("tflite", options=options),), sources={})
        TfliteBackend().compile(model, board, None, folder / "engine")
        return shutil.copyfile(folder / "engine" / "model.tflite", tmp_path / f"{name}.tflite")

    return make


def test_what_is_in_the_files_is_counted_without_running_them(tflite):
    one = tflite("one")
    other = tflite("other", text=NET.replace("r = Relu(c)", "r = Sigmoid(c)"))

    first, second = compare_files([one, other]).files

    assert (first.operators, second.operators) == (
        {"CONV_2D": 1, "MEAN": 1},
        {"CONV_2D": 1, "LOGISTIC": 1, "MEAN": 1},
    )
    assert (first.parameters, first.macs) == (5 * 3 * 9 + 5, 5 * 8 * 8 * 3 * 9)
    assert first.fidelity is None
    assert first.bytes == one.stat().st_size


def test_operators_that_differ_come_first(tflite):
    beside = compare_files([tflite("one"), tflite("other", text=NET.replace("r = Relu(c)", "r = Sigmoid(c)"))])

    operators = [row for row in beside.structure if row[0].isupper()]
    assert operators == [("LOGISTIC", "0", "1"), ("CONV_2D", "1", "1"), ("MEAN", "1", "1")]
    assert beside.columns[0] == ""
    assert beside.results == ()


def test_a_file_gives_what_itself_gives(tflite):
    one = tflite("one")

    _, second = compare_files([one, shutil.copyfile(one, one.with_name("copy.tflite"))], seed=1).files
    assert second.fidelity.sqnr_db is None
    assert (second.fidelity.max_abs, second.fidelity.samples) == (0.0, 16)


def test_outputs_a_tenth_larger_differ_by_twenty_decibels(tflite):
    # Without a bias, ReLU and mean are homogeneous: all outputs are 1.1 times the first's, 10 log10(1 / 0.1^2) = 20 dB.
    _, second = compare_files([tflite("one"), tflite("other", WEIGHTS * np.float32(1.1))], seed=1).files

    assert second.fidelity.sqnr_db == pytest.approx(20.0, abs=0.001)
    assert second.fidelity.top1_agreement == 1.0


def test_a_file_with_its_channels_elsewhere_is_turned_and_that_is_said(tflite):
    one, other = tflite("one"), tflite("other", io_layout="nchw")

    beside = compare_files([one, other], seed=1)
    assert beside.files[1].fidelity.sqnr_db is None or beside.files[1].fidelity.sqnr_db > 100
    assert beside.notes == (f"{other}: picture has its channels elsewhere, and was turned",)


def test_samples_are_what_judges(tflite, tmp_path):
    (tmp_path / "samples").mkdir()
    for index in range(6):
        np.savez(tmp_path / "samples" / f"{index}.npz", picture=np.full((1, 8, 8, 3), index, np.float32))

    _, second = compare_files([tflite("one"), tflite("other", WEIGHTS * np.float32(1.1))], samples=tmp_path / "samples").files
    assert second.fidelity.samples == 3
    assert second.fidelity.sqnr_db == pytest.approx(20.0, abs=0.001)


def test_times_are_taken_in_turn_and_compared(tflite):
    one = tflite("one")
    load = {"load": {"min_queries": 60, "min_duration_s": 0.0, "warmup_s": 0.0}}

    beside = compare_files([one, shutil.copyfile(one, one.with_name("copy.tflite"))], latency=True, settings=load)
    first, second = beside.files
    assert first.p50_ms > 0
    assert second.latency is not None or second.latency_reason
    assert [row[0] for row in beside.results] == ["p50 ms", "times the first", "latency"]


def test_other_shapes_are_refused_in_one_line_and_only_where_files_are_run(tflite):
    one, other = tflite("one"), tflite("other", size=6)

    assert len(compare_files([one, other]).files) == 2
    with pytest.raises(UsageError, match=r"inputs: picture is float32 1x6x6x3, picture of the first file float32 1x8x8x3$") as caught:
        compare_files([one, other], seed=0)
    assert caught.value.hint == "leave out --samples, --seed and --latency to compare what is in the files"


def test_another_number_of_outputs_is_refused(tflite):
    one, other = tflite("one"), tflite("other", text=f"{NET} more = Relu(classes)", outputs=("classes", "more"))

    with pytest.raises(UsageError, match=r"other.tflite: outputs: 2, the first file has 1$"):
        compare_files([one, other], latency=True)


def test_one_file_is_nothing_to_compare(tflite):
    with pytest.raises(UsageError, match="one TFLite file is nothing to compare"):
        compare_files([tflite("one")])


def test_what_is_no_tflite_file_is_said(tflite, tmp_path):
    (tmp_path / "text.tflite").write_text("no model")

    with pytest.raises(SourceError, match=r"text\.tflite: no TFLite file"):
        compare_files([tflite("one"), tmp_path / "text.tflite"])


def test_only_the_load_can_be_set(tflite):
    with pytest.raises(UsageError, match=r"--set quantize.…: compare has only load"):
        compare_files([tflite("one")], settings={"quantize": {"observer": "minmax"}})
