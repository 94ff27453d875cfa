import numpy as np
import onnx
import pytest

from edgekit.graph.run import Runner
from edgekit.passes.contract import Supplies
from edgekit.passes.equalize import Equalize


@pytest.fixture
def equalize(tmp_path):
    """Equalize a Model; the new Model, which ONNX's checker accepts."""
    made = []

    def make(model, samples, **options):
        out = tmp_path / f"equalized{len(made)}"
        made.append(out)
        out.mkdir()
        result = Equalize(**options)(model, Supplies(samples=samples), out)
        onnx.checker.check_model(str(result.path), full_check=True)
        return result

    return make


@pytest.fixture
def constants():
    """Initializers of a Model by name."""

    def of(model):
        return {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(model.path).graph.initializer}

    return of


@pytest.fixture
def sizes():
    """The largest size of each channel of an inner tensor of a Model, over some inputs."""

    def of(model, tensor, feeds, axis=1):
        runner = Runner(model.path, outputs=[tensor])
        values = np.stack([runner(feed)[tensor] for feed in feeds])
        return np.abs(np.moveaxis(values, axis + 1, 0)).reshape(values.shape[axis + 1], -1).max(axis=1)

    return of


@pytest.fixture
def assert_same_outputs(run):
    """Outputs of two Models differ by 1e-4 of the largest at most."""

    def check(one, other, feeds):
        for feed in feeds:
            for left, right in zip(run(one, **feed), run(other, **feed), strict=True):
                np.testing.assert_allclose(right, left, rtol=1e-4, atol=1e-4 * float(np.abs(left).max()))

    return check
