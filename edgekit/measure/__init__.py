"""Measuring: an engine on a device, through the agent that travels; and what may be said of what came back."""

from edgekit.measure.benchmark_model import why_no_outputs
from edgekit.measure.benchmark_program import get_it
from edgekit.measure.compare import Comparison, Timings, compare
from edgekit.measure.counting import Instructions
from edgekit.measure.interleaved import joined, measure_interleaved
from edgekit.measure.measurement import Conditions, Load, Measurement, Memory, State
from edgekit.measure.measuring import count, infer, measure
from edgekit.measure.metrics import Metric
from edgekit.measure.summary import Latency, refuse_invalid, remarks_on, summarize
from edgekit.measure.verdict import Found, Judged, judge, why_foreign

__all__ = [
    "Comparison",
    "Conditions",
    "Found",
    "Instructions",
    "Judged",
    "Latency",
    "Load",
    "Measurement",
    "Memory",
    "Metric",
    "State",
    "Timings",
    "compare",
    "count",
    "get_it",
    "infer",
    "joined",
    "judge",
    "measure",
    "measure_interleaved",
    "refuse_invalid",
    "remarks_on",
    "summarize",
    "why_foreign",
    "why_no_outputs",
]
