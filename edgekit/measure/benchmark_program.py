"""LiteRT's ``benchmark_model`` on a device: which options it has, how it is called, what its failures mean.

A release that does not know an option warns and goes on without it, so it is asked first.

Sources: tflite/tools/benchmark/benchmark_model.cc, benchmark_tflite_model.cc and README.md, tflite/tools/command_line_flags.cc,
litert/tools/benchmark_litert_model.h of github.com/google-ai-edge/LiteRT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from edgekit.device.contract import Device, Ran
from edgekit.device.shell_facts import BENCHMARK_MODEL
from edgekit.engine.contract import Engine
from edgekit.errors import DeviceError, UnsupportedError
from edgekit.measure.benchmark_output import Printed, first_fault, known_flags, parsed
from edgekit.measure.ending import ending
from edgekit.run.tensors import Tensor

if TYPE_CHECKING:
    from edgekit.engine.tflite.file import TfliteFile

RUNTIME = "tflite"
PATIENCE_S = 300.0  # for loading the engine on the slowest device
NEEDED = ("graph", "num_runs", "num_threads", "warmup_runs")
INPUTS = ("input_layer", "input_layer_shape", "input_layer_value_files")
OUTPUT = "output_filepath"
GET = "developers.google.com/edge/litert/next/benchmark names the downloads"


class Program:
    """``benchmark_model`` on a device, asked which options it has.

    Args:
        device: without Python.
        engine: what it is to run.

    Raises:
        DeviceError: there is none, or it is something else.
        UnsupportedError: it cannot run this engine as it is meant.
    """

    def __init__(self, device: Device, engine: Engine) -> None:
        self.device, self._engine = device, engine
        self.path, hint = device.facts.benchmark_model, get_it(device.facts.url)
        if BENCHMARK_MODEL not in (device.facts.packages or {}) or engine.runs_in != RUNTIME:
            raise DeviceError(f"{device.facts.name}: neither Python nor benchmark_model runs {engine.runs_in} engines there", hint=hint)
        ran = device.run([self.path, "--help"], timeout_s=PATIENCE_S)  # ends with status 1, by intent
        self._flags = known_flags((ran.stdout + ran.stderr).decode(errors="replace"))
        if missing := [flag for flag in NEEDED if flag not in self._flags]:
            raise DeviceError(
                f"{device.facts.name}: {self.path} is no benchmark_model that will do: it has no --{missing[0]} ({ending(ran)})",
                hint=hint,
            )
        options = engine.options
        if options.get("reference") or (not options.get("xnnpack", True) and "use_xnnpack" not in self._flags):
            raise UnsupportedError(
                f"{device.facts.name}: {self.path} cannot run this engine without XNNPACK's kernels",
                hint="take options.reference and xnnpack out of it",
            )

    def why_no_inputs(self) -> str:
        """Why samples cannot be put in; "" if they can."""
        missing = [flag for flag in INPUTS if flag not in self._flags]
        if missing:
            return f"its benchmark_model has no --{missing[0]}"
        scalars = [port.name for port in self._engine.inputs if not port.shape]
        return f"benchmark_model takes no input without axes, as {scalars[0]} is" if scalars else ""

    def why_no_outputs(self) -> str:
        """Why outputs cannot be had; "" if they can."""
        if reason := self.why_no_inputs():
            return reason
        if OUTPUT not in self._flags:
            return f"its benchmark_model has no --{OUTPUT}"
        open_ones = [port.name for port in self._engine.outputs if any(isinstance(size, str) for size in port.shape)]
        return f"the size of {open_ones[0]} is open, and benchmark_model does not tell it" if open_ones else ""

    def command(self, graph: PurePosixPath, threads: int, feed: Sequence[Tensor], file: TfliteFile) -> list[str]:
        """What runs an engine; inputs are files of the working folder, by their number, in the order of the file."""
        asked = {"graph": str(graph), "num_threads": str(threads)}
        if "use_xnnpack" in self._flags:
            asked["use_xnnpack"] = "true" if self._engine.options.get("xnnpack", True) else "false"
        if not self.why_no_inputs():
            tensors = in_order(feed, [port.name for port in file.inputs])
            names = _harmless([port.name for port in file.inputs])
            asked["input_layer"] = ",".join(names)
            asked["input_layer_shape"] = ":".join(",".join(map(str, tensor.shape)) for tensor in tensors)
            asked["input_layer_value_files"] = ",".join(f"{name}:{number}" for number, name in enumerate(names))
        return [self.path, *(f"--{name}={value}" for name, value in asked.items())]

    def runs(self, *, warmup_s: float, warmup_queries: int, queries: int, most_s: float) -> list[str]:
        """How often it runs."""
        asked = {
            "warmup_runs": warmup_queries,
            "warmup_min_secs": f"{warmup_s:g}",
            "num_runs": queries,
            "min_secs": 0,
            "max_secs": f"{most_s:g}",
        }
        return [f"--{name}={value}" for name, value in asked.items() if name in self._flags]

    def peak(self) -> list[str]:
        """What makes it tell the most memory it held; a thread of its own looks, so no time of such a run counts."""
        return ["--report_peak_memory_footprint=true"] if "report_peak_memory_footprint" in self._flags else []

    def printed(self, ran: Ran, said: str) -> Printed:
        """What one run printed.

        Raises:
            DeviceError: it failed.
        """
        found = parsed(said) if ran.status == 0 else None
        if found is None or not found.timed.queries:
            raise self.failed(ran, said)
        return found

    def failed(self, ran: Ran, said: str) -> DeviceError:
        """The error that a run stands for which did not do what it was asked."""
        how = ending(msgspec.structs.replace(ran, stderr=first_fault(said).encode()))
        return DeviceError(
            f"{self.device.facts.name}: benchmark_model {how}", hint="is its release as new as the engine asks for, and built for this processor?"
        )


def get_it(url: str) -> str:
    """Where benchmark_model comes from, and where it is looked for on a device of that URL; a hint."""
    there = "adb push it to /data/local/tmp/benchmark_model" if url.startswith("adb:") else "put it on the PATH there"
    return f'{GET}; {there}, chmod +x, or name it: benchmark_model = "/path" in devices.toml'


def in_order(tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Tensors in the order of a file's ports: by name, or, where another converter mangled the names, as they come."""
    by_name = {tensor.name: tensor for tensor in tensors}
    return [by_name[name] for name in names] if set(names) == set(by_name) else list(tensors)


def _harmless(names: Sequence[str]) -> Sequence[str]:
    """Names of ports, or numbers for all where one would be taken for a list: names need not be those of the file, their order is."""
    return names if all(re.fullmatch(r"[\w./-]+", name) for name in names) else [f"input{number}" for number in range(len(names))]
