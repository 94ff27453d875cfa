"""Charts: SVG marks that stretch with the page, text as HTML beside them, so that both can be read on a telephone.

A chart's SVG is 1000 units wide and 100 high whatever the page makes of it; strokes do not scale. Values come from the
report; nothing is worked out here but where a mark goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edgekit.report.markup import Markup, element
from edgekit.report.record import Latency
from edgekit.report.words import number, plain

MOST_BINS = 100
DOTS = 1500
WIDTH = 1000
HEIGHT = 100
TOP = 4


class Bar(msgspec.Struct, frozen=True):
    """One bar: what it is, how long, what is written at its end, and its colour's number."""

    label: str
    length: float
    text: str
    series: int


class Axis(msgspec.Struct, frozen=True):
    """A scale shared by several charts, milliseconds; ``log`` where values lie far apart."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1 inside the axis."""
        if self.log:
            return math.log(max(value, self.low * 1e-3) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, share: float) -> float:
        """The value that lies there."""
        return self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)

    def ticks(self) -> tuple[float, ...]:
        """Round values inside the axis."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            candidates: Sequence[float] = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 4)
            candidates = [step * index for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return tuple(tick for tick in candidates if self.low <= tick <= self.high)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def shared_axis(latencies: Sequence[Latency]) -> Axis:
    """An axis that holds the body of each; what is far slower is counted at the end instead."""
    low = min(min(latency.samples_ns) for latency in latencies) / 1e6
    high = max(_body_end(latency) for latency in latencies) / 1e6
    margin = max((high - low) * 0.06, high * 0.005)
    return Axis(low=max(low - margin, low * 0.5), high=high + margin, log=high / low > 8)


def _body_end(latency: Latency) -> int:
    """The slowest time that is no outlier: within four times the span of the middle four fifths above the median."""
    ordered = sorted(latency.samples_ns)
    low, middle, high = (ordered[math.floor(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9))
    fence = middle + 4 * (high - low)
    return max(sample for sample in ordered if sample <= fence)


def size_bars(bars: Sequence[Bar]) -> Markup:
    """Horizontal bars from zero, each with its figure."""
    most = max(bar.length for bar in bars) or 1
    rows = [
        element(
            "div",
            element("span", bar.label, class_="bar-label"),
            element("span", element("span", style=f"width:{bar.length / most * 100:.2f}%", class_=f"bar-fill s{bar.series}"), class_="bar-track"),
            element("span", bar.text, class_="bar-text"),
            class_="bar",
        )
        for bar in bars
    ]
    return element("div", *rows, class_="bars")


def _svg(*marks: Markup, label: str) -> Markup:
    return element(
        "svg", element("title", label), *marks, view_box=f"0 0 {WIDTH} {HEIGHT}", preserve_aspect_ratio="none", role="img", aria_label=label
    )


def _upright(share: float, kind: str) -> Markup:
    x = f"{share * WIDTH:.1f}"
    return element("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_=kind)


def _scale(axis: Axis, unit: str) -> Markup:
    ticks = [
        element("span", number(tick), style=f"left:{axis.share(tick) * 100:.2f}%", class_="tick")
        for tick in axis.ticks()
        if 0.01 <= axis.share(tick) <= (0.62 if len(unit) > 2 else 0.92)
    ]
    return element("div", *ticks, element("span", unit, class_="unit"), class_="scale")


def histogram(latency: Latency, axis: Axis, series: int, name: str) -> Markup:
    """How often each time was seen, on the shared axis, its percentiles as upright lines."""
    counts, beyond = _counted(latency, axis)
    most = max(counts) or 1
    outline = [f"M0 {HEIGHT}"]
    for index, count in enumerate(counts):
        y = HEIGHT - count / most * (HEIGHT - TOP)
        outline.append(f"V{y:.1f}H{(index + 1) * WIDTH / len(counts):.1f}")
    outline.append(f"V{HEIGHT}Z")
    percentiles = (("p50", latency.p50_ms), ("p90", latency.p90_ms), ("p99", latency.p99_ms))
    lines = [_upright(axis.share(value), kind) for kind, value in percentiles if value is not None and axis.share(value) <= 1]
    grid = [_upright(axis.share(tick), "grid") for tick in axis.ticks()]
    area = element("path", d="".join(outline), class_=f"area s{series}")
    drawn = _svg(*grid, area, *lines, label=f"{name}: distribution of {len(latency.samples_ns)} {latency.sample} times")
    unit = "ms, log scale" if axis.log else "ms"
    unit += f" · {beyond} beyond →" if beyond else ""
    return element("div", element("div", drawn, class_="canvas"), _scale(axis, unit), class_="plot")


def _counted(latency: Latency, axis: Axis) -> tuple[list[int], int]:
    """Queries in each bin (more bins the more queries there are), and how many lie beyond the axis."""
    bins = min(MOST_BINS, max(20, int(3 * math.sqrt(len(latency.samples_ns)))))
    counts = [0] * bins
    beyond = 0
    for sample in latency.samples_ns:
        share = axis.share(sample / 1e6)
        if share >= 1:
            beyond += 1
        else:
            counts[max(0, int(share * bins))] += 1
    return counts, beyond


def distribution(counts: Sequence[int], seen: tuple[float, float], stored: tuple[float, float], name: str) -> Markup:
    """How often each value was seen, as a logarithm, and the range that is stored.

    Args:
        counts: of bars of one width from the smallest to the largest value.
        seen: these values.
        stored: the ends of the range.
        name: of what is shown.
    """
    axis = Axis(low=min(seen[0], stored[0]), high=max(seen[1], stored[1]), log=False)
    most = math.log1p(max(counts)) or 1.0
    left, right = (axis.share(end) * WIDTH for end in seen)
    outline = [f"M{left:.1f} {HEIGHT}"]
    for index, count in enumerate(counts, 1):
        outline.append(f"V{HEIGHT - math.log1p(count) / most * (HEIGHT - TOP):.1f}H{left + (right - left) * index / len(counts):.1f}")
    outline.append(f"V{HEIGHT}Z")
    low, high = (axis.share(end) for end in stored)
    beyond = [
        element("rect", x=f"{start * WIDTH:.1f}", y=0, width=f"{(end - start) * WIDTH:.1f}", height=HEIGHT, class_="beyond")
        for start, end in ((0.0, low), (high, 1.0))
        if end - start > 1e-3
    ]
    label = f"{name}: values seen from {number(seen[0])} to {number(seen[1])}, stored from {number(stored[0])} to {number(stored[1])}"
    drawn = _svg(*beyond, element("path", d="".join(outline), class_="area"), _upright(low, "p50"), _upright(high, "p50"), label=label)
    ends = element("div", element("span", number(axis.low)), element("span", number(axis.high)), class_="scale ends")
    return element("div", element("div", drawn, class_="canvas"), ends, class_="plot")


def over_time(latency: Latency, series: int, name: str) -> Markup:
    """Each query in order, and the running median, which shows drift."""
    low, high = min(latency.samples_ns) / 1e6, _body_end(latency) / 1e6
    margin = max((high - low) * 0.1, high * 0.01)
    axis = Axis(low=low - margin, high=high + margin, log=False)
    count = len(latency.samples_ns)
    stride = max(1, math.ceil(count / DOTS))
    dots = [
        f"M{index / max(1, count - 1) * WIDTH:.0f} {_y(axis, sample / 1e6)}h0"
        for index, sample in enumerate(latency.samples_ns)
        if index % stride == 0 or sample / 1e6 > high
    ]
    marks = [
        *(element("line", x1=0, x2=WIDTH, y1=_y(axis, tick), y2=_y(axis, tick), class_="grid") for tick in axis.ticks()),
        element("path", d="".join(dots), class_=f"dots s{series}"),
        element("path", d=_running_median(latency.samples_ns, axis), class_="running"),
    ]
    labels = [
        element("span", number(tick), style=f"top:{(1 - axis.share(tick)) * 100:.1f}%", class_="level")
        for tick in axis.ticks()
        if 0.08 <= axis.share(tick) <= 0.92
    ]
    drawn_of = "queries" if latency.sample == "query" else "blocks of queries"
    drawn = _svg(*marks, label=f"{name}: time of each of {len(latency.samples_ns)} {drawn_of} in order")
    ends = element("div", element("span", f"{latency.sample} 1"), element("span", "ms"), element("span", f"{count:,}"), class_="scale ends")
    return element("div", element("div", drawn, *labels, class_="canvas"), ends, class_="plot")


def _y(axis: Axis, value: float) -> str:
    share = min(1.0, max(0.0, axis.share(value)))
    return f"{HEIGHT - share * HEIGHT:.1f}"


def _running_median(samples_ns: Sequence[int], axis: Axis) -> str:
    window = max(5, len(samples_ns) // 30)
    points = []
    for start in range(0, max(1, len(samples_ns) - window // 2), max(1, window // 2)):
        stretch = sorted(samples_ns[start : start + window])
        x = (start + len(stretch) / 2) / len(samples_ns) * WIDTH
        points.append(f"{x:.0f} {_y(axis, stretch[len(stretch) // 2] / 1e6)}")
    return "M" + "L".join(points)


def falling(curves: Sequence[tuple[int, Sequence[tuple[float, float]]]], most: float, name: str) -> Markup:
    """Lines of decibels, 0 to ``most``, by the share of bits that is left, a thirty-second to all, as a logarithm.

    Args:
        curves: colour's number, and (share, decibels) of each point; what lies below 0 dB is drawn at 0.
        most: decibels at the top.
        name: of what is shown.
    """
    across, upward = Axis(low=1 / 40, high=1.0, log=True), Axis(low=0.0, high=most, log=False)
    marks = [element("line", x1=0, x2=WIDTH, y1=_y(upward, tick), y2=_y(upward, tick), class_="grid") for tick in upward.ticks()]
    for series, points in curves:
        places = [f"{across.share(share) * WIDTH:.0f} {_y(upward, value)}" for share, value in sorted(points)]
        marks.append(element("path", d="M" + "L".join(places), class_=f"curve s{series}"))
        marks.append(element("path", d="".join(f"M{place}h0" for place in places), class_=f"points s{series}"))
    labels = [
        element("span", number(tick), style=f"top:{(1 - upward.share(tick)) * 100:.1f}%", class_="level")
        for tick in upward.ticks()
        if 0.08 <= upward.share(tick) <= 0.92
    ]
    ends = [element("span", f"{bits}/32", style=f"left:{across.share(bits / 32) * 100:.2f}%", class_="tick") for bits in (1, 2, 4, 8, 16)]
    drawn = _svg(*marks, label=f"{name}: decibels by the share of bits that is left")
    scale = element("div", *ends, element("span", "dB", class_="unit"), class_="scale")
    return element("div", element("div", drawn, *labels, class_="canvas"), scale, class_="plot")


_FAR = 8
"""Losses above 0 that lie further apart than by such a factor are drawn by their logarithms, as far down as :data:`_DEEP`."""
_DEEP = 1e-4
_LARGEST = 1e300
_LEAST_MARGIN = 1e-300
_MOST_POINTS = 40
"""More checks than these are a line alone: their points would run into one another on a telephone."""
_LEVEL_WIDTH = 6
"""Characters that have room beside a chart."""


def is_drawable(value: float) -> bool:
    """Whether a value has a place on an axis: it is a number, and the way from it to another is finite."""
    return abs(value) <= _LARGEST


def learning(curves: Sequence[tuple[int, Sequence[tuple[int, float]]]], steps: int, kept: int, name: str) -> Markup | None:
    """Lines of losses by the updates done, and an upright one where weights were kept; None if no loss is finite.

    Args:
        curves: colour's number, and (updates done, loss) of each check; a user's loss may be below 0, infinite or not a number.
        steps: updates at the right end.
        kept: updates after which weights were kept.
        name: of what is shown.
    """
    drawn_of = [(series, [(step, value) for step, value in points if is_drawable(value)]) for series, points in curves]
    losses = [value for _, points in drawn_of for _, value in points]
    if not losses:
        return None
    axis = _axis_of(min(losses), max(losses))
    ticks = [tick for tick in axis.ticks() if not axis.log or axis.high < 100 * axis.low or math.log10(tick).is_integer()]
    marks = [element("line", x1=0, x2=WIDTH, y1=_y(axis, tick), y2=_y(axis, tick), class_="grid") for tick in ticks]
    for series, points in drawn_of:
        places = [f"{_across(step, steps):.0f} {_y(axis, value)}" for step, value in points]
        if places:
            marks.append(element("path", d="M" + "L".join(places), class_=f"curve s{series}"))
        if 0 < len(places) <= _MOST_POINTS:
            marks.append(element("path", d="".join(f"M{place}h0" for place in places), class_=f"points s{series}"))
    labels = [
        element("span", _level(tick), style=f"top:{(1 - axis.share(tick)) * 100:.1f}%", class_="level")
        for tick in ticks
        if 0.08 <= axis.share(tick) <= 0.92
    ]
    drawn = _svg(*marks, _upright(_across(kept, steps) / WIDTH, "p50"), label=f"{name}: loss by updates of the weights, kept after {kept} of {steps}")
    words = ((0, "start"), (50, "loss, log scale" if axis.log else "loss"))
    below = [element("span", text, style=f"left:{percent}%", class_="tick") for percent, text in words]
    scale = element("div", *below, element("span", f"{steps:,} steps", class_="unit"), class_="scale")
    return element("div", element("div", drawn, *labels, class_="canvas"), scale, class_="plot beside")


def _axis_of(low: float, high: float) -> Axis:
    """An axis for losses from ``low`` to ``high``, with some room at both ends."""
    if 0 < low * _FAR < high:
        return Axis(max(low, high * _DEEP) / 1.25, high * 1.25, log=True)
    margin = max(0.08 * (high - low) or 0.1 * abs(high) or 1.0, _LEAST_MARGIN)
    return Axis(low - margin, high + margin, log=False)


def _level(tick: float) -> str:
    """A level as it is written beside a chart, with an exponent where it is too long otherwise."""
    text = plain(tick)
    return text if len(text) <= _LEVEL_WIDTH else f"{tick:g}"


def _across(done: int, steps: int) -> float:
    """Where so many updates lie."""
    return done / max(1, steps) * WIDTH


def mark(outcome: str) -> Markup:
    """The sign of an outcome: its shape says as much as its colour."""
    shapes = {
        "kept": ("circle", "M6.5 12.5l3.6 3.6 7.4-7.8"),
        "broken": ("octagon", "M8 8l8 8M16 8l-8 8"),
        "not judged": ("diamond", "M8.5 12h7"),
    }
    outlines = {
        "circle": "M12 1.5a10.5 10.5 0 1 0 0 21a10.5 10.5 0 1 0 0-21Z",
        "octagon": "M7.6 1.5h8.8L22.5 7.6v8.8L16.4 22.5H7.6L1.5 16.4V7.6Z",
        "diamond": "M12 .8L23.2 12L12 23.2L.8 12Z",
    }
    shape, sign = shapes[outcome]
    return element(
        "svg",
        element("path", d=outlines[shape], fill="currentColor", class_="sign-shape"),
        element("path", d=sign, fill="none", stroke="#fff", stroke_width=2.6, stroke_linecap="round", class_="sign-line"),
        view_box="0 0 24 24",
        class_="sign",
        aria_hidden="true",
    )


def swatch() -> Markup:
    """A spot of the colour of whatever it stands in."""
    return element("svg", element("rect", x=0, y=5, width=14, height=4, class_="swatch"), view_box="0 0 14 14", width=14, height=14)


def line_key(kind: str, text: str) -> Markup:
    """What an upright line means."""
    line = element("svg", element("line", x1=1, x2=1, y1=0, y2=14, class_=kind), view_box="0 0 3 14", class_="key")
    return element("span", line, text)


def lines_legend() -> Markup:
    """What the upright lines of latencies mean."""
    return element("p", *(line_key(*one) for one in (("p50", "median"), ("p90", "90th"), ("p99", "99th percentile"))), class_="legend")
