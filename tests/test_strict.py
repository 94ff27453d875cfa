"""Files become structs, or every fault is named with its path and the nearest right name."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from edgekit import strict
from edgekit.errors import UsageError
from edgekit.recipe import Recipe, read_recipe
from edgekit.target import Target


def test_every_unknown_key_is_named_with_its_path_and_the_nearest_right_one():
    data = {"schema": 1, "nam": "x", "budget": {"min_sqnr": 3.0}}

    faults = strict.unknown_keys(data, Recipe)

    assert faults == ["nam: no such key; did you mean name?", "budget.min_sqnr: no such key; did you mean min_sqnr_db?"]


def test_unknown_keys_are_found_inside_lists_of_tables():
    data = {"runtimes": [{"name": "tflite", "scheme": {"activation": "int8"}}]}

    assert strict.unknown_keys(data, Target) == ["runtimes[0].scheme.activation: no such key; did you mean activations?"]


def test_a_wrong_value_names_the_file_and_the_place(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('schema = 1\nname = "r"\n[budget]\nmin_sqnr_db = "high"\n')

    with pytest.raises(UsageError) as caught:
        read_recipe(str(file))

    assert str(file) in caught.value.message
    assert "$.budget.min_sqnr_db" in caught.value.message


@dataclasses.dataclass
class Inner:
    kind: Literal["one", "two"] = "one"
    on: bool = False
    size: int = 1


@dataclasses.dataclass
class Outer:
    inner: Inner


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"kind": "three"}, "correct the value: it takes one, two"),
        ({"on": "maybe"}, "correct the value: it takes true, false"),
        ({"size": "large"}, "correct the value"),
    ],
)
def test_a_wrong_value_is_told_what_may_stand_there(given, hint):
    with pytest.raises(UsageError) as caught:
        strict.convert({"inner": given}, Outer, where="it")

    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"schema = \n", "not TOML"), (b"\xff\xfe\x00", "not UTF-8"), (None, "No such file")],
)
def test_a_file_that_is_no_toml_is_one_line(tmp_path, content, words):
    file = tmp_path / "x.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(UsageError, match=words) as caught:
        strict.read(file, Recipe)

    assert "\n" not in caught.value.message


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean static_wi8_ai8\?"):
        read_recipe("static_w8_a8")


def test_a_json_file_cut_short_says_so(tmp_path):
    file = tmp_path / "report.json"
    file.write_text('{"schema": 1,')

    with pytest.raises(UsageError, match="not JSON"):
        strict.read(file, Recipe)


def test_the_error_tree_in_the_docstring_is_the_tree():
    import edgekit.errors as errors

    found = {}
    for line in errors.__doc__.splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if "exit" in words:
            found[words[0]] = int(words[words.index("exit") + 1])
    real = {name: kind.exit_status for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.EdgekitError)}

    assert found == real
