import pytest

from edgekit import strict
from edgekit.passes.contract import Need
from edgekit.plugins import load
from edgekit.recipe import read_recipe, recipe_files

SAMPLES, SCHEME, TEACHER = Need.SAMPLES, Need.SCHEME, Need.TEACHER
STEPS = {
    "float": [],
    "fp16": [("quantize", {SCHEME})],
    "static_wi8_ai8": [("equalize", {SAMPLES}), ("quantize", {SCHEME, SAMPLES})],
    "bf16": [("quantize", {SCHEME})],
    "static_wi8_ai16": [("equalize", {SAMPLES}), ("quantize", {SCHEME, SAMPLES})],
    "static_wi4_ai8": [("equalize", {SAMPLES}), ("quantize", {SCHEME, SAMPLES})],
    "qat_wi8_ai8": [("equalize", {SAMPLES}), ("qat", {SCHEME, SAMPLES, TEACHER})],
    "qat_wi4_ai8": [("equalize", {SAMPLES}), ("qat", {SCHEME, SAMPLES, TEACHER})],
    "dynamic_wi8_afp32": [("quantize", {SCHEME})],
    "weight_only_wi8_afp32": [("quantize", {SCHEME})],
    "weight_only_wi4_afp32": [("quantize", {SCHEME})],
    "weight_only_wi2_afp32": [("quantize", {SCHEME})],
    "cluster4bit": [("equalize", {SAMPLES}), ("cluster", set()), ("finetune", {SAMPLES, TEACHER}), ("quantize", {SCHEME, SAMPLES})],
    "lowrank50": [("factorize", set()), ("finetune", {SAMPLES, TEACHER})],
    "ternary": [("equalize", {SAMPLES}), ("binarize", {SAMPLES}), ("quantize", {SCHEME, SAMPLES})],
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
    budget = read_recipe(name).budget
    assert budget.min_sqnr_db is not None or budget.max_accuracy_drop is not None


@pytest.mark.parametrize("name", [name for name in STEPS if name.endswith("_afp32")])
def test_a_recipe_is_named_after_what_it_does(name):
    mode, weights, _ = name.rsplit("_", 2)
    (step,) = read_recipe(name).step

    assert step["mode"] == mode
    assert f"wi{step.get('weight_bits', 8)}" == weights


@pytest.mark.parametrize("name", [name for name in STEPS if name.startswith(("static_", "qat_"))])
def test_a_recipe_of_static_integers_is_named_after_its_bits(name):
    step = read_recipe(name).step[-1]

    assert name == f"{name.partition('_')[0]}_wi{step['weight_bits']}_ai{step['activation_bits']}"
