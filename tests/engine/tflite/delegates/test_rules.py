"""The tables themselves, and the delegates that nothing here can be asked of."""

from pathlib import Path

import numpy as np
import pytest

from edgekit.engine.tflite.delegates import rules as module
from edgekit.engine.tflite.delegates.checks import CHECKS
from edgekit.engine.tflite.delegates.judge import delegation
from edgekit.engine.tflite.delegates.rules import DELEGATES, row_of, table


@pytest.mark.parametrize("name", DELEGATES)
def test_every_table_and_every_rule_names_its_source(name):
    read = table(name)

    assert all(source.startswith("https://") for source in read.sources)
    assert all(rule.source for rule in read.rule)
    assert read.by


@pytest.mark.parametrize("name", DELEGATES)
def test_every_check_that_a_table_asks_for_is_there_and_every_operator_is_tflite_s(name):
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    for rule in table(name).rule:
        assert set(rule.checks) <= set(CHECKS)
        assert all(hasattr(BuiltinOperator, op) for op in rule.ops)


def test_every_check_is_asked_for():
    tables = [table(delegate) for delegate in DELEGATES]
    rules = [rule for one in tables for rule in (*one.rule, *(rule for older in one.older.values() for rule in older.rule))]
    asked = {name for rule in rules for name in rule.checks}

    assert set(CHECKS) == asked


def test_every_table_is_one_of_the_delegates():
    assert {path.stem for path in Path(module.__file__).parent.glob("*.toml")} == set(DELEGATES)


def test_a_row_of_types_reads_as_it_is_written():
    inputs, outputs = row_of("float32|float16, int8@0|int4@any, int32? -> float32...")

    assert [slot.types for slot in inputs] == [{"float32": "", "float16": ""}, {"int8": "0", "int4": "any"}, {"int32": ""}]
    assert [slot.is_optional for slot in inputs] == [False, False, True]
    assert outputs[0].repeats


def picture(net, op, shape, **options):
    return net.add(op, [net.input(shape, "int8", 0.1)], [net.tensor(shape, "int8", 0.1)], **options)


def test_the_edge_tpu_takes_what_comes_before_anything_it_cannot(new_net, network_of):
    net = new_net()
    shape = [1, 4, 4, 8]
    rounded = net.add("QUANTIZE", [net.input(shape)], [net.tensor(shape, "int8", 0.1)])
    relu = net.add("RELU", [rounded], [net.tensor(shape, "int8", 0.1)])
    elu = net.add("ELU", [relu], [net.tensor(shape, "int8", 0.1)])
    net.add("TANH", [elu], [net.tensor(shape, "int8", 1 / 128)])

    found = delegation(network_of(net.content()), table("edgetpu"))

    assert [one.op for one in found.left] == ["QUANTIZE", "ELU", "TANH"]
    assert found.left[-1].reason == "it comes after what the Edge TPU does not take"


def test_the_edge_tpu_has_three_axes(new_net, network_of):
    net = new_net()
    picture(net, "RELU", [2, 4, 4, 8])

    assert delegation(network_of(net.content()), table("edgetpu")).left[0].reason == "t0 has more than three axes larger than 1"


def test_nnapi_takes_no_versions_newer_than_it_knows(new_net, network_of):
    net = new_net()
    net.add("RESIZE_BILINEAR", [net.input([1, 4, 4, 8]), net.constant(np.array([8, 8], np.int32))], [net.tensor([1, 8, 8, 8])], version=4)

    assert delegation(network_of(net.content()), table("nnapi")).left[0].reason == "it is version 4 of RESIZE_BILINEAR; NNAPI takes 3 at most"


def test_nnapi_makes_no_scalar_of_a_mean(new_net, network_of):
    net = new_net()
    net.add("MEAN", [net.input([4]), net.constant(np.array([0], np.int32))], [net.tensor([])])

    assert delegation(network_of(net.content()), table("nnapi")).left[0].reason == "what it makes has 0 axes; NNAPI takes 1 to 8"
