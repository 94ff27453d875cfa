"""A build from its request to its report."""

from __future__ import annotations

import datetime
import os
import platform
import time
from pathlib import Path

import msgspec

from edgekit import strict
from edgekit.device import open_device
from edgekit.measure import Load
from edgekit.model import Model, Store
from edgekit.pipeline.assess import entry_of, not_taken, timed
from edgekit.pipeline.boards import surveyed
from edgekit.pipeline.costing import costing
from edgekit.pipeline.distilling import Judged, distilled
from edgekit.pipeline.foresee import check_delegations, foreseen
from edgekit.pipeline.line import Source, built, counted, ingested, prepared
from edgekit.pipeline.place import Bench, require_runtimes
from edgekit.pipeline.publish import Logged, claim, publish_engine, publish_model, publish_steps
from edgekit.pipeline.reference import publish_reference, reference_entry
from edgekit.pipeline.remarks import on_steps
from edgekit.pipeline.score import scored
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, Request, check, runtime_of
from edgekit.plugins import version_of
from edgekit.report import EngineEntry, Host, ModelEntry, Report, SamplesEntry, TargetEntry, write_reports
from edgekit.watch import SILENT, Watcher

NO_BENCH = "--no-bench"


def run(request: Request, *, out: Path, bench: bool = True, watcher: Watcher = SILENT, store: Store | None = None) -> Report:
    """Build, check and measure; write ``out/``.

    Args:
        request: what the user wants.
        out: folder of the results; what lies there of an earlier build is replaced as a whole, piece by piece.
        bench: whether latency is measured.
        watcher: told about progress.
        store: where steps are kept.

    Raises:
        EdgekitError: what is wrong; nothing half written is left.
    """
    began = time.perf_counter()
    log = Logged(watcher)
    workshop = Workshop(store=store or Store(), watcher=log)
    plan = check(request, targets_needed=not request.teachers)
    load = strict.convert(plan.load, Load, where="load")
    claim(out)
    for name in (*plan.names, *(f"left out: {reason}" for reason in (plan.samples.skipped if plan.samples else ()))):
        log.note(name)
    device = open_device(request.device or "local")  # first: who waits for a build should not learn then that the device does not answer
    try:
        place = Bench(device=device, is_named=bool(request.device))
        require_runtimes((one.runtime for one in plan.chosen if one.builds_on == "host"), place)
        boards = surveyed(plan.chosen, place)
        source_model, source = ingested(plan, workshop)
        ready = prepared(plan, source_model, workshop)
        judged: tuple[Judged, ...] = ()
        if plan.distill is not None:
            ready, judged = distilled(plan, plan.distill, ready, workshop)
            source_model = ready  # what engines are compared with is the student as it learned
            publish_model(ready, out)
        check_delegations(plan, foreseen(plan, ready, workshop, required_alone=True))
        engines = built(plan, ready, workshop, lambda one: costing(one, plan, place, workshop), boards)
        entries = []
        for one in engines:
            publish_engine(one, out)
            scores = scored(one, source_model, plan, place, workshop)
            found = timed(one, plan, place, workshop, load) if bench else not_taken(NO_BENCH)
            entries.append(entry_of(one, scores, found, plan, place))
        publish_reference(ready, out)
        reference = reference_entry(ready, plan, place, log, load if bench else None, reason="" if bench else NO_BENCH)
    finally:
        device.close()
    remarks = (*boards.remarks, *(one.sentence() for one in judged))
    report = _report(plan, source, source_model, ready, entries, reference, workshop, time.perf_counter() - began, remarks)
    publish_steps(workshop.entries, log.lines, out)
    write_reports(report, out)
    return report


def _report(  # noqa: PLR0913 - a report holds everything
    plan: Plan,
    source: Source,
    source_model: Model,
    ready: Model,
    entries: list[EngineEntry],
    reference: EngineEntry,
    workshop: Workshop,
    wall_s: float,
    remarks: tuple[str, ...],
) -> Report:
    counts = counted(ready, workshop)
    samples = plan.samples
    tools: dict[str, str] = {}
    for step in workshop.entries:
        tools |= step.tools
    return Report(
        schema=1,
        edgekit=version_of("edgekit").get("edgekit", "0"),
        created=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        model=ModelEntry(
            source=source.name,
            format=source.format,
            sha256=source.sha256,
            bytes=source.bytes,
            signature=source_model.signature,
            parameters=counts.parameters,
            macs=counts.macs,
        ),
        recipe=msgspec.structs.replace(plan.recipe, step=tuple({"pass": step.name, **step.options} for step in plan.steps), budget=plan.budget),
        targets=tuple(
            TargetEntry(
                key=one.key,
                asked=one.asked,
                name=one.target.name,
                runtime=one.runtime,
                arch=one.target.arch,
                title=one.target.title,
                runtime_version=runtime_of(one).version,
            )
            for one in plan.chosen
        ),
        samples=SamplesEntry(
            name=samples.name,
            sha256=samples.sha256,
            calibrating=len(samples.calibrating),
            judging=len(samples.judging),
            licence=samples.licence,
            skipped=samples.skipped,
        )
        if samples
        else None,
        tools=tools,
        steps=tuple(workshop.entries),
        engines=tuple(entries),
        references=(reference,),
        wall_s=round(wall_s, 3),
        host=Host(arch=os.uname().machine, cpu=_cpu_name(), os=platform.platform(), python=platform.python_version()),
        remarks=(*plan.names, *plan.remarks, *remarks, *on_steps(workshop.entries)),
    )


def _cpu_name() -> str:
    from edgekit.run.state import read_facts

    return str(read_facts()["cpu"])
