import pytest

from edgekit.device.contract import DeviceFacts
from edgekit.measure import Found, judge, why_foreign
from edgekit.recipe import Budget
from edgekit.target import Target

BUDGET = Budget(min_sqnr_db=15.0, min_agreement=0.9, max_accuracy_drop=0.01, max_latency_ms=10.0, max_bytes=1000)


def outcomes(budget, found):
    return {line.budget: (line.outcome, line.remark) for line in judge(budget, found)}


def test_each_line_is_kept_or_broken_by_how_much():
    found = Found(sqnr_db=18.25, agreement=0.85, accuracy_drop=0.03, latency_ms=7.5, bytes=1024)

    assert outcomes(BUDGET, found) == {
        "min_sqnr_db": ("kept", "by 3.25 dB"),
        "min_agreement": ("broken", "by 5 percentage points"),
        "max_accuracy_drop": ("broken", "by 2 percentage points"),
        "max_latency_ms": ("kept", "by 2.5 ms"),
        "max_bytes": ("broken", "by 24 bytes"),
    }


def test_exactly_the_limit_is_kept():
    assert outcomes(Budget(max_bytes=1000), Found(bytes=1000)) == {"max_bytes": ("kept", "by 0 bytes")}


def test_lines_that_are_not_given_are_not_judged_at_all():
    assert judge(Budget(), Found(bytes=10)) == ()


def test_what_was_not_found_is_not_judged_and_says_why():
    found = Found(reasons={"max_latency_ms": "measured on this x86_64, not on a raspberry-pi-5"})

    assert outcomes(Budget(max_latency_ms=5.0, min_sqnr_db=10.0), found) == {
        "max_latency_ms": ("not judged", "measured on this x86_64, not on a raspberry-pi-5"),
        "min_sqnr_db": ("not judged", "not measured"),
    }


def test_outputs_equal_to_the_originals_keep_any_fidelity_budget():
    assert outcomes(Budget(min_sqnr_db=90.0), Found(is_exact=True)) == {"min_sqnr_db": ("kept", "equal bit for bit")}


def facts(**fields):
    return DeviceFacts(**{"url": "ssh://lab", "name": "lab", "arch": "aarch64", "cpu": "", "features": ("asimd", "asimddp"), **fields})


PI = Target(schema=1, name="raspberry-pi-5", arch="aarch64", runtimes=(), sources={}, features=("asimd", "asimddp"))


def test_a_device_of_the_same_kind_stands_for_its_target():
    assert why_foreign(PI, facts()) == ""


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (facts(arch="x86_64"), "measured on this x86_64, not on a raspberry-pi-5"),
        (facts(emulated=True), "measured on an emulated aarch64, not on a raspberry-pi-5"),
        (facts(features=("asimd",)), "measured on this aarch64, not on a raspberry-pi-5: no asimddp here"),
    ],
)
def test_other_devices_do_not_and_it_is_said_why(device, words):
    assert why_foreign(PI, device) == words
