import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.graph.structure import Structure, set_structures, structures
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.contract import Supplies
from edgekit.testing import check_pass

CONVOLUTION = "net (float[1,4,6,6] x) => (float[1,8,4,4] y) { y = Conv(x, w, b) }"
DENSE = "net (float[1,16] x) => (float[1,10] y) { y = Gemm<transB = 1, alpha = 2.0>(x, w, b) }"


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def cluster(tmp_path):
    """Cluster a Model; its new proto, which ONNX's checker accepts, and what the step says."""

    def make(model, samples=None, **options):
        out = tmp_path / "clustered"
        out.mkdir()
        made = Cluster(**options)(model, Supplies(samples=samples), out)
        onnx.checker.check_model(str(made.path), full_check=True)
        return onnx.load(made.path), made.history[-1].did

    return make


def held(proto, name):
    return next(onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == name)


@pytest.mark.parametrize("bits", [2, 4])
def test_all_weights_of_a_layer_share_a_few_values(model_of, cluster, bits):
    proto, did = cluster(model_of(CONVOLUTION, w=normal(8, 4, 3, 3), b=normal(8)), bits=bits)

    assert len(np.unique(held(proto, "w"))) == 2**bits
    assert structures(proto) == {"w": Structure("codebook")}
    assert did["entries"] == 2**bits


def test_each_channel_has_values_of_its_own(model_of, cluster):
    proto, _ = cluster(model_of(CONVOLUTION, w=normal(8, 4, 3, 3), b=normal(8)), bits=2, scope="channel")

    assert [len(np.unique(channel)) for channel in held(proto, "w")] == [4] * 8
    assert structures(proto) == {"w": Structure("codebook", axis=0)}


def test_channels_of_different_size_share_one_codebook_up_to_a_factor(model_of, cluster):
    weight = normal(8, 4, 3, 3) * 10.0 ** np.arange(-4, 4, dtype=np.float32)[:, None, None, None]

    proto, _ = cluster(model_of(CONVOLUTION, w=weight, b=normal(8)), bits=4, scope="scaled")

    found = held(proto, "w").reshape(8, -1)
    unit = found / np.abs(found).max(axis=1, keepdims=True)
    assert len(np.unique(unit.round(5))) == 16
    assert unit.min() == -1.0 and unit.max() == 1.0
    assert np.linalg.norm(found - weight.reshape(8, -1), axis=1) / np.linalg.norm(weight.reshape(8, -1), axis=1) == pytest.approx(0.12, abs=0.06)
    assert structures(proto) == {"w": Structure("codebook", axis=0, is_scaled=True)}


def test_a_factor_of_the_node_is_none_of_the_weights(model_of, cluster, run):
    """What is clustered is what the node multiplies with; what is written is the weight."""
    weight = np.repeat(np.array([[-1.0, 0.5]], np.float32), 8, axis=1).repeat(10, axis=0)

    proto, _ = cluster(model_of(DENSE, w=weight, b=normal(10)), bits=2)

    np.testing.assert_allclose(held(proto, "w"), weight, rtol=1e-6)


@pytest.mark.parametrize("scope", ["layer", "channel", "scaled"])
@pytest.mark.parametrize("has_samples", [True, False])
def test_zeros_of_pruning_stay_zeros(model_of, samples_of, cluster, scope, has_samples):
    weight = normal(10, 16)
    weight[np.abs(weight) < 0.6] = 0.0
    samples = samples_of(x=normal(20, 1, 16, seed=1)) if has_samples else None

    proto, _ = cluster(model_of(DENSE, w=weight, b=normal(10)), samples, bits=3, scope=scope)

    assert np.all(held(proto, "w")[weight == 0.0] == 0.0)
    slices = held(proto, "w") if scope == "channel" else [held(proto, "w") / np.abs(held(proto, "w")).max(axis=1, keepdims=True)]
    if scope != "layer":
        assert max(len(np.unique(one.round(5))) for one in slices) <= 8


@pytest.mark.parametrize("scope", ["layer", "scaled"])
def test_what_inputs_are_like_decides_where_errors_go(model_of, samples_of, cluster, run, scope):
    """Inputs that go together let one weight make up for another's error."""
    inputs = (normal(60, 3) @ normal(3, 16, seed=1) + 0.1 * normal(60, 16, seed=2))[:, None, :].astype(np.float32)
    model = model_of(DENSE, w=normal(10, 16, seed=3), b=normal(10, seed=4))
    proto, _ = cluster(model, bits=2, scope=scope, rounding="nearest")
    error = {"nearest": np.mean([np.square(run(proto, x=x)[0] - run(model, x=x)[0]).sum() for x in inputs])}

    out = model.folder.parent / "compensated"
    out.mkdir()
    made = Cluster(bits=2, scope=scope)(model, Supplies(samples=samples_of(x=inputs)), out)

    error["compensated"] = np.mean([np.square(run(made, x=x)[0] - run(model, x=x)[0]).sum() for x in inputs])
    assert error["compensated"] < 0.6 * error["nearest"]


def test_weights_that_have_few_values_already_are_left_alone(model_of, cluster):
    text = "net (float[1,16] x) => (float[1,10] y) { h = Gemm<transB = 1>(x, w, b)  y = MatMul(h, v) }"
    model = model_of(text, w=normal(10, 16), b=normal(10), v=normal(10, 10))
    proto = onnx.load(model.path)
    set_structures(proto, {"w": Structure("ternary", axis=0)})
    onnx.save(proto, model.path)

    made, did = cluster(model, bits=4)

    np.testing.assert_array_equal(held(made, "w"), held(proto, "w"))
    assert did["left_alone"] == {"Gemm_0": "its weights are ternary already"}


def test_a_step_that_would_change_nothing_is_refused(model_of, cluster):
    model = model_of(DENSE, w=normal(10, 16), b=normal(10))
    proto = onnx.load(model.path)
    set_structures(proto, {"w": Structure("ternary", axis=0)})
    onnx.save(proto, model.path)

    with pytest.raises(UsageError, match=r"cluster: leaves every layer as it is \(Gemm_0: its weights are ternary already\)"):
        cluster(model, bits=4)


def test_compressed_a_codebook_takes_a_fraction(model_of, cluster):
    """16 values take 4 of 32 bits; DEFLATE, which knows bytes and not floats, comes to less than a third."""
    text = "net (float[1,256] x) => (float[1,256] y) { y = MatMul(x, w) }"

    _, did = cluster(model_of(text, w=normal(256, 256)), bits=4)

    sizes = msgspec.convert(msgspec.to_builtins(did["constants"]), dict[str, dict[str, int]])
    assert sizes["before"]["raw"] == sizes["after"]["raw"] == 4 * 256 * 256
    assert sizes["after"]["compressed"] < sizes["before"]["compressed"] / 3


def test_nodes_that_are_named_keep_their_weights(model_of, cluster):
    model = model_of(CONVOLUTION, w=normal(8, 4, 3, 3), b=normal(8))

    proto, did = cluster(model, keep=("Conv",))

    assert structures(proto) == {} and did["nodes"] == 0


def test_a_name_that_no_node_has_is_said(model_of, cluster):
    with pytest.raises(UsageError, match=r"cluster: keep: no node is called head"):
        cluster(model_of(CONVOLUTION, w=normal(8, 4, 3, 3), b=normal(8)), keep=("head",))


def test_it_keeps_the_contract_of_passes(model_of, samples_of, tmp_path):
    model = model_of(CONVOLUTION, w=normal(8, 4, 3, 3), b=normal(8))
    folder = tmp_path / "check"
    folder.mkdir()

    check_pass(Cluster(), model, Supplies(samples=samples_of(x=normal(4, 1, 4, 6, 6, seed=5))), folder)
