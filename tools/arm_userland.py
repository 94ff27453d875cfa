"""Make an ARM userland that `--device emulated:NAME` runs engines in: Debian's Python and a TFLite runtime, under QEMU.

    python tools/arm_userland.py aarch64        LiteRT, ONNX Runtime, numpy
    python tools/arm_userland.py armv7l         tflite-runtime 2.14 with Debian's numpy: nothing newer has wheels for it
    python tools/arm_userland.py aarch64-tflite-runtime

Nothing is installed on this machine and nobody needs to be root: packages are downloaded with a state of their own and
unpacked below a folder, none of their scripts runs. Wanted are apt-get, dpkg-deb and qemu-user; with a C compiler, QEMU
counts instructions, too. Run again, it looks whether all is there and does nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RECORD = "userland.json"
SUITE, MIRROR, KEYRING = "bookworm", "http://deb.debian.org/debian", "/usr/share/keyrings/debian-archive-keyring.gpg"
PYTHON = "3.11"  # of that suite
GLIBC = (34, 31, 28, 27, 17)  # tags that wheels for it may have; that suite has 2.36
PACKAGES = ("libc-bin", "base-files", "dash", "coreutils", "python3", "libstdc++6", "libgomp1", "libatomic1")
LINKS = {"bin/sh": "dash"}  # what a package's script would make
PLUGIN = Path(__file__).with_name("instructions.c")

# A processor as Linux tells it. Without such a file, the library with which both runtimes look for one ends in SIGSEGV: it reads
# this machine's. It must be the core that QEMU emulates: with a Cortex-A76's under a Cortex-A72, int8 kernels end in SIGILL.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: {architecture}
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3
"""

LAUNCHER = """\
#!/bin/sh
# The program of this name, emulated. What it starts by its name comes back here through PATH.
ulimit -c 0
name=${0##*/}
program=$QEMU_LD_PREFIX/usr/bin/$name
[ -e "$program" ] || program=$QEMU_LD_PREFIX/bin/$name
exec "$EDGEKIT_QEMU" "$program" "$@"
"""

COUNTING = """\
#!/bin/sh
# Python whose instructions are counted: see instructions.c.
ulimit -c 0
exec "$EDGEKIT_QEMU" -plugin "${0%/*}/../instructions.so,out=instructions.txt" "$QEMU_LD_PREFIX/usr/bin/python3" "$@"
"""

# What the finished userland tells of itself.
ASK = """
import json, os, platform
from importlib import metadata
import numpy, {module}.interpreter
for mark in (0, 1):
    try:
        os.close(0x0ed60000 + mark)
    except OSError:
        pass
packages = {{one.metadata["Name"]: one.version for one in metadata.distributions()}}
print(json.dumps({{"arch": platform.machine(), "packages": {{"numpy": numpy.__version__, **packages, "python": platform.python_version()}}}}))
"""


class UserlandError(Exception):
    """Something is missing, or went wrong; one line and what to do."""


class Core(NamedTuple):
    """A processor in a cpuinfo file."""

    part: str
    architecture: str
    features: str


@dataclasses.dataclass(frozen=True)
class Userland:
    """What one holds.

    Attributes:
        arch: as ``uname -m`` says.
        debian: Debian's name of it.
        qemu: the emulator.
        cores: what may be emulated, the first unless another is named.
        wheels: from PyPI, with everything they need, …
        alone: … or without, where Debian has that.
        packages: of Debian, besides :data:`PACKAGES`.
        module: the runtime's.
    """

    arch: str
    debian: str
    qemu: str
    cores: dict[str, Core]
    wheels: tuple[str, ...]
    module: str
    alone: bool = False
    packages: tuple[str, ...] = ()


V8 = "fp asimd evtstrm crc32 cpuid"
V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae"
AARCH64 = {"cortex-a76": Core("0xd0b", "8", V82), "cortex-a72": Core("0xd08", "8", V8), "cortex-a53": Core("0xd03", "8", V8)}
ARMV7L = {"cortex-a15": Core("0xc0f", "7", V7), "cortex-a7": Core("0xc07", "7", V7)}
USERLANDS = {
    "aarch64": Userland(
        arch="aarch64",
        debian="arm64",
        qemu="qemu-aarch64",
        cores=AARCH64,
        wheels=("ai-edge-litert==2.3.0", "onnxruntime==1.31.1", "numpy==2.4.6"),
        module="ai_edge_litert",
    ),
    "aarch64-tflite-runtime": Userland(
        arch="aarch64",
        debian="arm64",
        qemu="qemu-aarch64",
        cores=AARCH64,
        wheels=("tflite-runtime==2.14.0", "numpy==1.26.4"),  # it was compiled for numpy 1
        module="tflite_runtime",
    ),
    "armv7l": Userland(
        arch="armv7l",
        debian="armhf",
        qemu="qemu-arm",
        cores=ARMV7L,
        wheels=("tflite-runtime==2.14.0",),
        module="tflite_runtime",
        alone=True,
        packages=("python3-numpy",),
    ),
}


def cache() -> Path:
    """The user's cache folder of edgekit."""
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "edgekit"


def run(argv: Sequence[str | Path], *, what: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Standard output of a command.

    Raises:
        UserlandError: it failed; the last line it said.
    """
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    except OSError as error:
        raise UserlandError(f"{what}: {argv[0]}: {error.strerror}") from error
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1:]
        raise UserlandError(f"{what}: {Path(argv[0]).name} ended with status {ran.returncode}: {''.join(said)}")
    return ran.stdout


def needed(userland: Userland) -> str:
    """Path of the emulator.

    Raises:
        UserlandError: it, or what packages are unpacked with, is not there.
    """
    missing = [f"{name} (apt-get install {package})" for name, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")) if not shutil.which(name)]
    if not Path(KEYRING).exists():
        missing.append(f"{KEYRING} (apt-get install debian-archive-keyring)")
    qemu = shutil.which(userland.qemu) or shutil.which(f"{userland.qemu}-static")
    if qemu is None:
        missing.append(f"{userland.qemu} (apt-get install qemu-user)")
    if missing or qemu is None:
        raise UserlandError(f"not here: {', '.join(missing)}")
    return qemu


def packages(userland: Userland, root: Path, downloads: Path) -> None:
    """Download Debian's packages with a state of our own, and unpack them."""
    state = downloads / userland.debian
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [arch={userland.debian} signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    settings = {
        "APT::Architecture": userland.debian,
        "APT::Architectures": userland.debian,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    wanted = (*PACKAGES, *userland.packages)
    run(["apt-get", *options, "-qq", "update"], what="package lists")
    run(["apt-get", *options, "-qq", "-y", "--download-only", "install", *wanted], what="packages")
    planned = run(["apt-get", *options, "-qq", "--simulate", "install", *wanted], what="packages")
    for name, version in re.findall(r"^Inst (\S+) \((\S+) ", planned, re.MULTILINE):
        (found,) = (state / "archives").glob(f"{name.partition(':')[0]}_{version.replace(':', '%3a')}_*.deb")
        run(["dpkg-deb", "-x", found, root], what=found.name)


def wheels(userland: Userland, site: Path) -> None:
    """Install wheels of that platform into a folder."""
    platforms = [word for minor in GLIBC for word in ("--platform", f"manylinux_2_{minor}_{userland.arch}")]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--root-user-action=ignore"]
    foreign = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms, f"--platform=manylinux2014_{userland.arch}"]
    run([*pip, *foreign, *(["--no-deps"] if userland.alone else []), "--target", site, *userland.wheels], what="wheels")


def settle(userland: Userland, root: Path) -> None:
    """What packages' scripts would have made."""
    for link, to in LINKS.items():
        if not (root / link).exists():
            (root / link).symlink_to(to)
    for library in root.glob("usr/lib/*/*/lib*.so.3"):
        if library.parent.name in ("blas", "lapack"):
            (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")


def cores(userland: Userland, root: Path, folder: Path) -> None:
    """A root for each core: the same, but for what tells of the processor."""
    for name, core in userland.cores.items():
        (folder / name / "proc").mkdir(parents=True)
        (folder / name / "proc" / "cpuinfo").write_text(CPUINFO.format(**core._asdict()))
        for entry in sorted(root.iterdir()):
            if entry.name != "proc":
                (folder / name / entry.name).symlink_to(f"../../{root.name}/{entry.name}")


def commands(root: Path, folder: Path) -> None:
    """A launcher by the name of each program."""
    folder.mkdir()
    (folder / ".launch").write_text(LAUNCHER)
    (folder / ".launch").chmod(0o755)
    for name in sorted({program.name for place in ("bin", "usr/bin") for program in (root / place).iterdir() if program.exists()}):
        (folder / name).symlink_to(".launch")


def counter(folder: Path) -> str:
    """Compile the plugin that counts; why not, if it cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "no C compiler"
    try:
        run([compiler, "-shared", "-fPIC", "-O2", "-o", folder / "instructions.so", PLUGIN], what="the plugin")
    except UserlandError as error:
        return str(error)
    (folder / "commands" / "python3-counting").write_text(COUNTING)
    (folder / "commands" / "python3-counting").chmod(0o755)
    return ""


def asked(userland: Userland, folder: Path, qemu: str, python: str) -> dict[str, object]:
    """What the userland tells of itself; the runtime is imported there."""
    core = next(iter(userland.cores))
    env = {
        "PATH": str(folder / "commands"),
        "PYTHONPATH": str(folder / "site"),
        "QEMU_LD_PREFIX": str(folder / "cores" / core),
        "QEMU_CPU": core,
        "EDGEKIT_QEMU": qemu,
    }
    said = run([folder / "commands" / python, "-c", ASK.format(module=userland.module)], what=f"Python there ({python})", env=env, cwd=folder)
    told: dict[str, object] = json.loads(said)
    return told


def counts_with(userland: Userland, folder: Path, qemu: str) -> tuple[str, str]:
    """The version of the emulator that was seen to count, and why it does not."""
    reason = counter(folder)
    if not reason:
        try:
            asked(userland, folder, qemu, "python3-counting")
        except UserlandError as error:
            reason = str(error)
        else:
            marks = (folder / "instructions.txt").read_text().split()
            (folder / "instructions.txt").unlink()
            if marks[::2] == ["0", "1"]:
                return version_of(qemu), ""
            reason = "the plugin wrote no counts"
    (folder / "commands" / "python3-counting").unlink(missing_ok=True)
    return "", reason


def version_of(qemu: str) -> str:
    """The emulator's version."""
    return run([qemu, "--version"], what="the emulator").partition("version ")[2].split()[0]


def make(name: str, out: Path, downloads: Path) -> str:
    """Make a userland as a whole, or not at all.

    Returns:
        One line on what there is.
    """
    userland = USERLANDS[name]
    if is_made(userland, out):
        return f"{name}: there already, in {out}"
    qemu = needed(userland)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=out.parent) as temporary:
        folder = Path(temporary, "userland")
        (folder / "root").mkdir(parents=True)
        packages(userland, folder / "root", downloads)
        wheels(userland, folder / "site")
        settle(userland, folder / "root")
        cores(userland, folder / "root", folder / "cores")
        commands(folder / "root", folder / "commands")
        told = asked(userland, folder, qemu, "python3")
        counts, why_not = counts_with(userland, folder, qemu)
        record = {"schema": 1, **told, "wheels": list(userland.wheels), "counts_with": counts}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)
    return f"{name}: made in {out}" + (f"; no instruction counts: {why_not}" if why_not else "")


def is_made(userland: Userland, folder: Path) -> bool:
    """Whether a folder holds this userland, whole."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return False
    return record.get("schema") == 1 and record.get("wheels") == list(userland.wheels)


def main(argv: Sequence[str] | None = None) -> int:
    """Make what the command line names."""
    default = Path(os.environ.get("EDGEKIT_USERLANDS") or cache() / "userlands")
    parser = argparse.ArgumentParser(description="Make an ARM userland for --device emulated:NAME.")
    parser.add_argument("name", choices=tuple(USERLANDS))
    parser.add_argument("folder", nargs="?", type=Path, help=f"where; {default}/NAME if not given")
    arguments = parser.parse_args(argv)
    out = (arguments.folder or default / arguments.name).absolute()
    try:
        print(make(arguments.name, out, cache() / "downloads"))
    except UserlandError as error:
        print(f"{arguments.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
