"""The Report of a build as plain data, and the renderers that make JSON, Markdown and HTML of it."""

from edgekit.report.record import (
    Accuracy,
    Energy,
    EngineEntry,
    Fidelity,
    Host,
    Judgement,
    Latency,
    MeasuredOn,
    Memory,
    ModelEntry,
    Report,
    SamplesEntry,
    StepEntry,
    TargetEntry,
)

__all__ = [
    "Accuracy",
    "Energy",
    "EngineEntry",
    "Fidelity",
    "Host",
    "Judgement",
    "Latency",
    "MeasuredOn",
    "Memory",
    "ModelEntry",
    "Report",
    "SamplesEntry",
    "StepEntry",
    "TargetEntry",
]
