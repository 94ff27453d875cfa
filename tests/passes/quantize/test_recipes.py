import pytest

from edgekit import strict
from edgekit.passes.contract import Need
from edgekit.plugins import load
from edgekit.recipe import read_recipe, recipe_files

SAMPLES, SCHEME = Need.SAMPLES, Need.SCHEME
STEPS = {
    "float": [],
    "fp16": [("quantize", {SCHEME})],
    "static_wi8_ai8": [("equalize", {SAMPLES}), ("quantize", {SCHEME, SAMPLES})],
}


def test_the_built_in_recipes_are_these():
    assert set(recipe_files()) == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_of_a_recipe_are_options_of_their_passes(name):
    found = []
    for step in read_recipe(name).step:
        options = {key: value for key, value in step.items() if key != "pass"}
        found.append((step["pass"], set(strict.convert(options, load("edgekit.passes", step["pass"]), where=name).needs)))

    assert found == STEPS[name]
    assert read_recipe(name).budget.min_sqnr_db is not None
