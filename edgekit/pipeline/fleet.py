"""Several devices of the inventory at once: built for once a target, measured on all of them side by side."""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from edgekit import strict
from edgekit.device import Device, Entry, open_device
from edgekit.device.inventory import LAB, inventory_path, read_inventory
from edgekit.errors import DeviceError, EdgekitError, StoreError, UsageError
from edgekit.measure import Load
from edgekit.pipeline.again import Engines, engines_at, load_of, measured
from edgekit.pipeline.building import run
from edgekit.pipeline.outcome import entries_status
from edgekit.pipeline.place import Bench
from edgekit.plan import Request, Settings
from edgekit.plugins import version_of
from edgekit.report import EngineEntry
from edgekit.samples import Samples, read_samples
from edgekit.target import choose
from edgekit.watch import SILENT, Watcher

FILE = "fleet.json"

Open = Callable[[str], Device]


class Visit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of one device.

    Attributes:
        device: its name.
        url: how it was reached.
        entries: its engines, measured there.
        error: why there are none; empty if there are.
        hint: what can be done about it.
        exit_status: of the error.
        wall_s: seconds from reaching it to leaving it.
    """

    device: str
    url: str
    entries: tuple[EngineEntry, ...] = ()
    error: str = ""
    hint: str = ""
    exit_status: int = 0
    wall_s: float = 0.0


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of all of them, in the order of the inventory; ``fleet.json`` beside the build's report.

    Attributes:
        schema: version of this file format.
        edgekit: version that wrote it.
        created: when, ISO 8601.
        visits: one a device.
    """

    schema: Literal[1]
    edgekit: str
    created: str
    visits: tuple[Visit, ...]

    @property
    def exit_status(self) -> int:
        """That of the first error; without one, that of all engines' budgets."""
        failed = [visit.exit_status for visit in self.visits if visit.error]
        return failed[0] if failed else entries_status([entry for visit in self.visits for entry in visit.entries])


def members(asked: str) -> tuple[Entry, ...]:
    """The devices that ``lab:all``, ``lab:TAG`` or ``lab:NAME,TAG,…`` names.

    Raises:
        UsageError: there are none, or a word is neither name nor tag.
    """
    entries = read_inventory().device
    words = [word for word in asked.removeprefix(LAB).split(",") if word]
    known = {"all", *(entry.name for entry in entries), *(tag for entry in entries for tag in entry.tags)}
    for word in words:
        if word not in known:
            raise UsageError(
                f"--device {asked}: {word} is no device and no tag{strict.nearest(word, known)}", hint="`edgekit devices list` shows them"
            )
    found = tuple(entry for entry in entries if {"all", entry.name, *entry.tags} & set(words))
    if not found:
        raise UsageError(
            f"--device {asked}: no device of {inventory_path()} is meant", hint="edgekit devices add NAME URL --tag TAG; then --device lab:TAG"
        )
    return found


def build_fleet(request: Request, asked: str, *, out: Path, bench: bool = True, watcher: Watcher = SILENT) -> Fleet:
    """Build once for each target of some devices, judge the engines here, and measure them on all devices.

    Args:
        request: what the user wants; without targets, those of the devices.
        asked: ``lab:…``.
        out: folder of the results.
        bench: whether latency is measured.
        watcher: told about progress.

    Raises:
        EdgekitError: the build fails; what fails on a device stands in its visit.
    """
    entries = members(asked)
    bare = [entry.name for entry in entries if not entry.target]
    if bare and not request.targets:
        raise UsageError(f"{inventory_path()}: {', '.join(bare)} has no target", hint="write its target there, or give --target")
    targets = request.targets or tuple(dict.fromkeys(entry.target for entry in entries))
    run(replace(request, targets=targets, device=""), out=out, bench=False, watcher=watcher)
    if not bench:
        return _sealed([Visit(entry.name, entry.url) for entry in entries], out)
    load = {"load": request.settings["load"]} if "load" in request.settings else {}
    return bench_fleet(out, asked, samples=request.samples, settings=load, watcher=watcher)


def bench_fleet(
    path: Path,
    asked: str,
    *,
    samples: Path | None = None,
    settings: Settings | None = None,
    watcher: Watcher = SILENT,
    open_: Open = open_device,
) -> Fleet:
    """Measure engines that were built before on several devices at once; each has those of its target.

    Args:
        path: folder of a build, of one engine, an ``.onnx`` or a ``.tflite`` file.
        asked: ``lab:…``.
        samples: inputs to time with.
        settings: ``load`` options.
        watcher: told about progress.
        open_: from a name to a device.

    Raises:
        UsageError: there is no engine, or no device.
    """
    load = load_of(settings, "bench")
    entries, found = members(asked), engines_at(path)
    inputs = read_samples(samples) if samples is not None else None
    done: queue.Queue[tuple[int, Visit]] = queue.Queue()

    def visit(index: int, entry: Entry) -> None:
        done.put((index, _visited(entry, _of_target(found, entry), inputs, load, open_)))

    watcher.begin(f"measure on {len(entries)} devices", len(entries))
    for index, entry in enumerate(entries):  # daemons: after Ctrl-C nothing waits for them, and a device ends what nobody asks for any more
        threading.Thread(target=visit, args=(index, entry), daemon=True).start()
    visits: dict[int, Visit] = {}
    while len(visits) < len(entries):
        index, one = done.get()
        visits[index] = one
        watcher.advance()
        if one.error:
            watcher.note(f"{one.device}: {one.error}")
    good = sum(not one.error for one in visits.values())
    watcher.end(f"{good} of {len(entries)} measured")
    return _sealed([visits[index] for index in range(len(entries))], found.report_folder)


def _of_target(found: Engines, entry: Entry) -> Engines:
    """The engines that are of a device's target; all, where it has none or they are of no build."""
    if not entry.target or found.report is None:
        return found
    name = choose(entry.target).target.name
    chosen = choose(entry.target).runtime if ":" in entry.target else ""
    mine = tuple(one for one in found.folders if one[1].target == name and chosen in ("", one[1].runtime))
    return replace(found, folders=mine)


def _visited(entry: Entry, found: Engines, samples: Samples | None, load: Load, open_: Open) -> Visit:
    """One device from beginning to end; what goes wrong there is its own."""
    begun = time.monotonic()
    try:
        entries = _measured(entry, found, samples, load, open_)
    except EdgekitError as error:
        return Visit(entry.name, entry.url, error=error.message, hint=error.hint, exit_status=error.exit_status, wall_s=time.monotonic() - begun)
    except Exception as error:  # noqa: BLE001 - a defect met on one device must not take the others' results away
        told = f"a defect in edgekit: {type(error).__name__}: {error}"
        return Visit(entry.name, entry.url, error=told, hint="please report it", exit_status=1, wall_s=time.monotonic() - begun)
    return Visit(entry.name, entry.url, entries=entries, wall_s=time.monotonic() - begun)


def _measured(entry: Entry, found: Engines, samples: Samples | None, load: Load, open_: Open) -> tuple[EngineEntry, ...]:
    if not found.folders:
        raise UsageError(f"nothing was built for {entry.target}", hint=f"edgekit build MODEL --target {entry.target}")
    device = open_(entry.name)
    try:
        entries = measured(found, samples, Bench(device=device, is_named=True), load, SILENT)
    finally:
        device.close()
    if all(one.latency is None and one.instructions is None for one in entries):
        raise DeviceError(f"{entry.name}: nothing could be measured: {entries[0].latency_reason}", hint=f"edgekit devices check {entry.name}")
    return entries


def _sealed(visits: Sequence[Visit], folder: Path | None) -> Fleet:
    created = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    fleet = Fleet(schema=1, edgekit=version_of("edgekit").get("edgekit", "0"), created=created, visits=tuple(visits))
    if folder is not None:
        file = folder / FILE
        try:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(fleet, enc_hook=str), indent=2) + b"\n")
        except OSError as error:
            raise StoreError(f"{file} cannot be written: {error.strerror}", hint="is there room, and may you write there?") from error
    return fleet
