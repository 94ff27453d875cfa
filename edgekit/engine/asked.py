"""What the command line asks of a target's runtime, laid over what its file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgekit import plugins, strict
from edgekit.errors import UsageError
from edgekit.target import Chosen, Runtime

REQUIRE_FULL = "require_full_delegation"
"""The option of a runtime whose delegate may leave operators to the runtime's own kernels."""

_PORTS = ("layout", "dtype")


def with_ports(one: Chosen, io: Mapping[str, Any]) -> Chosen:
    """The target with ``--set io.…`` laid over its runtime's options.

    Raises:
        UsageError: there is no such key, or the runtime's engines have their ports as the source has them.
    """
    unknown = [key for key in io if key not in _PORTS]
    if unknown:
        raise UsageError(f"--set io.{unknown[0]}: no such key; io has {', '.join(_PORTS)}", hint="correct or remove it")
    if not io:
        return one
    refused = [key for key in io if key not in getattr(_backend(one.runtime), "ports", ())]
    if refused:
        message = f"--set io.{refused[0]}: {one.runtime} engines ({one.target.name}) have their ports as the source has them"
        raise UsageError(message, hint="leave it out, or choose another runtime: --target NAME:RUNTIME")
    runtime, over = one.target.runtime(one.runtime), {f"io_{key}": value for key, value in io.items()}
    scheme = runtime.scheme
    if scheme is not None and over.get("io_dtype", "float32") != "float32":  # whoever wants integers out needs outputs stored so
        scheme = msgspec.structs.replace(scheme, float_output_ops=())
    return _with_runtime(one, msgspec.structs.replace(runtime, scheme=scheme, options={**runtime.options, **over}))


def with_options(one: Chosen, over: Mapping[str, Any]) -> Chosen:
    """The target with ``--set RUNTIME.…`` laid over its runtime's options.

    Raises:
        UsageError: they are not such, or belong to ``--set io.…``.
    """
    if not over:
        return one
    ports = [key for key in over if key.startswith("io_")]
    if ports:
        name = ports[0].removeprefix("io_")
        raise UsageError(f"--set {one.runtime}.{ports[0]}: asked for by --set io.{name}", hint=f"--set io.{name}={over[ports[0]]}")
    runtime = one.target.runtime(one.runtime)
    options = {**runtime.options, **over}
    kind = _options(one.runtime)
    if kind is None:
        raise UsageError(f"--set {one.runtime}.…: its backend has no options", hint="leave it out")
    strict.convert(options, kind, where=f"--set {one.runtime}")
    return _with_runtime(one, msgspec.structs.replace(runtime, options=options))


def fully_delegated(chosen: tuple[Chosen, ...]) -> tuple[Chosen, ...]:
    """The targets, those whose runtime has a delegate with nothing to be left to its own kernels.

    Raises:
        UsageError: no runtime of them has one.
    """
    delegating = {one.runtime for one in chosen if _may_leave(one.runtime)}
    if chosen and not delegating:
        raise UsageError(
            "--require-full-delegation: no runtime of these targets has a delegate whose answer is known before it builds",
            hint="leave it out, or choose a runtime that has one, such as tflite: --target NAME:tflite",
        )
    return tuple(with_options(one, {REQUIRE_FULL: True}) if one.runtime in delegating else one for one in chosen)


def must_delegate_all(one: Chosen) -> bool:
    """Whether nothing of this target's engine may be left to the runtime's own kernels."""
    return bool(one.target.runtime(one.runtime).options.get(REQUIRE_FULL, False))


def _may_leave(runtime: str) -> bool:
    kind = _options(runtime)
    return kind is not None and REQUIRE_FULL in kind.__annotations__


def _options(runtime: str) -> type | None:
    """The options of a runtime's backend; a backend from elsewhere may have none."""
    return getattr(_backend(runtime), "options", None)


def _backend(runtime: str) -> Any:
    return plugins.load("edgekit.backends", runtime) if runtime in plugins.names("edgekit.backends") else None


def _with_runtime(one: Chosen, runtime: Runtime) -> Chosen:
    runtimes = tuple(runtime if other.name == runtime.name else other for other in one.target.runtimes)
    return msgspec.structs.replace(one, target=msgspec.structs.replace(one.target, runtimes=runtimes))
