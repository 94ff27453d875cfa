import pytest

from edgekit.passes.order import out_of_order
from edgekit.recipe import read_recipe, recipe_files


@pytest.mark.parametrize("recipe", recipe_files())
def test_the_built_in_recipes_are_in_order(recipe):
    assert out_of_order([step["pass"] for step in read_recipe(recipe).step]) == []


def test_all_techniques_follow_one_another():
    assert out_of_order(["prune", "finetune", "factorize", "finetune", "equalize", "cluster", "finetune", "qat"]) == []


def test_each_step_that_comes_too_late_is_named_with_the_reason():
    assert out_of_order(["cluster", "quantize", "factorize"]) == [
        "step 3 (factorize): belongs before step 1 (cluster): layers whose weights share values are not taken apart",
        "step 3 (factorize): belongs before step 2 (quantize): what is stored as integers is not changed any more",
    ]
