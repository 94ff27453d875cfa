"""Recipes with steps of compression, from the request to the report."""

import sys
import zlib

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import PlanError, UsageError
from edgekit.pipeline import rehearse, run
from edgekit.plan import Request, check
from edgekit.report.words import size
from edgekit.watch import Silent

CLUSTER = """schema = 1
name = "few"
[[step]]
pass = "cluster"
"""


class Told(Silent):
    """Knows what was begun."""

    def __init__(self):
        self.began = []

    def begin(self, what, total=None):
        self.began.append(what)


@pytest.fixture
def project(tmp_path):
    drawn = np.random.default_rng(0)
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> net (float[1,64] x) => (float[1,8] y) { h = Gemm(x, w)  r = Relu(h)  y = Gemm(r, v) }'
    )
    for name, shape in (("w", (64, 128)), ("v", (128, 8))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(drawn.normal(size=shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    (tmp_path / "few.toml").write_text(CLUSTER)
    return tmp_path


@pytest.fixture
def without(monkeypatch):
    """A Python in which a package is not installed, as far as anybody asks for it."""

    class Hiding:
        def __init__(self, inner, hidden):
            self._inner, self._hidden = inner, hidden

        def find_spec(self, name, path=None, target=None):
            return None if name == self._hidden else self._inner.find_spec(name, path, target)

    def hide(package):
        monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Hiding(one, package) for one in sys.meta_path])

    return hide


def test_the_report_says_how_large_the_engine_is_as_a_zip(project, store):
    report = edgekit.build(
        project / "net.onnx", target="x86-64-avx2", recipe=str(project / "few.toml"), out=project / "out", bench=False, store=store
    )

    entry = report.engines[0]
    content = (project / "out" / entry.path).read_bytes()
    assert entry.bytes == len(content)
    assert entry.compressed_bytes == len(zlib.compress(content, 9)) < entry.bytes / 3
    assert report.references[0].compressed_bytes is None
    assert f"({size(entry.compressed_bytes)} as zip)" in (project / "out" / "report.md").read_text()


def test_the_plan_says_what_comes_of_it(project):
    plan = check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml")))

    said = next(line for line in plan.remarks if "step 1 (cluster)" in line)
    assert said.endswith("shared values make engines of this runtime no faster, only smaller once they are compressed (zip)")


def test_the_plan_refuses_what_comes_too_late(project):
    (project / "few.toml").write_text(CLUSTER + '[[step]]\npass = "factorize"\n')

    with pytest.raises((PlanError, UsageError)) as caught:
        check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml")))

    assert "step 2 (factorize): belongs before step 1 (cluster)" in str(caught.value)


PRUNED = """schema = 1
name = "thin"
[[step]]
pass = "prune"
kind = "unstructured"
ratio = 0.75
"""


def test_the_report_says_what_each_step_made_of_work_zeros_size_and_fidelity(project, store, arrays):
    (project / "thin.toml").write_text(PRUNED)
    samples = arrays("x", (64,))

    report = edgekit.build(
        project / "net.onnx", target="x86-64-avx2", recipe=str(project / "thin.toml"), samples=samples, out=project / "out", bench=False, store=store
    )

    before, after = report.stages
    assert [(stage.after, stage.target) for stage in report.stages] == [("", "x86-64-avx2-onnxruntime"), ("prune", "x86-64-avx2-onnxruntime")]
    assert (before.parameters, before.macs) == (64 * 128 + 128 * 8, 64 * 128 + 128 * 8)
    assert (before.zeros, after.zeros) == (0.0, pytest.approx(0.75, abs=0.01))
    assert (before.sqnr_db, before.samples) == (None, after.samples)  # equal to itself, bit for bit
    assert after.zip_bytes < before.zip_bytes / 2
    assert after.sqnr_db == pytest.approx(report.engines[0].fidelity.sqnr_db, abs=0.1)
    text = (project / "out" / "report.md").read_text()
    assert "## Compression" in text
    assert f"| prune | 9,216 | 9,216 | 75.0 % | {size(after.zip_bytes)} |" in text
    assert ">Compression</h2>" in (project / "out" / "report.html").read_text()


def test_a_recipe_that_compresses_nothing_has_no_such_table(project, store):
    report = edgekit.build(project / "net.onnx", target="x86-64-avx2", recipe="float", out=project / "out", bench=False, store=store)

    assert report.stages == ()
    assert "## Compression" not in (project / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("finetune.trainer", "step 2 (finetune): trainer = mine: not installed as an entry point of edgekit.trainers"),
        ("finetune.loss", "step 2 (finetune): loss = mine: not installed as an entry point of edgekit.losses"),
    ],
)
@pytest.mark.torch
def test_the_plan_names_a_loop_or_a_loss_that_nobody_installed(project, option, said):
    pytest.importorskip("torch")
    step, field = option.split(".")

    with pytest.raises(PlanError) as caught:
        check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe="lowrank50", settings={step: {field: "mine"}}))

    assert said in str(caught.value)


@pytest.mark.parametrize("recipe", ["prune50", "cluster4bit", "ternary", "qat_wi8_ai8"])
def test_the_plan_asks_for_torch_before_anything_runs(project, recipe, without):
    without("torch")

    with pytest.raises(PlanError, match=r"needs the package torch, which is not installed: pip install 'edgekit\[torch\]'"):
        check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=recipe))


def test_the_plan_names_the_values_that_an_option_takes(project):
    (project / "odd.toml").write_text(PRUNED.replace("unstructured", "odd"))

    with pytest.raises(PlanError) as caught:
        check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "odd.toml")))

    assert "step 1 (prune): Invalid enum value 'odd' - at `$.kind`; it takes structured, unstructured, 2:4, soft" in str(caught.value)


TWICE = CLUSTER + '[[step]]\npass = "cluster"\nbits = 2\n'


def test_the_plan_refuses_what_would_have_nothing_to_do(project):
    (project / "few.toml").write_text(TWICE)

    with pytest.raises(PlanError, match=r"step 2 \(cluster\): has nothing to do behind step 1 \(cluster\)"):
        check(Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml")))


def test_what_is_set_for_a_step_counts_when_it_is_judged(project):
    (project / "few.toml").write_text(TWICE)
    request = Request(
        source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml"), settings={"cluster": {"keep": ["Gemm"]}}
    )

    assert [step.name for step in check(request).steps] == ["cluster", "cluster"]


def test_a_second_step_takes_the_layers_that_the_first_left(project, store):
    """The layer of 64 x 128 has 16 values, that of 128 x 8 four."""
    proto = onnx.load(project / "net.onnx")
    for node, name in zip(proto.graph.node, ("wide", "act", "head"), strict=True):
        node.name = name
    onnx.save(proto, project / "net.onnx")
    (project / "few.toml").write_text(CLUSTER + 'keep = ["head"]\n[[step]]\npass = "cluster"\nbits = 2\n')

    report = edgekit.build(
        project / "net.onnx", target="x86-64-avx2", recipe=str(project / "few.toml"), out=project / "out", bench=False, store=store
    )

    weights = [onnx.numpy_helper.to_array(one) for one in onnx.load(project / "out" / report.engines[0].path).graph.initializer if len(one.dims) == 2]
    assert sorted(len(np.unique(one)) for one in weights) == [4, 16]


@pytest.mark.parametrize("call", ["plan", "build"])
def test_a_name_that_no_node_has_is_told_before_any_step_runs(project, store, call, arrays):
    (project / "few.toml").write_text(CLUSTER + 'keep = ["/head/*"]\n[[step]]\npass = "quantize"\nkeep_float = ["Sofmax"]\n')
    request = Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml"), samples=arrays("x", (64,)))
    told = Told()

    with pytest.raises(PlanError) as caught:
        rehearse(request, store=store, watcher=told) if call == "plan" else run(request, out=project / "out", store=store, watcher=told)

    assert [fault.partition(";")[0] for fault in caught.value.faults] == [
        "step 1 (cluster): keep: no node is called /head/*",
        "step 2 (quantize): keep_float: no node is called Sofmax",
    ]
    assert not {"cluster", "quantize"} & set(told.began)


def test_a_name_that_no_node_has_behind_new_nodes_is_told_once_these_are_there(project, store):
    """Factorize makes nodes, so that nobody knows before; the step between would run for nothing."""
    steps = '[[step]]\npass = "factorize"\n[[step]]\npass = "cluster"\n[[step]]\npass = "quantize"\nmode = "weight_only"\nkeep_float = ["Sofmax"]\n'
    (project / "few.toml").write_text('schema = 1\nname = "few"\n' + steps)
    told = Told()

    with pytest.raises(PlanError) as caught:
        run(
            Request(source=project / "net.onnx", targets=("x86-64-avx2",), recipe=str(project / "few.toml")),
            out=project / "out",
            store=store,
            watcher=told,
        )

    assert [fault.partition(";")[0] for fault in caught.value.faults] == ["step 3 (quantize): keep_float: no node is called Sofmax"]
    assert "factorize" in told.began
    assert "cluster" not in told.began
