"""CONTRIBUTING.md and its neighbours fit the code as it stands: each example in them is run."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tomllib
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import onnx
import pytest

from edgekit import strict
from edgekit.engine.contract import Backend, read_engine
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.passes.contract import Supplies
from edgekit.recipe import Recipe
from edgekit.target import choose, read_target, unsourced
from edgekit.testing import check_pass

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


@pytest.fixture
def example(tmp_path: Path):
    """A Python file of the text, as a module."""

    def load(name: str) -> ModuleType:
        path = tmp_path / name
        path.write_text(FILES[name], encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"contributed_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def model(tmp_path: Path):
    def make(text: str) -> Model:
        folder = tmp_path / "model"
        folder.mkdir()
        proto = onnx_file.infer_shapes(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> net {text}'))
        proto.graph.node[0].doc_string = "made by hand"
        onnx_file.save(proto, folder)
        return seal_model(folder, signature_of(proto), ())

    return make


def test_the_target_loads_is_sourced_and_answers_to_its_alias(tmp_path, monkeypatch):
    shutil.copyfile(ROOT / "targets" / "aarch64.toml", tmp_path / "aarch64.toml")
    (tmp_path / "orange-pi-5.toml").write_text(FILES["orange-pi-5.toml"], encoding="utf-8")
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path))

    target = read_target(tmp_path / "orange-pi-5.toml")

    assert unsourced(target) == ()
    assert choose("opi5").target == target
    assert target.runtime("tflite").scheme.integer_ops


def test_the_pass_keeps_its_contract(example, model, tmp_path):
    made = check_pass(example("forget.py").Forget(), model("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }"), Supplies(), tmp_path)

    assert made.history[-1].did == {"forgotten": 1}


def test_the_step_of_the_recipe_is_one_that_a_recipe_may_have():
    block = re.search(r"^```toml\n(\[\[step\]\].*?)^```$", TEXT, re.MULTILINE | re.DOTALL).group(1)

    recipe = strict.convert({"schema": 1, "name": "mine", **tomllib.loads(block)}, Recipe, where="CONTRIBUTING.md")

    assert recipe.step == ({"pass": "forget", "metadata": False},)


def test_the_lowering_computes_what_onnx_computes(example, model, tmp_path, monkeypatch):
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.engine.tflite import TfliteBackend
    from edgekit.engine.tflite.lowering.table import LOWERINGS

    assert "BitwiseXor" not in LOWERINGS, "choose another example for CONTRIBUTING.md"
    monkeypatch.setitem(LOWERINGS, "BitwiseXor", example("xor_lowering.py").XOR)
    out = tmp_path / "out"
    out.mkdir()
    engine = TfliteBackend().compile(
        model("(int32[4] x, int32[4] z) => (int32[4] y) { y = BitwiseXor(x, z) }"), read_target(ROOT / "targets/aarch64.toml"), None, out
    )
    interpreter = Interpreter(str(out / engine.file))
    interpreter.allocate_tensors()
    for detail, numbers in zip(interpreter.get_input_details(), ([0, 5, 12, -1], [3, 1, 10, 0]), strict=True):
        interpreter.set_tensor(detail["index"], np.int32(numbers))
    interpreter.invoke()

    np.testing.assert_array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), np.int32([3, 4, 6, -1]))


def test_the_backend_writes_an_engine_and_refuses_what_it_says(example, model, tmp_path):
    backend: Backend = example("plain_backend.py").PlainBackend()
    out = tmp_path / "out"
    out.mkdir()
    target = read_target(ROOT / "targets" / "aarch64.toml")
    made = model("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")

    engine = backend.compile(made, target, None, out)

    assert backend.refusals(made, target) == ()
    assert read_engine(out) == engine
    assert (engine.sha256, engine.inputs[0].shape) == (made.sha256, (1, 4))
    assert list(backend.tools()) == ["edgekit"]


def test_the_device_puts_gets_and_runs(example, tmp_path):
    device = example("nice_device.py").NiceDevice("nice://")
    (tmp_path / "here").write_bytes(b"content")
    folder = device.workspace()
    try:
        device.push(tmp_path / "here", folder / "there")
        ran = device.run(["sh", "-c", f"nice; cat {folder / 'there'}"], timeout_s=10.0)
        device.pull(PurePosixPath(folder / "there"), tmp_path / "back")
    finally:
        device.close()

    assert (ran.status, ran.stdout) == (0, b"19\ncontent")
    assert (tmp_path / "back").read_bytes() == b"content"
    assert not Path(folder).exists()


def test_every_named_example_is_run_here():
    assert set(FILES) == {"orange-pi-5.toml", "forget.py", "bounded.py", "xor_lowering.py", "plain_backend.py", "nice_device.py"}


def test_every_file_that_the_text_names_is_there():
    named = set(re.findall(r"`((?:edgekit|targets|tests|tools|docker)/[\w/.-]+)`", TEXT))
    named |= set(re.findall(r"(?<= )(?:docker|tools)/[\w./-]+", TEXT))

    assert named
    assert all((ROOT / name).exists() for name in named if name != "targets/orange-pi-5.toml"), [name for name in named if not (ROOT / name).exists()]


def test_the_changelog_is_kept_in_the_usual_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)

    assert text.startswith("# Changelog\n")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == "Unreleased"
    assert kinds
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_commits_are_checked_with_the_tools_that_make_lint_uses():
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"), re.MULTILINE)

    assert hooks == ["ruff check --fix", "ruff format", "mypy", "lint-imports"]


def test_the_technique_is_trained_with(example):
    pytest.importorskip("torch")
    from edgekit.passes.learn import Material, Teacher, TrainOptions, fit

    def line(w):
        proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net (float[1,2] x) => (float[1,1] y) { y = MatMul(x, w) }')
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(w, np.float32), "w"))
        return onnx_file.infer_shapes(proto)

    student, teacher = line([[0.0], [0.0]]), line([[2.0], [0.1]])
    signature = signature_of(student)
    x = np.random.default_rng(0).normal(size=(32, 1, 2)).astype(np.float32)
    material = Material({"x": x}, np.full(32, -1), signature, (Teacher(teacher, signature, threads=1),))
    bounded = example("bounded.py").Bounded("w", 0.5)
    w = fit(student, material, TrainOptions(epochs=40, rate=0.05, threads=1), techniques=[bounded]).values["w"]

    assert abs(w[0, 0]) == pytest.approx(float(bounded.bound.detach()))
    assert 0.5 < w[0, 0] < 2.0  # the bound learned, slowly, to let more through
