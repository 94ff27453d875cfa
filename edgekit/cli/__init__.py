"""The command line: one file a verb, each parse → one library call → print → exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from edgekit.cli import (
    bench,
    build,
    bundle,
    clean,
    compare,
    debug,
    deploy,
    devices,
    distill,
    doctor,
    init,
    inspect,
    keys,
    plan,
    recipes,
    report,
    rollback,
    schema,
    sensitivity,
    sign,
    status,
    targets,
    verify,
    version,
)
from edgekit.errors import EdgekitError

INTERRUPTED = 130

app = typer.Typer(
    name="edgekit",
    help="A Keras, PyTorch or ONNX model in, a quantized, verified and measured engine for your device out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 kept, 1 error, 2 usage, 3 budget broken, 4 device, 5 not valid, 6 not supported, 130 interrupted. No telemetry.",
)
app.command("init")(init.init)
app.command("build")(build.build)
app.command("plan")(plan.plan)
app.command("inspect")(inspect.inspect)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("distill")(distill.distill)
app.command("sensitivity")(sensitivity.sensitivity)
app.add_typer(debug.app, name="debug")
app.add_typer(targets.app, name="targets")
app.add_typer(recipes.app, name="recipes")
app.add_typer(devices.app, name="devices")
app.add_typer(keys.app, name="keys")
app.command("bundle")(bundle.bundle)
app.command("sign")(sign.sign)
app.command("verify")(verify.verify)
app.command("deploy")(deploy.deploy)
app.command("rollback")(rollback.rollback)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
app.command("clean")(clean.clean)
app.command("version")(version.version)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    try:
        status: Any = app(args=argv, standalone_mode=False)
    except EdgekitError as error:
        print(f"edgekit: {error.message}\n  hint: {error.hint}", file=sys.stderr)  # noqa: T201
        if "--json" in (sys.argv[1:] if argv is None else argv):
            _print_error(error)
        return error.exit_status
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last door: what nobody foresaw becomes one line and a file
        status = INTERRUPTED if _is_interrupted(error) else _foreign(error)
    if status == INTERRUPTED:  # typer makes an exit status of Ctrl-C, and says nothing
        print("edgekit: interrupted; the same command goes on where this one stopped", file=sys.stderr)  # noqa: T201
    return status if isinstance(status, int) else 0


def _print_error(error: EdgekitError) -> None:
    """For scripts: the same as on stderr, as data on stdout."""
    import json

    reasons: Sequence[str] = getattr(error, "refusals", ()) or getattr(error, "faults", ())
    told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "reasons": list(reasons), "exit_status": error.exit_status}
    print(json.dumps({"error": told}, indent=2))  # noqa: T201


def _is_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: modules in C that it meets while they are imported make an ImportError of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _foreign(error: Exception) -> int:
    """Usage errors of the parser say so themselves; an error of ours becomes one line, its traceback a file."""
    show, status = getattr(error, "show", None), getattr(error, "exit_code", None)
    if status is not None:
        if show is not None:
            show()
        return int(status)
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    from edgekit.cli.terminal import keep_traceback

    where = keep_traceback(error)
    print(  # noqa: T201
        f"edgekit: a defect in edgekit: {type(error).__name__}: {str(error).partition(chr(10))[0]}\n"
        f"  hint: please report it with {where} and the output of `edgekit doctor --bundle FILE`",
        file=sys.stderr,
    )
    return 1
