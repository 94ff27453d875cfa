"""Vela, Arm's compiler for Ethos-U, in a process of its own: its C++ part may abort, and it prints what it thinks of operators."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from edgekit import child
from edgekit.engine.ethos_u.options import EthosUOptions
from edgekit.errors import ChildError, MissingExtraError, UnsupportedError
from edgekit.plugins import version_of

PACKAGE = "ethos-u-vela"
LOG_FILE = "vela.log"
COMPILED_SUFFIX = "_vela.tflite"

_TOLD = ("--show-cpu-operations", "--verbose-performance")
_MEMORY_BYTES = 8 << 30


class Job(msgspec.Struct, frozen=True):
    """What Vela is to do.

    Attributes:
        source: the TFLite file, in the folder that Vela writes into.
        arguments: of its command line.
    """

    source: Path
    arguments: list[str]


class Outcome(msgspec.Struct, frozen=True):
    """What became of it: "" or why Vela refused."""

    refused: str = ""


def check_installed() -> None:
    """Nothing, where Vela is.

    Raises:
        MissingExtraError: ethos-u-vela is not installed.
    """
    if not version_of(PACKAGE):
        raise MissingExtraError("ethos-u", PACKAGE)


def compile_file(source: Path, options: EthosUOptions) -> None:
    """Let Vela compile a TFLite file; the compiled one lies beside it then, with Vela's tables and, in ``vela.log``, what it printed.

    Raises:
        MissingExtraError: ethos-u-vela is not installed.
        UnsupportedError: Vela refuses the file, or knows no such accelerator, system or memory mode.
        ChildError: it crashed, or took longer than ``timeout_s``.
    """
    check_installed()
    job = Job(source=source, arguments=[*options.arguments(), *_TOLD])
    limits = child.Limits(memory_bytes=_MEMORY_BYTES, cpu_s=int(options.timeout_s) + 1, wall_s=options.timeout_s)
    try:
        outcome = child.call(f"{__name__}:run_vela", job, Outcome, limits=limits)
    except ChildError as error:
        hint = "timeout_s in [runtimes.options] of the target's file gives it more time"
        raise ChildError(f"Vela failed for {options.accelerator}: {error.message}", hint=hint, output=error.output) from error
    if outcome.refused:
        raise UnsupportedError(
            f"Vela does not compile this model for {options.accelerator}: {outcome.refused}",
            hint="what it names must compute in integers (quantize.keep_float takes it out of them), or stand in the target's [runtimes.options]",
        )


def run_vela(job: Job) -> Outcome:
    """What the child does."""
    from ethosu.vela import vela
    from ethosu.vela.errors import VelaError

    os.chdir(job.source.parent)  # so that no folder's name gets into what Vela writes
    with Path(LOG_FILE).open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        status = vela.main([job.source.name, "--output-dir", ".", *job.arguments])
    except (RuntimeError, ValueError, VelaError) as error:
        return Outcome(child.one_line(getattr(error, "data", "") or str(error)))
    except SystemExit as error:
        status = error.code
    sys.stdout.flush()
    return Outcome(_last_line(Path(LOG_FILE)) if status else "")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return child.one_line(lines[-1]) if lines else "it gave no reason"
