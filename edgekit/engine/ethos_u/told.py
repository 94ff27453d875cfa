"""What Vela tells of an engine: its tables of figures, and the reasons it prints for operators that stay on the CPU."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from edgekit.engine.contract import CpuOperator, MemoryUse, NpuEstimate
from edgekit.engine.tflite.file import read_tflite
from edgekit.errors import ChildError

_MEMORIES = {"sram": "SRAM", "dram": "DRAM", "on_chip_flash": "on-chip flash", "off_chip_flash": "off-chip flash"}
_VELAS_NAMES = {"SRAM": "SRAM", "DRAM": "DRAM", "On-chip Flash": "on-chip flash", "Off-chip Flash": "off-chip flash"}
_ON_NPU = "CUSTOM:ethos-u"
_WARNING = re.compile(r"^Warning \(supported operators\) operator: (?P<op>\S+), ofm: '(?P<output>.*)'$")
_REASON = "Reason: "
NO_REASON = "Vela gives no reason"


def estimate(source: Path, compiled: Path, log: str, summary: Mapping[str, str], compiler: str) -> NpuEstimate:
    """All of it in one record.

    Args:
        source: the file that Vela read.
        compiled: the file that it wrote.
        log: what it printed.
        summary: the row of its table of figures, see :func:`read_summary`.
        compiler: its name and version.

    Source:
        The units are those of ``ethosu/vela/stats_writer.py`` in ethos-u-vela 5.2.0: memory in KiB, bandwidth in GiB/s, the
        clock in Hz, times in seconds.
    """
    return NpuEstimate(
        compiler=compiler,
        accelerator=summary["accelerator_configuration"].replace("_", "-").lower(),
        system=summary["system_config"],
        memory_mode=summary["memory_mode"],
        clock_mhz=float(summary["core_clock"]) / 1e6,
        npu_cycles=_whole(summary["cycles_npu"]),
        total_cycles=_whole(summary["cycles_total"]),
        query_ms=round(float(summary["inference_time"]) * 1000.0, 6),
        macs=_whole(summary["nn_macs"]),
        weight_bytes=_whole(summary["total_original_weights"]),
        encoded_weight_bytes=_whole(summary["total_npu_encoded_weights"]),
        memories=tuple(_memory(key, summary) for key in _MEMORIES if float(summary[f"{key}_memory_used"]) > 0.0),
        operators=len(read_tflite(source).layers),
        cpu_operators=cpu_operators(compiled, log),
    )


def read_summary(folder: Path) -> dict[str, str]:
    """The one row of the table of figures that Vela leaves in a folder, by column.

    Raises:
        ChildError: there is none, or one of another form.
    """
    found = sorted(folder.glob("*_summary_*.csv"))
    if len(found) == 1:
        with found[0].open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        if len(rows) == 1:
            return rows[0]
    raise ChildError("Vela left no table of figures of the form that is known", hint="pip install 'edgekit[ethos-u]' brings the version that it fits")


def cpu_operators(compiled: Path, log: str) -> tuple[CpuOperator, ...]:
    """The operators of a compiled file that are not the NPU's, each with the reason that Vela printed."""
    reasons = _reasons(log)
    layers = [layer for layer in read_tflite(compiled).layers if layer.op != _ON_NPU]
    return tuple(CpuOperator(op=layer.op, output=layer.output, reason=reasons.get((layer.op, layer.output), NO_REASON)) for layer in layers)


def _reasons(log: str) -> dict[tuple[str, str], str]:
    """Why an operator is not the NPU's, by its name and the tensor it makes; the rule that Vela names behind it, too."""
    lines = log.splitlines()
    found = {}
    for at, line in enumerate(lines):
        warning = _WARNING.match(line)
        if warning is not None and at + 1 < len(lines) and lines[at + 1].startswith(_REASON):
            found[warning["op"], warning["output"]] = _without_tensor(lines[at + 1].removeprefix(_REASON))
    return found


def _without_tensor(reason: str) -> str:
    """A reason without the tensor in brackets behind it, so that the same one reads the same; with a full stop or without."""
    return re.sub(r" \([^()]*\)$", "", reason.strip()).rstrip(".")


def _memory(key: str, summary: Mapping[str, str]) -> MemoryUse:
    name = _MEMORIES[key]
    holds = {"weights": summary["weights_storage_area"], "feature maps": summary["feature_map_storage_area"]}
    return MemoryUse(
        name=name,
        used_bytes=_whole(float(summary[f"{key}_memory_used"]) * 1024.0),
        moved_bytes=_whole(summary[f"{key}_total_bytes"]),
        peak_gb_s=float(summary[f"{key}_bandwidth"]) * 2**30 / 1e9,
        holds=tuple(what for what, area in holds.items() if _VELAS_NAMES.get(area) == name),
    )


def _whole(number: str | float) -> int:
    return round(float(number))
