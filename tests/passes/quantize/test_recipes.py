import pytest

from edgekit import strict
from edgekit.passes.contract import Need
from edgekit.passes.quantize import Quantize
from edgekit.recipe import read_recipe, recipe_files

NEEDS = {
    "float": None,
    "fp16": {Need.SCHEME},
    "static_wi8_ai8": {Need.SCHEME, Need.SAMPLES},
    "dynamic_wi8_afp32": {Need.SCHEME},
    "weight_only_wi8_afp32": {Need.SCHEME},
    "weight_only_wi4_afp32": {Need.SCHEME},
    "weight_only_wi2_afp32": {Need.SCHEME},
}


def test_the_built_in_recipes_are_these():
    assert set(recipe_files()) == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_the_steps_of_a_recipe_are_options_of_its_pass(name):
    steps = [strict.convert({key: value for key, value in step.items() if key != "pass"}, Quantize, where=name) for step in read_recipe(name).step]

    assert [step.needs for step in steps] == ([NEEDS[name]] if NEEDS[name] else [])
    assert read_recipe(name).budget.min_sqnr_db is not None


@pytest.mark.parametrize("name", [name for name in NEEDS if name.endswith("_afp32")])
def test_a_recipe_is_named_after_what_it_does(name):
    mode, weights, _ = name.rsplit("_", 2)
    (step,) = read_recipe(name).step

    assert step["mode"] == mode
    assert f"wi{step.get('weight_bits', 8)}" == weights
