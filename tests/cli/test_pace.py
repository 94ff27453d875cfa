"""How long work will take, as logs and pipes are told."""

from edgekit.cli.terminal import _Pace


def test_half_a_minute_passes_before_anything_is_said_and_then_the_time_left_by_the_pace():
    pace = _Pace(100, now=0.0)
    assert pace.told(1, 1.0) == ""
    assert pace.told(19, 20.0) == ""
    assert pace.told(10, 30.0) == "30 %, 70 s left"  # 29 units in 29 s
    assert pace.told(10, 45.0) == ""
    assert pace.told(10, 61.0) == "50 %, 61 s left"  # 49 units in 60 s


def test_what_an_earlier_run_did_says_nothing_of_the_pace():
    pace = _Pace(100, now=0.0)
    assert pace.told(80, 0.0) == ""
    assert pace.told(10, 40.0) == "90 %, 40 s left"
