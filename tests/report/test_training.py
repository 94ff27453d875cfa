"""The course of a training: a chart and a line, from the record of its step."""

import math

import msgspec
import pytest

from edgekit.report import StepEntry
from edgekit.report.charts import learning
from edgekit.report.html import render_html
from edgekit.report.markdown import bars, render_markdown
from edgekit.report.training import courses

CURVE = [
    {"step": 0, "held_out": 0.8, "accuracy": 0.5},
    {"step": 10, "loss": 0.9, "held_out": 0.2, "accuracy": 0.75},
    {"step": 20, "loss": 0.7, "held_out": 0.4, "accuracy": 0.625},
]
RECORD = {"steps": 20, "planned_steps": 20, "kept_step": 10, "held_out_loss_before": 0.8, "held_out_loss_after": 0.2, "curve": CURVE}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def with_steps(report):
    """A report with these steps alone, each a name, a target and a record."""

    def make(*steps):
        entries = tuple(StepEntry(name=name, target=target, did=did, wall_s=1.0, cpu_s=1.0) for name, target, did in steps)
        return msgspec.structs.replace(report, steps=entries)

    return make


def test_what_was_kept_is_said_with_the_loss_and_the_accuracy_that_it_had(with_steps):
    (course,) = courses(with_steps(("finetune", "all", RECORD)).steps)

    assert course.sentence() == "kept step 10 of 20, held-out loss 0.8 → 0.2, held-out accuracy 50.0 % → 75.0 %"


def test_a_training_that_targets_share_is_shown_once_and_parts_of_a_step_by_number(with_steps):
    shared = [("finetune", "all", RECORD)] * 2
    parts = [("prune", "rpi5-tflite", {"learned": [RECORD, {**RECORD, "kept_step": 20}]}), ("qat", "rpi5-tflite", RECORD)]

    found = courses(with_steps(*shared, *parts).steps)

    assert [course.name for course in found] == ["finetune", "prune for rpi5-tflite, part 1", "prune for rpi5-tflite, part 2", "qat for rpi5-tflite"]


@pytest.mark.parametrize("did", [{}, {"curve": "up"}, {"learned": 3}, {"curve": [], "steps": 0, "kept_step": 0}, {"learned": [None]}])
def test_a_step_that_has_no_course_has_none_shown(with_steps, did):
    report = with_steps(("finetune", "all", did))

    assert courses(report.steps) == []
    assert ">Training</h2>" not in render_html(report)
    assert "## Training" not in render_markdown(report)


def test_lines_go_through_their_checks_and_what_was_kept_stands_upright():
    """Between 0.2 and 1.0 and 8 % of that beyond: 0.6 is half way up; step 5 of 10 is the middle."""
    drawn = learning([(1, [(0, 1.0), (5, 0.6), (10, 0.2)])], 10, 5, "finetune")

    first, middle, last = drawn.partition('d="M')[2].partition('"')[0].split("L")
    assert first.startswith("0 ")
    assert middle == "500 50.0"
    assert last.startswith("1000 ")
    assert 'x1="500.0" x2="500.0" y1="0" y2="100" class="p50"' in drawn
    assert "log scale" not in drawn


def test_losses_that_lie_far_apart_are_drawn_by_their_logarithms():
    """0.01 to 1: 0.1 lies in the middle."""
    drawn = learning([(1, [(0, 1.0), (5, 0.1), (10, 0.01)])], 10, 10, "finetune")

    assert "L500 50.0L" in drawn
    assert "loss, log scale" in drawn


def test_losses_below_0_are_drawn_evenly_since_they_have_no_logarithm():
    """-9 to 1: -4 lies in the middle, 0 is one of the levels."""
    drawn = learning([(1, [(0, 1.0), (5, -4.0), (10, -9.0)])], 10, 10, "finetune")

    assert "L500 50.0L" in drawn
    assert ">0</span>" in drawn
    assert "log scale" not in drawn


@pytest.mark.parametrize(
    "losses",
    [
        [0.0, 0.0],
        [0.0, 1.0],
        [0.5, 0.5],
        [1e-14, 2e-11],
        [3.0, 1e9],
        [-5.5, -5.25],
        [-1.0, -1.0],
        [-1e300, 1e300],
        [1e-300, 1e300],
        [5e-324, 1e-323],
    ],
)
def test_no_losses_are_too_odd_to_be_drawn(losses):
    drawn = learning([(1, list(enumerate(losses)))], 1, 0, "finetune")

    assert "nan" not in drawn
    assert "inf" not in drawn
    assert drawn.count('class="level"') <= 6


def test_levels_of_large_losses_have_room_beside_the_chart():
    drawn = learning([(1, [(0, 4e6), (10, 1e5)])], 10, 10, "finetune")

    assert ">2e+06</span>" in drawn
    assert ">200000</span>" in drawn


@pytest.mark.parametrize(("checks", "drawn"), [(1, 1), (40, 1), (41, 0)])
def test_checks_are_points_as_long_as_there_is_room_between_them(checks, drawn):
    assert learning([(1, [(at, 1.0 + at) for at in range(checks)])], checks, 0, "finetune").count('class="points') == drawn


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_losses_that_are_not_finite_are_left_out_of_the_chart(odd):
    """0.2 to 1.0 remain, with the middle at 0.6."""
    drawn = learning([(1, [(0, 1.0), (1, odd), (2, 0.6), (4, 0.2)]), (2, [(4, odd)])], 4, 4, "finetune")

    assert "L500 50.0L" in drawn
    assert drawn.count('class="curve') == 1
    assert learning([(1, [(0, odd), (4, odd)]), (2, [])], 4, 4, "finetune") is None


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([math.nan, math.inf], ""), ([-3.0, math.inf, -1.0, math.nan, -2.0], "▁█▅"), ([2.0], "▁")])
def test_bars_are_of_finite_values_alone(values, drawn):
    """-2 is half of seven steps up, which rounds to the even fourth."""
    assert bars(values) == drawn


@pytest.mark.parametrize("odd", [{}, {"held_out": math.inf}, {"loss": math.nan}, {"accuracy": 0.5}])
def test_a_course_without_a_finite_loss_is_told_without_a_chart(with_steps, odd):
    report = with_steps(("own", "all", {"steps": 3, "kept_step": 1, "curve": [{"step": 0, **odd}, {"step": 1, **odd}]}))

    page, text = render_html(report), render_markdown(report)

    assert "kept step 1 of 3" in page
    assert "loss by updates" not in page
    assert "- own: kept step 1 of 3" in text


def test_what_training_did_not_change_is_told_once(with_steps):
    curve = [{"step": 0, "held_out": 0.8, "accuracy": 0.9}, {"step": 10, "held_out": 0.2, "accuracy": 0.9}]
    (course,) = courses(with_steps(("finetune", "all", {**RECORD, "curve": curve})).steps)

    assert course.sentence() == "kept step 10 of 20, held-out loss 0.8 → 0.2, held-out accuracy 90.0 % as at the start"


def test_the_page_has_a_chart_for_each_training_and_markdown_a_line(with_steps):
    report = with_steps(("finetune", "all", RECORD), ("qat", "rpi5-tflite", RECORD))

    page, text = render_html(report), render_markdown(report)

    assert page.count("loss by updates of the weights, kept after 10 of 20") == 4  # a title and a label each
    assert "- finetune: `█▁▃` kept step 10 of 20" in text


def test_names_of_steps_become_no_markup(with_steps):
    assert HOSTILE not in render_html(with_steps((HOSTILE, HOSTILE, RECORD)))


def test_many_checks_are_thinned_and_the_ends_stay():
    drawn = bars([float(value) for value in range(100)])

    assert (len(drawn), drawn[0], drawn[-1]) == (32, "▁", "█")
