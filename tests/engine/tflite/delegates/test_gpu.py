"""What the rules say of the GPU delegate, against TensorFlow's analyzer, which asks the delegate's own function of each operator."""

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.engine.tflite.delegates.judge import delegation, verdicts
from edgekit.engine.tflite.delegates.rules import table

NEWER = {("GATHER", "int32"), *(("SELECT_V2", dtype) for dtype in ("int8", "uint8", "int16", "int32", "int64", "bool"))}
"""What gpu_compatibility.cc takes at the commit of the table, and did not take in TensorFlow 2.15."""


@pytest.fixture
def as_analyzed():
    """The table without what the analyzer does not look at: versions, element types of what is computed, axes, readers."""
    whole = table("gpu")
    rules = (msgspec.structs.replace(one, most_version=0, checks=tuple(set(one.checks) - {"feeds_one_choice"})) for one in whole.rule)
    return msgspec.structs.replace(whole, rule=tuple(rules), computed=(), most_axes=0, unpacks=())


def test_the_rules_say_what_tensorflow_s_analyzer_says_of_every_operator_and_type(over_types, is_a_model, network_of, as_analyzed):
    refused = tomllib.loads(Path(__file__).with_name("gpu_refused.toml").read_text())
    tried, wrong = 0, []
    for name, content in over_types():
        operator, _, dtype = name.rpartition(", ")
        if (operator, dtype) not in NEWER and is_a_model(content):
            tried += 1
            is_refused = not {"all", dtype}.isdisjoint(refused[operator])
            wrong += [name] if is_refused != any(verdicts(network_of(content), as_analyzed)) else []

    assert not wrong
    assert tried > 500


def test_the_gpu_takes_the_largest_connected_part_alone(new_net, network_of):
    net = new_net()
    tensor = net.input([1, 8])
    for op in ("RELU", "LOG_SOFTMAX", "EXP", "NEG", "LOG_SOFTMAX", "ABS"):
        tensor = net.add(op, [tensor], [net.tensor([1, 8])])

    found = delegation(network_of(net.content()), table("gpu"))

    assert (found.taken, found.parts) == (2, 1)
    assert [one.op for one in found.left] == ["RELU", "LOG_SOFTMAX", "LOG_SOFTMAX", "ABS"]
    assert found.left[0].reason == "the GPU delegate takes one connected part, and this is not in the largest"


def test_the_gpu_computes_no_int32(new_net, network_of):
    net = new_net()
    net.add("ADD", [net.input([4], "int32"), net.constant(np.ones(4, np.int32))], [net.tensor([4], "int32")])

    assert delegation(network_of(net.content()), table("gpu")).left[0].reason == "t0 is int32, which the GPU delegate does not compute ADD on"


def test_the_gpu_compares_where_one_choice_reads_it(new_net, network_of):
    net = new_net()
    one, other = net.input([1, 8]), net.input([1, 8])
    less = net.add("LESS", [one, other], [net.tensor([1, 8], "bool")])
    net.add("SELECT_V2", [less, one, other], [net.tensor([1, 8])])

    assert delegation(network_of(net.content()), table("gpu")).is_full
    assert not delegation(network_of(net.content([less])), table("nnapi")).is_full  # which has no SELECT_V2
