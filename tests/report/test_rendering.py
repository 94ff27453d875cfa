import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest

from edgekit.measure import Judged
from edgekit.report import Report
from edgekit.report.charts import Axis, shared_axis
from edgekit.report.html import render_html
from edgekit.report.markdown import escaped, render_markdown, sparkline
from edgekit.report.markup import element, joined
from edgekit.report.summary import COLUMNS, speed
from edgekit.report.words import NONE

VOID = {"meta", "br"}
HOSTILE = "<script>alert(1)</script>\"' onload=x | `code` & [a](javascript:b)"


class Seen(HTMLParser):
    """Elements, attributes and text of a page; fails where tags do not match."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


@pytest.fixture(scope="module")
def page(report):
    return Seen(render_html(report))


def with_strings(value, replaced):
    """Plain data with free texts replaced; words that a type prescribes stay."""
    if isinstance(value, dict):
        return {key: with_strings(item, replaced) for key, item in value.items()}
    if isinstance(value, list):
        return [with_strings(item, replaced) for item in value]
    prescribed = ("kept", "broken", "not judged", "nchw", "nhwc", "bicubic", "rgb", "")
    return replaced if isinstance(value, str) and value not in prescribed else value


@pytest.fixture(scope="module")
def hostile(report):
    plain = msgspec.json.decode(msgspec.json.encode(report))
    return msgspec.convert(with_strings(plain, HOSTILE), Report)


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not [value for name, value in page.attributes if name in ("src", "href") and value.startswith(("http:", "https:", "//"))]


def test_the_style_loads_nothing(report):
    style = render_html(report).partition("<style>")[2].partition("</style>")[0]

    assert "color-scheme" in style
    assert "url(" not in style
    assert "@import" not in style


def test_nothing_from_a_report_becomes_markup(hostile):
    seen = Seen(render_html(hostile))

    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not [value for name, value in seen.attributes if name == "href" and value.startswith("javascript")]
    assert "<script>alert(1)</script>" in seen.text


def test_nothing_from_a_report_becomes_markup_in_a_notebook(hostile):
    assert "script" not in Seen(hostile._repr_html_()).tags


def test_nothing_from_a_report_breaks_a_markdown_table(hostile):
    lines = render_markdown(hostile).splitlines()
    summary = lines[lines.index("## Summary") + 2 :][: 2 + len(hostile.engines) + len(hostile.references)]

    for line in summary:
        assert line.replace("\\|", "").count("|") == len(COLUMNS) + 1
    assert not [line for line in lines if "<script" in line.replace("\\<", "")]


def test_markdown_text_shows_as_it_is():
    assert escaped("a_b|c\n<d>") == "a\\_b\\|c \\<d\\>"


def test_it_is_said_plainly_where_each_engine_was_measured(report, page):
    sentence = "measured on this x86_64, not a raspberry-pi-5"

    assert sentence in page.text
    assert sentence in str(report)
    assert sentence in report._repr_html_()
    assert escaped(sentence) in render_markdown(report)


def test_what_a_delegate_leaves_is_told_in_each_form(report):
    sentence = "XNNPACK takes 62 of 64 operators in 2 parts; left: pool (AVERAGE_POOL_2D), softmax (SOFTMAX) (by the rules of LiteRT 2.3.0)"

    assert sentence in str(report)
    assert sentence in render_html(report)
    assert escaped(sentence) in render_markdown(report)
    for shown in (render_html(report), render_markdown(report)):
        assert "1x7x7x320" in shown
        assert "XNNPACK has no kernel for int8" in shown


def test_what_is_emulated_shows_no_time_and_says_so(report, page):
    row = dict(zip(report.summary_columns(), report.summary_rows()[-1], strict=True))

    assert {cell for column, cell in row.items() if " ms" in column} == {NONE}
    assert "emulated: not a latency" in page.text
    assert "android-arm64 (tflite): not measured: emulated: not a latency" in str(report)
    assert "emulated: not a latency" in render_markdown(report)


def test_what_is_emulated_shows_instructions_and_that_they_are_no_time(report, page):
    sentence = "3,233,100 instructions a query (Cortex-A76 in QEMU 7.2): instructions, not time"

    assert sentence in page.text
    assert f"android-arm64: {sentence}" in str(report)
    assert escaped(sentence) in render_markdown(report)


def test_it_is_said_that_fidelity_was_judged_on_an_emulated_machine(report, page):
    sentence = "fidelity is judged on an emulated aarch64, not an android-arm64 (Cortex-A76 in QEMU 7.2)"

    assert sentence in page.text
    assert sentence in str(report)
    assert escaped(sentence) in render_markdown(report)


def test_an_entry_cannot_hold_times_of_an_emulated_machine(report):
    x86, _, _, android = report.engines

    with pytest.raises(ValueError, match="android-arm64-tflite: emulated: not a latency"):
        msgspec.structs.replace(android, latency=x86.latency)


def test_an_engine_that_is_not_built_is_shown_as_such(report, page):
    assert "not built: needs the device" in page.text
    assert "not built: needs the device" in str(report)


def test_a_percentile_without_enough_queries_is_not_shown_and_says_why(report, page):
    assert "p99 n/a: needs 459 queries, has 400" in page.text
    assert "p99 n/a: needs 459 queries, has 400" in str(report)


def test_the_verdict_has_a_word_and_a_shape_for_each_outcome(page):
    outcomes = {value for name, value in page.attributes if name == "class" and value.startswith("outcome ")}

    assert outcomes == {"outcome kept", "outcome broken", "outcome not-judged"}
    assert "Budget broken: 2 of 11 lines are not kept; 2 not judged." in page.text


def test_each_budget_that_broke_is_named_at_the_top(page):
    before = page.text.index("Engines")

    assert "Raspberry Pi 5 · tflite: file at most 5.20 MB, found 5.31 MB" in page.text[:before]


def test_every_raw_time_is_counted_once_in_a_chart(report, page):
    labels = [value for name, value in page.attributes if name == "aria-label"]

    assert "float original · onnxruntime: distribution of 1200 query times" in labels
    assert "Raspberry Pi 5 · tflite: time of each of 400 queries in order" in labels


def test_each_step_says_what_it_did_and_cost(page):
    assert "removed (Identity 12, Constant 9, Reshape 2)" in page.text
    assert "131 → 96" in page.text
    assert "from the store" in page.text


def test_the_summary_has_a_row_for_the_float_original_and_each_engine(report):
    rows = report.summary_rows()

    assert [row[0] for row in rows] == ["float original", "x86-64-vnni", "raspberry-pi-5", "jetson-orin-nano-jp62", "android-arm64"]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[2][-1] == "broken: min agreement, max bytes"


def test_the_summary_has_the_accuracy_of_the_float_original_and_each_engine_where_labels_are_known(report):
    at = report.summary_columns().index("accuracy")

    assert [row[at] for row in report.summary_rows()] == ["91.7 %", "87.5 %", "91.7 %", NONE, NONE]
    assert "accuracy" in str(report).splitlines()[2]
    assert ">accuracy</th>" in report._repr_html_()


def test_a_summary_without_labels_has_no_column_for_accuracy(report):
    engines = tuple(msgspec.structs.replace(entry, accuracy=None) for entry in report.engines)
    without = msgspec.structs.replace(report, engines=engines)

    assert without.summary_columns() == tuple(column for column in COLUMNS if column != "accuracy")
    assert {len(row) for row in without.summary_rows()} == {len(COLUMNS) - 1}
    assert ">accuracy</th>" not in without._repr_html_()


def test_what_accuracy_may_fall_by_and_did_is_told_in_percentage_points(report):
    """From 50 % to 49.2 % is less by 0.8 points and by 1.6 percent; an engine that gained has lost less than nothing."""
    judged = tuple(Judged(budget="max_accuracy_drop", limit=0.02, value=value, outcome="kept", remark="") for value in (0.008, -0.008))
    lost = msgspec.structs.replace(report, engines=(msgspec.structs.replace(report.engines[0], verdict=judged),))

    for shown in (Seen(render_html(lost)).text, render_markdown(lost)):
        assert "accuracy lost at most 2.0 percentage points" in shown
        assert "-0.8 percentage points" in shown
        assert shown.count("0.8 percentage points") == 2


def test_a_report_without_samples_budget_or_times_can_be_shown(report):
    bare = msgspec.structs.replace(
        report.engines[0], fidelity=None, fidelity_reason="no samples", accuracy=None, latency=None, memory=None, measured_on=None,
        conditions={}, verdict=(), latency_reason="--no-bench",
    )  # fmt: skip
    little = msgspec.structs.replace(report, engines=(bare,), references=(), samples=None, steps=())
    seen = Seen(render_html(little))

    assert "--no-bench" in seen.text
    assert "No budget was given" in seen.text
    assert "no samples" in render_markdown(little)
    assert "not measured: --no-bench" in str(little)


def test_a_speed_is_only_told_against_an_original_measured_in_the_same_place(report):
    x86, pi, _, android = report.engines

    assert speed(report, x86) == ("1.99 times as fast as the float original (5.62 ms)", True)
    assert speed(report, android) is None
    told, is_compared = speed(report, msgspec.structs.replace(pi, conditions={**pi.conditions, "threads": 4}))
    assert told.startswith("With the float original cannot be compared: threads: 1 and 4")
    assert not is_compared


def test_conditions_that_no_device_told_are_left_out(page):
    assert "governor" in page.texts
    assert "board" not in page.texts
    assert "3,120 → 3,098" in page.texts


def test_a_report_is_named_shortly_in_a_terminal(report):
    assert len(repr(report)) < 300
    assert "1200" not in repr(report)


def test_an_axis_has_round_ticks():
    assert Axis(low=1.9, high=7.3, log=False).ticks() == (2, 4, 6)
    assert Axis(low=0.9, high=120, log=True).ticks() == (1, 2, 5, 10, 20, 50, 100)


def test_values_lie_on_an_axis_where_they_should():
    assert Axis(low=2, high=6, log=False).share(3) == 0.25
    assert Axis(low=1, high=100, log=True).share(10) == pytest.approx(0.5)


def test_an_axis_is_not_stretched_by_a_few_outliers(report):
    latency = report.references[0].latency
    slow = msgspec.structs.replace(latency, samples_ns=(*latency.samples_ns, 900_000_000))

    assert shared_axis([slow]).high < 10


def test_engines_far_apart_share_a_logarithmic_axis(report):
    quick = report.engines[0].latency
    slow = msgspec.structs.replace(quick, samples_ns=tuple(20 * value for value in quick.samples_ns))

    assert shared_axis([quick, slow]).log
    assert not shared_axis([quick, report.references[0].latency]).log


def test_times_that_are_all_equal_can_be_drawn(report):
    still = msgspec.structs.replace(report.engines[0].latency, samples_ns=(2_000_000,) * 50, n=50)
    entry = msgspec.structs.replace(report.engines[0], latency=still)

    assert "50 queries" in Seen(render_html(msgspec.structs.replace(report, engines=(entry,), references=()))).text


def test_a_sparkline_shows_drift():
    assert sparkline([100] * 160 + [200] * 160) == "▁" * 16 + "█" * 16
    assert sparkline([100] * 320) == "▁" * 32
    assert sparkline([100] * 5) == ""


def test_text_is_escaped_and_elements_are_not():
    assert element("p", "a<b", element("b", "c"), class_="x", title='"') == '<p class="x" title="&quot;">a&lt;b<b>c</b></p>'
    assert joined("&", None, element("br")) == "&amp;<br/>"


def test_reading_reports_imports_nothing_heavy():
    code = "import sys, edgekit.report, edgekit.report.files; print([m for m in ('numpy', 'onnx', 'torch', 'PIL') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"
