"""Small networks, quantized for an Ethos-U and compiled by Vela."""

import importlib.util
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.engine.ethos_u import EthosUBackend
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.samples import read_samples
from edgekit.target import read_target

TARGETS = Path(__file__).resolve().parents[3] / "targets"


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("ethosu") is None:
        for item in items:
            if "vela" in item.fixturenames and item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="needs the extra ethos-u"))


@pytest.fixture
def vela():
    """Says that a test needs Vela."""


@pytest.fixture
def target():
    """A target that ships, with other options where these are given."""

    def get(name="ethos-u55-128", **options):
        found = read_target(TARGETS / f"{name}.toml")
        runtime = found.runtime("ethos-u")
        return msgspec.structs.replace(found, runtimes=(msgspec.structs.replace(runtime, options={**runtime.options, **options}),))

    return get


@pytest.fixture
def floats(tmp_path):
    """A Model of an ONNX graph of x (1x8x16x16) as text, its constants random numbers of these shapes."""

    def make(body, **shapes):
        text = f'<ir_version: 10, opset_import: ["" : 21]> net (float[1,8,16,16] x) => (float[a,b,c,d] y) {{ {body} }}'
        proto = onnx.parser.parse_model(text)
        for number, node in enumerate(proto.graph.node):
            node.name = f"{node.op_type}_{number}"
        random = np.random.default_rng(1)
        for name, shape in shapes.items():
            array = random.standard_normal(shape).astype(np.float32) if isinstance(shape, tuple) else np.asarray(shape)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        folder = tmp_path / f"float-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        onnx_file.save(onnx_file.infer_shapes(proto), folder)
        return seal_model(folder, signature_of(onnx_file.load(folder / "model.onnx")), ())

    return make


@pytest.fixture
def quantized(floats, target, tmp_path):
    """The same in int8."""

    def make(body, *, keep_float=(), **shapes):
        model = floats(body, **shapes)
        samples = tmp_path / "samples"
        samples.mkdir(exist_ok=True)
        for index in range(3):
            np.savez(samples / f"{index}.npz", x=np.random.default_rng(index).standard_normal((1, 8, 16, 16)).astype(np.float32))
        out = tmp_path / f"quantized-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        supplies = Supplies(samples=read_samples(samples), scheme=target().runtime("ethos-u").scheme)
        return Quantize(observer="minmax", correct_bias=False, keep_float=keep_float)(model, supplies, out)

    return make


@pytest.fixture
def compiled(target, tmp_path):
    """An engine and its folder."""

    def make(model, name="ethos-u55-128", **options):
        out = tmp_path / f"engine-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        return EthosUBackend().compile(model, target(name, **options), None, out), out

    return make
