"""What a report must say of a model that came quantized, of what engines make of it, of training that gained nothing, and of nodes that
a budget keeps in float."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekit.model import Step
from edgekit.passes.already import LEFT
from edgekit.passes.quantize.reasons import NO_SLOWER
from edgekit.pipeline.line import Built
from edgekit.plan import runtime_of
from edgekit.report import StepEntry
from edgekit.report.training import Course, courses

_NAMED = 3
_REACHED = {"min_sqnr_db": "sqnr_db_on_samples", "min_agreement": "agreement_on_samples", "max_accuracy_drop": "accuracy_drop_on_samples"}
_HEAVY = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"})
_WHY = {
    "onnxruntime": "ONNX Runtime has integer kernels only where what is made, too, is stored as integers right behind, at one scale each",
    "tflite": "LiteRT has integer kernels only for symmetric int8 weights, and where what is made is stored as integers right behind",
    "ethos-u": "an NPU has integer kernels only for symmetric int8 weights, and where what is made is stored as integers right behind",
}


def on_steps(entries: Sequence[StepEntry]) -> tuple[str, ...]:
    """Sentences on a model that came quantized, with the steps that left it as it was, and on training that gained nothing."""
    left = [entry for entry in entries if LEFT in entry.did]
    said = [_left(list(dict.fromkeys(entry.name for entry in left)), left[-1].did[LEFT])] if left else []
    return (*said, *(line for course in courses(entries) for line in _start_kept(course)))


def _start_kept(course: Course) -> Iterator[str]:
    """That a training never did better than its start, which is what was kept."""
    held_out = dict(course.of("held_out"))
    start = held_out.get(0)
    later = [value for step, value in held_out.items() if step > 0 and not math.isnan(value)]
    if course.kept_step == 0 and start is not None and later and min(later) >= start:
        yield (
            f"{course.name} kept the start: in {course.steps} steps of training the loss of the samples held out was never below the"
            f" {start:.4g} that it began with ({min(later):.4g} at best); a lower rate or more samples may help."
        )


def _left(steps: Sequence[str], found: dict[str, Any]) -> str:
    reads = f"{found['both_sides']} of {found['products']} convolutions and matrix products read integers on both sides"
    if found["kind"] == "weights":
        reads = f"{found['weights_alone']} of {found['products']} convolutions and matrix products read integers as weights, none as input"
    rest = f"; in float are {_some(found['in_float'])}" if found["in_float"] else ""
    return (
        f"The model came quantized ({', '.join((found['kind'], *found['types']))}; {reads}{rest}): {' and '.join(steps)} left it as it is,"
        " nothing was calibrated, and fidelity is that of the engines to the model as given."
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def on_engine(built: Built) -> tuple[str, ...]:
    """What the engine computes in float that one might take for integer, and why."""
    scheme = runtime_of(built.chosen).scheme
    is_kept = scheme is None or not scheme.integers_alone
    kept = _on_kept(built.model.history, may_be_kept=is_kept)
    return (*kept, *_on_foreign(built), *_on_converted(built.engine.details), *_on_preflight(built), *_on_board(built.engine.details))


def _on_preflight(built: Built) -> Iterator[str]:
    """What NVIDIA's parser, or edgekit's rules alone, said of the graph, and NVIDIA's table of its place on a DLA."""
    preflight = built.engine.details.get("preflight")
    if preflight is not None:
        yield f"{preflight['said']}."
    dla = built.engine.details.get("dla")
    if dla is not None:
        rest = f"; on the GPU: {_some(dla['fallbacks'])}" if dla["fallbacks"] else ""
        yield f"On the DLA, {dla['said']}{rest}."


def _on_board(details: Mapping[str, Any]) -> Iterator[str]:
    """Where and how an engine was built that no host builds."""
    built_on = details.get("built_on")
    if built_on is None:
        return
    machine, stats = built_on.get("machine", {}), built_on.get("stats", {})
    where = " ".join(str(part) for part in (machine.get("board") or machine.get("gpu") or "the device", machine.get("l4t")) if part)
    told = [f"Built on {where} by TensorRT {machine.get('tensorrt')}"]
    told += [f"power mode {machine['power_mode']}"] if machine.get("power_mode") else []
    told += [f"in {built_on['build_s']:.1f} s"] if "build_s" in built_on else []
    told += [f"{rail} {mw / 1000:.1f} W meanwhile" for rail, mw in list(stats.get("power_mean_mw", {}).items())[:1]]
    told += [f"{max(heat.values()):.0f} °C at most"] if (heat := stats.get("temperatures_most_c")) else []
    yield ", ".join(told) + "."
    planned, limits = details.get("workspace_mib"), built_on.get("limits", {})
    if limits and limits.get("workspace_mib") != planned:
        less = f"{limits['workspace_mib']} MiB of workspace instead of {planned}, optimization level {limits['optimization_level']}"
        yield f"Memory ran out there: it was built with {less}."


def _on_converted(details: Mapping[str, Any]) -> Iterator[str]:
    """That somebody else's converter took the source, and what of the recipe it has its own way of."""
    if "left_out" in details:
        own = details["left_out"]
        rest = f"; {', '.join(own)} {'is' if len(own) == 1 else 'are'} edgekit's and had no part in it" if own else ""
        yield f"Converted from the source itself, not from edgekit's graph, by a converter with a quantizer of its own{rest}."


def _on_kept(history: Sequence[Step], *, may_be_kept: bool) -> Iterator[str]:
    """The nodes that were kept in float until a budget was reached, and a budget that was not."""
    for step in history:
        kept, done = step.did.get("kept_float"), step.did
        if kept:
            free = sum(_is_free(done, name) for name in kept)
            reasons = {
                f"because the runtime computes {'it' if free == 1 else 'them'} no faster in integers": free,
                "for the budget": len(kept) - free,
            }
            why = ", ".join(f"{count} {reason}" if 0 < free < len(kept) else reason for reason, count in reasons.items() if count)
            gained = f"{_db(done['sqnr_db_all_integer'])} without, {_db(done['sqnr_db_on_samples'])} with them in float, on samples that calibrate"
            yield f"{_some(kept)} stay{'s' if len(kept) == 1 else ''} float, {why}: {gained}."
        if kept is not None and not done["budget_reached"]:
            missed = ", ".join(_beside(step, name) for name in _REACHED if step.options.get(name) is not None)
            if not may_be_kept:
                yield (
                    f"{step.name} did not reach its budget on the samples that calibrate ({missed}), and no node stays float for it, where float is"
                    " for another processor: edgekit debug quantization says what costs most,"
                    f" --set {step.name}.keep_float=[…] keeps nodes float all the same."
                )
                continue
            yield (
                f"{step.name} did not reach its budget on the samples that calibrate ({missed}) with {step.options['max_float_share']:.0%} of the"
                f" multiply-adds in float at most: edgekit debug quantization says what costs most, --set {step.name}.max_float_share=0.5 lets"
                " more stay float."
            )


def _is_free(done: Mapping[str, Any], node: str) -> bool:
    return bool(done["left_float"].get(node) == NO_SLOWER)


def _beside(step: Step, name: str) -> str:
    """What was asked for, and what was reached."""
    reached = step.did[_REACHED[name]]
    return f"{name} = {step.options[name]:g}: {'exact' if reached is None else format(reached, '.3g')}"


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"


def _on_foreign(built: Built) -> tuple[str, ...]:
    """How many products the engine computes in float though their maker stored both sides as integers."""
    found = next((step.did[LEFT] for step in built.model.history if LEFT in step.did), None)
    stored = found["both_sides"] if found is not None else 0
    count = min(stored, _in_float(built, stored, found["products"])) if found is not None else 0
    if count <= 0:
        return ()
    why = _WHY[built.engine.runtime]
    return (
        f"{count} of {stored} convolutions and matrix products are computed in float though the model stores both of their sides as integers: {why}.",
    )


def _in_float(built: Built, stored: int, products: int) -> int:
    """Products computed in float, those that the model has in float left out; 0 where the runtime decides it on the device."""
    details = built.engine.details
    if built.engine.runtime == "onnxruntime":
        return stored - int(details.get("integer_nodes", stored))
    if built.engine.runtime in ("tflite", "ethos-u"):
        heavy = sum(count for op, count in details.get("float_operators", {}).items() if op in _HEAVY)
        return int(heavy) - (products - stored)
    return 0
