import numpy as np
import onnxruntime
import pytest

from edgekit.errors import SourceError, UsageError
from edgekit.ingest.contract import IngestOptions
from edgekit.ingest.live import ingest_live

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, while they are imported


@pytest.fixture
def network():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)

        def forward(self, features, shift):
            return self.head(self.norm(features)) + shift

    return Net()


def run(model, **feed):
    return onnxruntime.InferenceSession(model.path).run(None, feed)[0]


@pytest.mark.torch
def test_a_live_module_is_exported_in_evaluation_mode_and_left_in_training_mode(network, tmp_path, capfd):
    import torch

    example = (torch.randn(3, 4), torch.randn(3, 2))
    model = ingest_live(network, out=tmp_path, example=example)
    assert capfd.readouterr() == ("", "")
    assert network.training
    wanted = network.eval()(*example).detach().numpy()
    np.testing.assert_allclose(run(model, features=example[0].numpy(), shift=example[1].numpy()), wanted, rtol=1e-4, atol=1e-6)
    assert [tensor.shape for tensor in model.signature.inputs] == [(3, 4), (3, 2)]
    assert model.history[0].did["format"] == "torch.nn.Module"


@pytest.mark.torch
def test_a_live_module_without_example_or_shape_is_asked_for_them(network, tmp_path):
    with pytest.raises(UsageError, match="Net: sizes are missing: input features has no shape; input shift has no shape"):
        ingest_live(network, out=tmp_path)


@pytest.mark.torch
def test_a_network_that_draws_random_numbers_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    class Noisy(torch.nn.Module):
        def forward(self, image):
            return image + torch.rand_like(image)

    with pytest.raises(SourceError, match="Noisy: output output is another when the source is run again"):
        ingest_live(Noisy(), out=tmp_path, example=torch.zeros(1, 4))


@pytest.mark.torch
def test_an_example_by_wrong_names_is_refused(network, tmp_path):
    with pytest.raises(UsageError, match="no such input: shif"):
        ingest_live(network, out=tmp_path, example={"shif": np.zeros((1, 2), np.float32)})


@pytest.mark.keras
@pytest.mark.slow
def test_a_live_keras_model_with_a_layer_of_its_own_is_exported(tmp_path):
    keras = pytest.importorskip("keras")

    class Twice(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    live = keras.Sequential([keras.layers.Input((None, 3), name="rows"), Twice(), keras.layers.Dense(2, name="out")])
    given = np.random.default_rng(0).standard_normal((1, 5, 3)).astype(np.float32)
    model = ingest_live(live, out=tmp_path, options=IngestOptions(shape={"rows": (1, 5, 3)}))
    np.testing.assert_allclose(run(model, rows=given), np.asarray(live(given)), rtol=1e-4, atol=1e-6)
    assert model.signature.outputs[0].name == "out"


@pytest.mark.keras
@pytest.mark.slow
def test_a_live_keras_model_without_inputs_is_told_how_to_get_them(tmp_path):
    keras = pytest.importorskip("keras")
    with pytest.raises(SourceError, match="Sequential: this Keras model does not say what its inputs are"):
        ingest_live(keras.Sequential([keras.layers.Dense(2)]), out=tmp_path)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="dict is no model"):
        ingest_live({}, out=tmp_path)
