import pytest

from edgekit.passes.order import in_vain, out_of_order
from edgekit.recipe import read_recipe, recipe_files


@pytest.mark.parametrize("recipe", recipe_files())
def test_the_built_in_recipes_are_in_order_and_none_is_in_vain(recipe):
    steps = read_recipe(recipe).step

    assert out_of_order([step["pass"] for step in steps]) == []
    assert in_vain([(step["pass"], step) for step in steps]) == []


def test_all_techniques_follow_one_another():
    assert out_of_order(["prune", "finetune", "factorize", "finetune", "equalize", "cluster", "finetune", "qat"]) == []


def test_each_step_that_comes_too_late_is_named_with_the_reason():
    assert out_of_order(["cluster", "quantize", "factorize"]) == [
        "step 3 (factorize): belongs before step 1 (cluster): layers whose weights share values are not taken apart",
        "step 3 (factorize): belongs before step 2 (quantize): what is stored as integers is not changed any more",
    ]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("quantize", {}), ("quantize", {})], "step 2 (quantize): has nothing to do behind step 1 (quantize): a graph is quantized once"),
        ([("qat", {}), ("quantize", {})], "step 2 (quantize): has nothing to do behind step 1 (qat): a graph is quantized once"),
        ([("quantize", {}), ("qat", {})], "step 2 (qat): has nothing to do behind step 1 (quantize): a graph is quantized once"),
        ([("qat", {}), ("qat", {})], "step 2 (qat): has nothing to do behind step 1 (qat): a graph is quantized once"),
        ([("cluster", {}), ("finetune", {}), ("cluster", {"bits": 2})], "step 3 (cluster): has nothing to do behind step 1 (cluster): all weights"),
        ([("cluster", {}), ("binarize", {})], "step 2 (binarize): has nothing to do behind step 1 (cluster): all weights have few values"),
        ([("binarize", {}), ("binarize", {})], "step 2 (binarize): has nothing to do behind step 1 (binarize): it left the first and the last"),
        ([("binarize", {"keep_ends": False}), ("cluster", {})], "step 2 (cluster): has nothing to do behind step 1 (binarize): all weights"),
    ],
)
def test_what_would_have_nothing_to_do_is_named_once_with_the_reason(steps, said):
    (line,) = in_vain(steps)

    assert line.startswith(said)


@pytest.mark.parametrize(
    "steps",
    [
        [("cluster", {"keep": ["/head/*"]}), ("cluster", {"bits": 6})],
        [("cluster", {"keep": ["/head/*"]}), ("binarize", {})],
        [("binarize", {}), ("cluster", {})],
        [("binarize", {}), ("binarize", {"kind": "binary", "keep_ends": False})],
        [("binarize", {"activations": True, "keep_ends": False}), ("cluster", {})],
        [("prune", {"kind": "unstructured"}), ("binarize", {"kind": "binary", "keep_ends": False}), ("cluster", {})],
        [("prune", {}), ("finetune", {}), ("prune", {"kind": "2:4"}), ("finetune", {}), ("quantize", {})],
    ],
)
def test_what_has_something_left_to_do_is_not(steps):
    assert in_vain(steps) == []
