"""Deploys over a real OpenSSH server, or a real adbd, that are killed, cut off, or out of disk, at every step and at random bytes.

After each the device must answer with the old or the new engine, whole, and the next deploy must succeed.

    PYTHONPATH=. python tests/benchmarks/deploy/trials.py            # all of them, more than an hour
    PYTHONPATH=. python tests/benchmarks/deploy/trials.py --every 3  # a third of them
    PYTHONPATH=. python tests/benchmarks/deploy/trials.py --adb      # over a real adbd, which $EDGEKIT_ADBD names

Kinds: ``before`` and ``after`` (kill -9 of the process on the device at a step on its file system), ``full`` (the disk is full from
that step on), ``cut`` (the connection is closed after so many bytes), ``pull`` (the cable is pulled, and stays out), ``host`` (kill
-9 of the process here after some milliseconds), ``small`` (a file system of so many KiB).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit.deploy import Terms, deploy
from edgekit.errors import BundleError, DeviceError

TESTS = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).parent / "faults"
SEED = 7
CUTS, PULLS, HOSTS, SMALL = 90, 6, 60, 16


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(f"edgekit_tests_{name}", TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ground:
    """A device behind a real server, with one application whose version grows.

    Args:
        folder: for all of it.
        sshd: the server, of OpenSSH or adb; its ``urls`` of ``pi`` and ``cable`` reach it.
        bundles: the module ``tests/bundles.py``.
    """

    def __init__(self, folder: Path, sshd, bundles) -> None:
        self.folder, self.sshd, self.bundles = folder, sshd, bundles
        self.faults = folder / "faults"
        self.faults.mkdir(parents=True)
        self.apps = folder / "apps"
        self.signer = bundles.Signer("release")
        (folder / "release.pub").write_text(self.signer.public)
        self.version = 0
        sshd.stop()
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to(sys._base_executable)  # without this environment's packages: a device has none of them
        path = f"{folder / 'bin'}:/usr/bin:/bin"
        sshd.start({"PATH": path, "PYTHONPATH": FAULTS, "EDGEKIT_FAULTS": self.faults, "EDGEKIT_APPS": self.apps})
        self.next()
        self.deploy()

    def next(self) -> Path:
        """The bundle of the next version."""
        self.version += 1
        return self.bundles.Toy(self.version, extra=200_000).write(self.folder / f"{self.version}.edgekit", self.signer)

    def deploy(self, host: str = "pi") -> None:
        """Deploy the newest bundle."""
        terms = Terms(trust_keys=self.folder / "release.pub", trial_s=0, keep=2)
        deploy(self.folder / f"{self.version}.edgekit", self.sshd.urls[host], terms)

    def answers(self) -> int:
        """The version that answers, its outputs held against what was recorded, as a device that was restarted would."""
        run = self.apps / "toy" / "current" / "run.py"
        ran = subprocess.run([sys._base_executable, run, "--check"], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, f"nothing answers: {ran.stderr or ran.stdout}"
        return json.loads(ran.stdout)["version"]

    def steps(self) -> int:
        """So many steps a deploy takes when nothing goes wrong."""
        self.next()
        with self.planned("count 1"):
            self.deploy()
            return (self.faults / "steps").stat().st_size // 16

    @contextlib.contextmanager
    def planned(self, plan: str):
        (self.faults / "steps").unlink(missing_ok=True)
        (self.faults / "plan").write_text(plan)
        try:
            yield
        finally:
            (self.faults / "plan").unlink()

    def trial(self, kind: str, at: int) -> str:
        """One trial; what became of the deploy, in a word.

        Raises:
            AssertionError: something else answers than the old or the new engine, or the next deploy fails.
        """
        old = self.version
        bundle = self.next()
        came_about = "refused"
        with contextlib.suppress(DeviceError, BundleError):
            getattr(self, f"_{kind}", self._fault)(kind, at)
            came_about = "installed"
        self.sshd.cable.cut_after(None)
        found = self.answers()
        assert found in (old, self.version), f"{kind} {at}: version {found} answers, not {old} or {self.version}"
        if found == self.version and came_about == "refused":
            came_about = "installed, and not told"
        self.deploy()
        assert self.answers() == self.version, f"{kind} {at}: the next deploy"
        bundle.unlink()
        left = {path.name for path in (self.apps / "toy" / "slots").iterdir()}
        known = set(json.loads((self.apps / "toy" / "state.json").read_text())["slots"])
        assert left == known and len(left) <= 2, f"{kind} {at}: {left} are left of {known}"
        return came_about

    def _fault(self, kind: str, at: int) -> None:
        with self.planned(f"{kind} {at}"):
            self.deploy()

    def _cut(self, kind: str, at: int) -> None:
        """The transfer takes up what was cut; what is cut behind it ends the deploy."""
        self.sshd.cable.cut_after(at)
        self.deploy("cable")

    def _pull(self, kind: str, at: int) -> None:
        import threading

        timer = threading.Timer(at / 1000, self.sshd.cable.pull)
        timer.start()
        try:
            self.deploy("cable")
        finally:
            timer.join()
            self.sshd.cable.put_back()

    def _host(self, kind: str, at: int) -> None:
        """kill -9 of whoever deploys."""
        script = (
            "import sys; from pathlib import Path; from edgekit.deploy import Terms, deploy\n"
            f"deploy(Path({str(self.folder / f'{self.version}.edgekit')!r}), {self.sshd.urls['pi']!r}, Terms(trial_s=0, keep=2))"
        )
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(at / 1000)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            time.sleep(0.3)
            raise DeviceError("killed", hint="") from None

    def _small(self, kind: str, at: int) -> None:
        """The disk has so many KiB left: a file takes the rest of a real one."""
        told = os.statvfs(self.apps)
        filler = self.apps.parent / "filler"
        room = told.f_bavail * told.f_frsize - at * 1024
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, room))
        try:
            self.deploy()
        finally:
            filler.unlink()


def plan_of(steps: int, bytes_up: int, *, is_small: bool) -> list[tuple[str, int]]:
    """All trials: every step three times over, random bytes, random moments."""
    chance = random.Random(SEED)
    found = [(kind, step) for step in range(1, steps + 1) for kind in ("before", "after", "full")]
    found += [("cut", chance.randrange(bytes_up)) for _ in range(CUTS)]
    found += [("pull", chance.randrange(3000)) for _ in range(PULLS)]
    found += [("host", chance.randrange(200, 2600)) for _ in range(HOSTS)]
    found += [("small", chance.randrange(6000)) for _ in range(SMALL)] if is_small else []
    chance.shuffle(found)
    return found


@contextlib.contextmanager
def small_disk(folder: Path):
    """A file system of 24 MB, where it can be mounted; whether it was."""
    folder.mkdir(parents=True)
    is_mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--every", type=int, default=1, help="take each so many-th trial")
    arguments.add_argument("--first", type=int, default=0, help="beginning with this one")
    arguments.add_argument("--adb", action="store_true", help="over a real adbd")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary, small_disk(Path(temporary, "disk")) as is_small:
        folder = Path(temporary)
        sshd = over_adb(folder) if options.adb else over_ssh(folder)
        os.environ["EDGEKIT_KEYS"] = str(folder / "keys")
        try:
            return run(Ground(folder / "disk", sshd, loaded("bundles")), is_small=is_small, first=options.first, every=options.every)
        finally:
            sshd.close()


def over_ssh(folder: Path):
    """A server of OpenSSH."""
    sshd = loaded("sshd").Sshd(folder / "disk" / "sshd")
    os.environ["EDGEKIT_SSH"] = str(sshd.program)
    return sshd


def over_adb(folder: Path):
    """An adbd, and a server of adb's with keys of its own."""
    module = loaded("adbd")
    if module.WHY_NOT:
        sys.exit(module.WHY_NOT)
    os.environ.update(HOME=str(folder), ANDROID_ADB_SERVER_PORT=str(module.free_port()))
    return module.Adbd(folder / "disk" / "adbd", loaded("sshd").Cable)


def run(ground: Ground, *, is_small: bool, first: int = 0, every: int = 1) -> int:
    """All trials; how many failed."""
    before = ground.sshd.cable.carried
    ground.next()
    ground.deploy("cable")
    bytes_up = ground.sshd.cable.carried - before
    steps = ground.steps()
    trials = plan_of(steps, bytes_up, is_small=is_small)[first::every]
    print(f"{steps} steps, {bytes_up} bytes go up, {len(trials)} trials", flush=True)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    failures = []
    begun = time.monotonic()
    for number, (kind, at) in enumerate(trials, 1):
        try:
            counts[kind, ground.trial(kind, at)] += 1
        except (AssertionError, DeviceError, BundleError) as error:
            failures.append(f"{kind} {at}: {error}")
            print(failures[-1], flush=True)
        if number % 25 == 0:
            print(f"{number} done, {time.monotonic() - begun:.0f} s", flush=True)
    for (kind, came), count in sorted(counts.items()):
        print(f"{kind:8} {came:24} {count:4}")
    print(f"{sum(counts.values())} of {len(trials)} trials held in {time.monotonic() - begun:.0f} s; {len(failures)} did not")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
