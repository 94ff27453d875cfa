"""Sources of every kind, made by the frameworks themselves in processes of their own, with their own outputs beside them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import child
from edgekit.ingest.contract import IngestOptions, ingest

KERAS_CODE = '''
import json, sys
import h5py, keras, numpy as np
from keras import layers

keras.utils.set_random_seed(0)
random = np.random.default_rng(7)

def keep(name, model, *inputs):
    outputs = keras.tree.flatten(model(inputs[0] if len(inputs) == 1 else list(inputs), training=False))
    np.savez(name, **{f"in{i}": a for i, a in enumerate(inputs)}, **{f"out{i}": np.asarray(a) for i, a in enumerate(outputs)})

def disturb(model):
    """Batch normalization with other statistics than zeros and ones."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])

cnn = keras.Sequential([
    layers.Input((28, 28, 1), name="picture"), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, strides=2, padding="same"),
    layers.BatchNormalization(), layers.ReLU(6.0), layers.DepthwiseConv2D(3, padding="same"), layers.BatchNormalization(), layers.ReLU(),
    layers.MaxPooling2D(), layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax", name="classes")])
disturb(cnn)
cnn.save("cnn.keras")
keep("cnn.npz", cnn, random.uniform(0, 255, (1, 28, 28, 1)).astype("float32"))

mlp = keras.Sequential([layers.Input((16,), name="features"), layers.Dense(32, activation="relu"), layers.Dense(3, name="scores")])
mlp.save("mlp.h5")
keep("mlp.npz", mlp, random.standard_normal((1, 16)).astype("float32"))

scale = layers.Normalization(mean=[100.0, 120.0, 140.0], variance=[4000.0, 5000.0, 6000.0])
normalized = keras.Sequential([layers.Input((8, 8, 3), name="image"), scale, layers.Flatten(), layers.Dense(2)])
normalized.save("normalized.keras")
keep("normalized.npz", normalized, random.uniform(0, 255, (1, 8, 8, 3)).astype("float32"))

image, extra = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="extra")
x = layers.Conv2D(3, 3, padding="same", activation="relu")(image)
x = layers.Add(name="sum")([x, image])
y = layers.Dense(2, name="head")(layers.Concatenate()([layers.Flatten()(x), extra]))
residual = keras.Model([image, extra], [x, y])
residual.save("residual.keras")
residual.export("residual", verbose=False)
keep("residual.npz", residual, random.standard_normal((1, 8, 8, 3)).astype("float32"), random.standard_normal((1, 4)).astype("float32"))

grouped = keras.Sequential([layers.Input((8, 8, 6), name="image"), layers.Conv2D(9, 3, groups=3, padding="same"), layers.Dense(2, name="head")])
grouped.save("grouped.keras")
keep("grouped.npz", grouped, random.standard_normal((1, 8, 8, 6)).astype("float32"))

for name, layer in {
    "lstm": layers.LSTM(5, return_sequences=True), "gru": layers.GRU(5), "gru_before": layers.GRU(5, reset_after=False),
    "plain": layers.SimpleRNN(5, go_backwards=True), "both": layers.Bidirectional(layers.LSTM(5, return_sequences=True, use_bias=False))}.items():
    recurrent = keras.Sequential([layers.Input((7, 3), name="rows"), layer, layers.Dense(2, name="scores")])
    for weights in recurrent.weights:
        weights.assign(random.normal(0, 0.7, weights.shape))
    recurrent.save(f"{name}.keras")
    keep(f"{name}.npz", recurrent, random.standard_normal((1, 7, 3)).astype("float32"))

open_size = keras.Sequential([layers.Input((None, None, 3), name="image"), layers.Conv2D(2, 3, name="map")])
open_size.save("open.keras")

keras.Sequential([layers.Input((4,)), layers.Lambda(lambda t: t * 2)]).save("lambda.keras")
mlp.save_weights("mlp.weights.h5")

depthwise = keras.Sequential([layers.Input((8, 8, 2)), layers.DepthwiseConv2D(3)])
depthwise.save("depthwise.h5")
keep("depthwise.npz", depthwise, random.standard_normal((1, 8, 8, 2)).astype("float32"))
with h5py.File("depthwise.h5", "r+") as file:  # as Keras 2 wrote it
    config = json.loads(file.attrs["model_config"])
    next(layer for layer in config["config"]["layers"] if layer["class_name"] == "DepthwiseConv2D")["config"]["groups"] = 1
    file.attrs["model_config"] = json.dumps(config)
'''

TORCH_CODE = '''
import io, sys, zipfile
sys.path.insert(0, ".")
import numpy as np, torch
from factory import make, Two

torch.set_num_threads(1)
torch.manual_seed(0)
net = make()
with torch.no_grad():
    for _ in range(3):
        net(torch.randn(4, 3, 16, 16))
torch.save(net.state_dict(), "training.pth")
batch = {"image": {0: torch.export.Dim("batch", min=1, max=8)}}
torch.export.save(torch.export.export(net.train(), (torch.zeros(2, 3, 16, 16),)), "training.pt2")
net.eval()
image = torch.randn(1, 3, 16, 16)
torch.save(net.state_dict(), "net.pth")
torch.save({"epoch": 3, "state_dict": {"module." + k: v for k, v in net.state_dict().items()}}, "checkpoint.pth")
torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=batch), "net.pt2")
np.savez("net.npz", in0=image, out0=net(image).detach())
two = Two().eval()
given = (torch.randn(1, 4), torch.randn(1, 4))
torch.export.save(torch.export.export(two, given), "two.pt2")
torch.save(net, "module.pth")
torch.jit.trace(net, image).save("script.pt")

class Evil:
    def __init__(self, code):
        self.code = code
    def __reduce__(self):
        return exec, (self.code,)

def evil(name, code):
    """net.pt2 whose example inputs are a pickle that runs code."""
    held = io.BytesIO()
    torch.save(Evil(code), held)
    with zipfile.ZipFile("net.pt2") as good, zipfile.ZipFile(name, "w") as bad:
        for entry in good.namelist():
            bad.writestr(entry, held.getvalue() if entry.endswith("sample_inputs/model.pt") else good.read(entry))

evil("writes.pt2", f"open({sys.argv[1]!r}, 'w').write('x')")
evil("connects.pt2", f"import socket; socket.create_connection(('127.0.0.1', {sys.argv[2]}), timeout=5)")
evil("shell.pt2", f"import os; os.system('touch {sys.argv[1]}')")
'''

FACTORY_CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.inner, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, image):
        x = torch.relu(self.norm(self.conv(image)))
        x = x + self.inner(x)
        return self.head(x.mean((2, 3)))

class Two(nn.Module):
    def forward(self, left, right):
        return {"sum": left + right, "difference": left - right}

def make():
    return Net()

def other():
    return nn.Linear(3, 4)

def number():
    return 3
"""


def made_by(code: str, folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with sources by Keras; NAME.npz holds inputs and Keras's own outputs."""
    folder = tmp_path_factory.mktemp("keras")
    made_by(KERAS_CODE, folder)
    return folder


@pytest.fixture(scope="session")
def listening() -> Iterator[socket.socket]:
    """A server on this machine that hostile files try to reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


@pytest.fixture(scope="session")
def torch_files(tmp_path_factory: pytest.TempPathFactory, listening: socket.socket) -> Path:
    """Folder with sources by torch; NAME.npz holds inputs and torch's own outputs. Hostile files aim at ``hit`` and ``listening``."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "factory.py").write_text(FACTORY_CODE)
    made_by(TORCH_CODE, folder, str(folder / "hit"), str(listening.getsockname()[1]))
    return folder


@pytest.fixture
def ingested(tmp_path: Path):
    """Ingests a source into a folder of its own."""

    def run(source: Path, *, samples=None, **options):
        out = tmp_path / f"{source.name}-out"
        out.mkdir()
        return ingest(source, options=IngestOptions(**options), out=out, samples=samples)

    return run


@pytest.fixture
def kept():
    """Inputs and outputs that a framework left in a file, in order."""

    def read(path: Path):
        with np.load(path) as held:
            return tuple([held[key] for key in sorted(held.files) if key.startswith(side)] for side in ("in", "out"))

    return read


@pytest.fixture
def needs_sandbox() -> None:
    if refusal := child.sandbox_refusal():
        pytest.skip(refusal)
