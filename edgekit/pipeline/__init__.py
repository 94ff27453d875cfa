"""The corridor from a source to a report: plan, ingest, passes, engines, measuring, verdict, report."""

from edgekit.pipeline.again import bench
from edgekit.pipeline.api import build
from edgekit.pipeline.beside import compare_files
from edgekit.pipeline.building import run
from edgekit.pipeline.debugging import debug_quantization
from edgekit.pipeline.engine_debugging import debug_engine
from edgekit.pipeline.fleet import Fleet, bench_fleet, build_fleet
from edgekit.pipeline.look import Inspection, Rehearsal, look_at, rehearse
from edgekit.pipeline.outcome import exit_status
from edgekit.pipeline.sensitivity import Question, sensitivity
from edgekit.report.debugged import Debugged

__all__ = [
    "Debugged",
    "Fleet",
    "Inspection",
    "Question",
    "Rehearsal",
    "bench",
    "bench_fleet",
    "build",
    "build_fleet",
    "compare_files",
    "debug_engine",
    "debug_quantization",
    "exit_status",
    "look_at",
    "rehearse",
    "run",
    "sensitivity",
]
