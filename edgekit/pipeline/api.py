"""The Python API: the same build, from a script or a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.model import Store
from edgekit.pipeline.building import run
from edgekit.plan import DEFAULT_RECIPE, Request, Settings
from edgekit.report import Report
from edgekit.watch import SILENT, Watcher


def build(  # noqa: PLR0913 - the options of `edgekit build`
    model: Any,
    *,
    target: str | Sequence[str],
    samples: str | Path | None = None,
    recipe: str = DEFAULT_RECIPE,
    out: str | Path = "edgekit-out",
    device: str = "",
    bench: bool = True,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    shape: Sequence[int] | Mapping[str, Sequence[int | str]] | None = None,
    factory: str = "",
    trust: bool = False,
    skip_bad_samples: bool = False,
    watcher: Watcher = SILENT,
    store: Store | None = None,
) -> Report:
    """Build, check and measure the engine of one or more targets; the same as ``edgekit build``.

    Args:
        model: path of a Keras, PyTorch or ONNX file, or a live ``keras.Model`` or ``torch.nn.Module``.
        target: one target or several: names, aliases, files, each perhaps with ``:RUNTIME``.
        samples: folder of pictures or ``.npz`` files, or a samples file.
        recipe: built-in name or file.
        out: folder of the results.
        device: URL of the device to measure on; this machine if empty.
        bench: whether latency is measured.
        settings: options by step, as ``--set STEP.FIELD=VALUE`` gives them.
        shape: of the only input, or by input name; a live ``torch.nn.Module`` needs it.
        factory: ``module.py:function`` that makes the module of a PyTorch state dict.
        trust: open a file that may run code without a sandbox.
        skip_bad_samples: leave unreadable samples out.
        watcher: told about progress.
        store: where steps are kept.

    Returns:
        The report; notebooks show it as a table. Whether budgets were kept is in each engine's ``verdict``.

    Raises:
        EdgekitError: what is wrong, with a hint; see :mod:`edgekit.errors`.
    """
    _refuse_wrong_types(target, settings, shape)
    chosen: Settings = {step: dict(fields) for step, fields in (settings or {}).items()}
    if shape is not None:
        by_name = shape if isinstance(shape, Mapping) else {"": shape}
        chosen.setdefault("ingest", {})["shape"] = {name: list(sizes) for name, sizes in by_name.items()}
    is_path = isinstance(model, str | Path)
    if not is_path and factory:
        raise UsageError("a live model needs no factory", hint="leave `factory` out")
    request = Request(
        source=Path(model) if is_path else Path(type(model).__name__),
        live=None if is_path else model,
        targets=(target,) if isinstance(target, str) else tuple(target),
        recipe=str(recipe),
        samples=Path(samples) if samples is not None else None,
        device=device,
        settings=chosen,
        trust=trust,
        factory=factory,
        skip_bad_samples=skip_bad_samples,
    )
    return run(request, out=Path(out), bench=bench, watcher=watcher, store=store)


def _refuse_wrong_types(target: object, settings: object, shape: object) -> None:
    """Notebooks have no type checker; what would fail far from here is said here.

    Raises:
        UsageError: an argument is of another kind.
    """
    if not isinstance(target, str) and not (isinstance(target, Sequence) and all(isinstance(name, str) for name in target)):
        raise UsageError(f"target = {target!r}: not a name", hint='target="raspberry-pi-5", or a list of names')
    if settings is not None and not (isinstance(settings, Mapping) and all(isinstance(fields, Mapping) for fields in settings.values())):
        raise UsageError(f"settings = {settings!r}: not options by step", hint='settings={"preprocess": {"mean": 127.0, "std": 128.0}}')
    shapes = list(shape.values()) if isinstance(shape, Mapping) else [] if shape is None else [shape]
    for sizes in shapes:
        if isinstance(sizes, str) or not isinstance(sizes, Sequence) or not all(isinstance(size, int | str) for size in sizes):
            raise UsageError(f"shape = {shape!r}: not sizes", hint="shape=(1, 3, 224, 224), or by input name")
