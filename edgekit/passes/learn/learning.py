"""What the passes that only learn have in common: samples and teachers in, a model with other weights out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgekit.errors import SamplesError
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.learn.options import TrainOptions
from edgekit.plugins import version_of


def learned(name: str, options: TrainOptions, model: Model, teachers: Sequence[Model], supplies: Supplies, out: Path) -> Model:
    """A model as it learned from teachers, in ``out``; see the passes that do so.

    Args:
        name: of the pass.
        options: its own.
        model: who learns.
        teachers: from whom; none if from labels alone.
        supplies: samples, and where an interrupted training goes on.
        out: an empty folder.
    """
    from edgekit.graph.onnx_file import load, save
    from edgekit.graph.trainable import trained
    from edgekit.passes.learn import fit, material_of, require, taught_by

    if supplies.samples is None:
        raise SamplesError(f"{name}: needs samples", hint="--samples DIR")
    require(options)
    proto = load(model.path)
    material = material_of(supplies.samples, model.signature, taught_by(teachers, options, supplies.samples))
    fitted = fit(proto, material, options, watcher=supplies.watcher, checkpoints=supplies.unfinished, what=name)
    save(trained(proto, fitted.values), out)
    did = {"samples": material.count, "labelled": int((material.labels >= 0).sum()), "teachers": len(material.teachers), **fitted.record()}
    return seal_model(out, model.signature, (*model.history, Step(name, options=asdict(options), tools=tools_of(options), did=did)))


def tools_of(options: TrainOptions) -> dict[str, str]:
    """Versions of the packages that decide what is learned."""
    return version_of("edgekit", "numpy", "onnx", "onnxruntime", "torch", *(("kornia",) if options.augments else ()))
