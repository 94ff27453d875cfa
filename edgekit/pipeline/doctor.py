"""What is installed here, and what each target would need."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edgekit import plugins
from edgekit.child import sandbox_refusal
from edgekit.model.store import default_root, writing
from edgekit.pipeline.place import RTX, runs_here
from edgekit.run.cuda_memory import read_device
from edgekit.target import cpu_features, host_target, read_target, target_files

EXTRA_OF = {"tflite": "tflite", "ethos-u": "ethos-u", "tensorrt-rtx": "tensorrt-rtx"}
COMPILERS = {"ethos-u": "ethos-u-vela"}
"""What builds for a runtime that no host can run, if it is not the runtime itself."""


class Package(msgspec.Struct, frozen=True):
    """A package edgekit uses: the extra it belongs to (empty for the core), and its version here."""

    name: str
    extra: str
    wanted: str
    found: str | None


class TargetNeed(msgspec.Struct, frozen=True):
    """Whether a target's first runtime can be built and run on this machine, and what is missing."""

    target: str
    runtime: str
    builds: bool
    runs_here: bool
    remedy: str


class Diagnosis(msgspec.Struct, frozen=True):
    """All that `edgekit doctor` found."""

    edgekit: str
    python: str
    system: str
    arch: str
    cpu_features: tuple[str, ...]
    host_target: str
    packages: tuple[Package, ...]
    targets: tuple[TargetNeed, ...]
    store: str
    store_free_bytes: int
    sandbox: str
    plugins: dict[str, tuple[str, ...]]


def diagnose() -> Diagnosis:
    """Look at this machine; imports none of the frameworks."""
    features = cpu_features()
    root = default_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    kernels = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return Diagnosis(
        edgekit=metadata.version("edgekit"),
        python=f"{platform.python_version()} ({sys.executable})",
        system=platform.platform(),
        arch=os.uname().machine,
        cpu_features=tuple(name for name in kernels if name in features),
        host_target=host_target(os.uname().machine, features),
        packages=packages(),
        targets=target_needs(),
        store=str(root),
        store_free_bytes=shutil.disk_usage(there).free,
        sandbox=sandbox_refusal() or "available",
        plugins={group: plugins.names(group) for group in ("edgekit.frontends", "edgekit.passes", "edgekit.backends", "edgekit.devices")},
    )


def packages() -> tuple[Package, ...]:
    """What edgekit's own metadata asks for, extra by extra, and what is here of it."""
    found = []
    for line in metadata.requires("edgekit") or ():
        match = re.match(r"([A-Za-z0-9._-]+)\s*([^;]*)(?:;.*extra == ['\"]([^'\"]+)['\"])?", line)
        if match is None or match[1] == "edgekit" or match[3] in ("dev", "demo", "all"):
            continue
        name, wanted, extra = match[1], match[2].strip(), match[3] or ""
        found.append(Package(name=name, extra=extra, wanted=wanted, found=plugins.version_of(name).get(name)))
    return tuple(found)


def target_needs() -> tuple[TargetNeed, ...]:
    """For every target: can it be built and run here, and what would have to be installed."""
    needs = []
    for path in target_files().values():
        target = read_target(path)
        runtime = target.runtimes[0].name
        runs = runs_here(runtime)
        present = bool(plugins.version_of(COMPILERS[runtime])) if runtime in COMPILERS else runs
        runs = runs and (runtime != RTX or bool(read_device()))
        on_device = (target.runtimes[0].builds_on or target.builds_on) == "device"
        remedy = ""
        if on_device:
            remedy = "the engine is built on the device; the package for it is made here"
        elif not present:
            remedy = f"pip install 'edgekit[{EXTRA_OF[runtime]}]'" if runtime in EXTRA_OF else f"pip install {runtime}"
        needs.append(TargetNeed(target=target.name, runtime=runtime, builds=present or on_device, runs_here=runs, remedy=remedy))
    return tuple(needs)


def write_bundle(file: Path, out: Path) -> None:
    """Write what a bug report needs into one zip: versions, and the plan and step records of a build; no weights, no samples.

    Args:
        file: the zip to write.
        out: a build's folder, if there is one.
    """
    with writing(file), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("doctor.json", msgspec.json.format(msgspec.json.encode(diagnose()), indent=1))
        versions: dict[str, Any] = {one.metadata["Name"]: one.version for one in metadata.distributions()}
        bundle.writestr("packages.json", msgspec.json.format(msgspec.json.encode(versions), indent=1))
        for path in [out / "report.json", out / "log.txt", *sorted(out.glob("steps/*.json")), *sorted(out.glob("engines/*/engine.json"))]:
            if path.is_file():
                bundle.write(path, path.relative_to(out).as_posix())
