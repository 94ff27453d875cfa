"""Whoever types another tool's word for an option is told ours."""

import dataclasses

import pytest

from edgekit import plugins
from edgekit.errors import PlanError
from edgekit.passes.synonyms import SYNONYMS
from edgekit.plan import Request, check
from edgekit.strict import nearest


def options_of(name):
    return [field.name for field in dataclasses.fields(plugins.load("edgekit.passes", name))]


@pytest.mark.parametrize(
    ("step", "word", "meant"),
    [
        ("finetune", "lr", "rate"),
        ("finetune", "Learning-Rate", "rate"),
        ("finetune", "batch_size", "batch"),
        ("finetune", "epoch", "epochs"),
        ("finetune", "max_steps", "steps"),
        ("qat", "bias_lr", "bias_rate"),
        ("qat", "exclude", "keep_float"),
        ("binarize", "exclude", "keep"),
        ("prune", "sparsity", "ratio"),
        ("prune", "criteria", "importance"),
        ("cluster", "n_clusters", "bits"),
        ("factorize", "tolerance", "max_loss"),
        ("quantize", "bits", "weight_bits"),
        ("quantize", "calibrate_method", "observer"),
        ("equalize", "centre", "center"),
    ],
)
def test_a_word_that_means_an_option_is_answered_with_it(step, word, meant):
    assert nearest(word, options_of(step), SYNONYMS) == f"; did you mean {meant}?"


def test_every_synonym_means_an_option_of_some_pass():
    known = {option for name in plugins.names("edgekit.passes") for option in options_of(name)}

    assert {one for meant in SYNONYMS.values() for one in meant} <= known


def test_the_plan_suggests_it(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "recipe.toml").write_text('schema = 1\nname = "r"\n[[step]]\npass = "finetune"\nlr = 0.1\n')

    request = Request(
        source=tmp_path / "net.onnx",
        targets=("x86-64-avx2",),
        recipe=str(tmp_path / "recipe.toml"),
        settings={"finetune": {"batch_size": 8}},
    )

    with pytest.raises(PlanError) as caught:
        check(request)

    assert "step 1 (finetune): lr: no such key; did you mean rate?; batch_size: no such key; did you mean batch?" in caught.value.faults
    assert "edgekit schema recipe" in caught.value.hint
