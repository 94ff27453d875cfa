"""The Report of a build as plain data, the renderers that make JSON, Markdown and HTML of it, and two of them compared."""

from edgekit.report.compare import ComparedEngine, ReportComparison, compare_reports
from edgekit.report.debug_html import render_debug_html
from edgekit.report.debugged import Debugged
from edgekit.report.files import read_report, write_debug_page, write_reports, write_sensitivity
from edgekit.report.html import render_html
from edgekit.report.markdown import render_markdown
from edgekit.report.npu import lines as npu_lines
from edgekit.report.record import (
    NOT_A_LATENCY,
    Accuracy,
    Energy,
    EngineEntry,
    Fidelity,
    Host,
    Latency,
    MeasuredOn,
    ModelEntry,
    Report,
    SamplesEntry,
    Stage,
    StepEntry,
    TargetEntry,
)
from edgekit.report.sensitivity import Sensitivity
from edgekit.report.sensitivity_html import render_sensitivity_html
from edgekit.report.summary import TEXT_COLUMNS, notes, table_of
from edgekit.report.words import verdict_sentence

__all__ = [
    "NOT_A_LATENCY",
    "TEXT_COLUMNS",
    "Accuracy",
    "ComparedEngine",
    "Debugged",
    "Energy",
    "EngineEntry",
    "Fidelity",
    "Host",
    "Latency",
    "MeasuredOn",
    "ModelEntry",
    "Report",
    "ReportComparison",
    "SamplesEntry",
    "Sensitivity",
    "Stage",
    "StepEntry",
    "TargetEntry",
    "compare_reports",
    "notes",
    "npu_lines",
    "read_report",
    "render_debug_html",
    "render_html",
    "render_markdown",
    "render_sensitivity_html",
    "table_of",
    "verdict_sentence",
    "write_debug_page",
    "write_reports",
    "write_sensitivity",
]
