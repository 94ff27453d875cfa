"""Options that name what is not in the graph, told before anything calibrates or learns."""

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.compress.factorize import Factorize
from edgekit.passes.compress.prune import Prune
from edgekit.passes.learn.finetune import Finetune
from edgekit.passes.learn.qat import Qat
from edgekit.passes.misfit import misfits
from edgekit.passes.quantize import Quantize

TEXT = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv(x, w)  r = Relu(c)  y = Conv(r, v) }"


@pytest.fixture
def model(model_of):
    return model_of(TEXT, w=np.ones((4, 3, 1, 1), np.float32), v=np.ones((4, 4, 1, 1), np.float32))


@pytest.mark.parametrize(
    "pass_",
    [
        Prune(keep=("Rely_1",)),
        Prune(kind="unstructured", keep=("Rely_1",)),
        Cluster(keep=("Rely_1",)),
        Factorize(keep=("Rely_1",)),
        Binarize(keep=("Rely_1",)),
    ],
)
def test_a_node_that_is_not_there_is_named_with_the_nearest(model, pass_):
    (line,) = misfits([("step 1", pass_)], model)

    assert line == "step 1: keep: no node is called Rely_1; did you mean Relu_1?; edgekit inspect lists the nodes of the model"


@pytest.mark.parametrize("keep", ["Conv_0", "Conv_*", "Conv", "*"])
def test_names_patterns_and_operators_fit(model, keep):
    passes = [Prune(keep=(keep,)), Cluster(keep=(keep,)), Binarize(keep=(keep,)), Factorize(keep=(keep,))]

    assert misfits([(str(at), one) for at, one in enumerate(passes)], model) == []


def test_several_faults_of_several_steps_are_told_at_once(model):
    steps = [("one", Prune(keep=("/head/*", "Conv_0", "Convolution"))), ("two", Finetune()), ("three", Quantize(keep_float=("Sofmax",)))]

    first, second = misfits(steps, model)

    assert first.startswith("one: keep: no node is called /head/*; no node is called Convolution; ")
    assert second.startswith("three: keep_float: no node is called Sofmax")


@dataclass(frozen=True)
class Renaming:
    """A pass of somebody else's, which says nothing of names."""


@pytest.mark.parametrize("before", [Factorize(), Renaming()])
def test_what_comes_behind_nodes_that_are_new_is_not_judged_yet(model, before):
    assert misfits([("one", before), ("two", Cluster(keep=("Conv_0/1",)))], model) == []
    assert len(misfits([("one", Prune()), ("two", Cluster(keep=("Conv_0/1",)))], model)) == 1


@pytest.mark.parametrize(("pass_", "says"), [(Finetune, True), (Qat, True), (Binarize, False)])
def test_pictures_are_not_moved_out_of_sight(model, pass_, says):
    """Binarize moves nothing unless it trains."""
    lines = misfits([("one", pass_(crop=8))], model)

    assert lines == (["one: crop = 8: pictures of 8 pixels would be moved out of sight; 7 at most"] if says else [])
    assert misfits([("one", pass_(crop=7))], model) == []
