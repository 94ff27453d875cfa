"""What compression gave weights is there after training, too."""

import numpy as np
import onnx
import pytest

from edgekit.graph.structure import Structure, structures
from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.contract import Supplies
from edgekit.passes.learn.finetune import Finetune

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

NETWORK = """net (float[1,6] x) => (float[1,3] y) {
    a = Gemm<transB = 1>(x, w, b)  r = Relu(a)  y = Gemm(r, v, c) }"""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def held(model, name):
    return next(onnx.numpy_helper.to_array(one) for one in onnx.load(model.path).graph.initializer if one.name == name)


@pytest.mark.parametrize("scope", ["layer", "scaled"])
def test_finetuning_moves_shared_values_together(model_of, samples_of, run, tmp_path, scope):
    model = model_of(NETWORK, w=normal(16, 6), b=normal(16), v=normal(16, 3, seed=1) * np.array([0.1, 1.0, 10.0], np.float32), c=normal(3))
    samples, seen = samples_of(x=normal(129, 1, 6, seed=2)), normal(40, 1, 6, seed=3)
    folders = [tmp_path / name for name in ("clustered", "tuned")]
    for folder in folders:
        folder.mkdir()

    clustered = Cluster(bits=2, scope=scope, rounding="nearest")(model, Supplies(), folders[0])
    tune = Finetune(epochs=20, rate=0.01, threads=1, outputs="values", held_out=0.2)
    tuned = tune(clustered, Supplies(samples=samples, teacher=model), folders[1])

    errors = [np.mean([np.square(run(one, x=x)[0] - run(model, x=x)[0]).mean() for x in seen]) for one in (clustered, tuned)]
    assert errors[1] < 0.8 * errors[0]
    for name, axis in (("w", 0), ("v", 1)):
        before, after = (np.moveaxis(held(one, name), axis, 0) for one in (clustered, tuned))
        assert not np.array_equal(before, after)
        if scope == "layer":
            assert len(np.unique(after)) == 4
        else:
            unit = (after / np.abs(after).max(axis=1, keepdims=True)).round(5)
            assert len(np.unique(unit)) == 4
            assert {unit.min(), unit.max()} == {-1.0, 1.0}


def test_signs_of_some_layers_and_shared_values_of_others_both_stay(model_of, samples_of, run, tmp_path):
    """Each step takes the layer that the other leaves, in either order, and training keeps what both gave."""
    model = model_of(NETWORK, w=normal(16, 6), b=normal(16), v=normal(16, 3, seed=1), c=normal(3))
    samples, made = samples_of(x=normal(65, 1, 6, seed=2)), []
    for order in ((Cluster(bits=2, keep=("Gemm_2",)), Binarize(keep_ends=False)), (Binarize(keep_ends=False, keep=("Gemm_0",)), Cluster(bits=2))):
        now = model
        for step in (*order, Finetune(epochs=3, threads=1, outputs="values")):
            folder = tmp_path / f"{len(made)}"
            folder.mkdir()
            now = step(now, Supplies(samples=samples, teacher=model), folder)
            made.append(now)

        assert structures(onnx.load(now.path)) == {"w": Structure("codebook"), "v": Structure("ternary", axis=1)}
        assert len(np.unique(held(now, "w"))) == 4
        assert all(len(np.unique(np.abs(row[row != 0.0]))) == 1 for row in held(now, "v").T)


def test_a_zero_that_is_shared_stays_zero(model_of, samples_of, tmp_path):
    weight = normal(16, 6)
    weight[::2] *= np.abs(weight[::2]) > 0.8
    model = model_of(NETWORK, w=weight, b=normal(16), v=normal(16, 3, seed=1), c=normal(3))
    folders = [tmp_path / name for name in ("clustered", "tuned")]
    for folder in folders:
        folder.mkdir()

    clustered = Cluster(bits=3, scope="scaled")(model, Supplies(), folders[0])
    tuned = Finetune(epochs=3, threads=1, outputs="values")(clustered, Supplies(samples=samples_of(x=normal(20, 1, 6)), teacher=model), folders[1])

    assert np.all(held(tuned, "w")[weight == 0.0] == 0.0)
    assert structures(onnx.load(tuned.path))["w"] == Structure("codebook", axis=0, is_scaled=True)
