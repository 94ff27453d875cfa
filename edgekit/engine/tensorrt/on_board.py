"""Build an engine where it runs: the package goes to the board, the builder script there builds, times and profiles, the engine comes back.

The build is a job of the board's own (:mod:`edgekit.run.detached`), by the package's hash: a connection that breaks does not end it,
and whoever asks for the same engine again waits for it, or takes what came of it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from edgekit.device.contract import Device
from edgekit.device.travel import answer_of, python_of, script_of
from edgekit.engine.contract import Engine, read_engine, seal_engine
from edgekit.engine.tensorrt.plan import BuildPlan
from edgekit.errors import DeviceError, UnreachableError, UnsupportedError
from edgekit.model import file_sha256
from edgekit.run.board import DECIDING
from edgekit.target import Target
from edgekit.watch import Watcher

SURVEY = ("cuda_memory", "jetson", "trtexec_output", "trtexec_path", "board")
JOB = ("lease", "home", "depot", "detached")
SURVEY_S = 120.0
LOOK_S = 15.0
ANSWER_S = 60.0
RETURN_S = 60.0
"""How long a board that is building may be out of reach before who waits gives up; the build does not."""
PLAN_FILE, RESULT_FILE, LOG_FILE = "build-plan.json", "build-result.json", "build.log"
KEPT = ("layers.json", "profile.json", "times.json", "run.log")
WRONG_PLACE = 2
ON_BOARD = ("--run", "--warmup", "0.5", "--duration", "2")


class _State(msgspec.Struct, frozen=True):
    """What a job says of itself; see :class:`edgekit.run.detached.Job`."""

    state: Literal["absent", "running", "ended"]
    status: int | None = None
    work: str = ""
    said: str = ""


def survey(device: Device) -> dict[str, Any]:
    """TensorRT, GPU, board, power modes and clocks of a device; ``tensorrt`` is "" where it has none.

    Raises:
        DeviceError: it cannot be asked.
    """
    return answer_of(device, script_of(SURVEY, "board.main"), dict[str, Any], timeout_s=SURVEY_S)


def deciding(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Of a survey, what an engine depends on."""
    return {name: machine[name] for name in DECIDING if machine.get(name)}


def why_not_on(machine: Mapping[str, Any], target: Target) -> str:
    """Why a target's engines cannot be built on a device; "" if nothing is known against it."""
    wanted, here = target.runtime("tensorrt").version, str(machine["tensorrt"])
    if machine.get("arch", target.arch) != target.arch:
        return f"it is {machine['arch']}, and {target.name} is {target.arch}"
    if not here:
        return "it has no TensorRT"
    if here.split(".")[:2] != wanted.split(".")[:2]:
        return f"it has TensorRT {here}, and {target.name} is for {wanted}"
    capability, there = str(target.facts.get("compute_capability", "")), str(machine.get("compute_capability", ""))
    if capability and there and capability != there:
        return f"its GPU ({machine.get('gpu', '')}) has compute capability {there}, and {target.name} is for {capability}"
    return ""


class Job:
    """A build on a board.

    Args:
        device: the board.
        key: of the build.
    """

    def __init__(self, device: Device, key: str) -> None:
        self._device, self._key = device, key

    def do(self, action: str, *arguments: object, timeout_s: float = ANSWER_S) -> _State:
        """One of the verbs of :class:`edgekit.run.detached.Job`."""
        script = script_of(JOB, "detached.main", f"{action!r}, {self._key!r}, {list(arguments)!r}")
        return answer_of(self._device, script, _State, timeout_s=timeout_s)

    def wait(self, watcher: Watcher) -> _State:
        """Until it has ended, whatever the network does meanwhile.

        Raises:
            UnreachableError: the board was out of reach for a minute.
        """
        reached = time.monotonic()
        while True:
            try:
                found = self.do("wait", LOOK_S, timeout_s=LOOK_S + ANSWER_S)
            except UnreachableError as error:
                if time.monotonic() - reached > RETURN_S:
                    hint = "the build goes on there: the same command takes it up again, or takes what came of it"
                    raise UnreachableError(f"{error} (while {self._device.facts.name} was building)", hint=hint) from error
                time.sleep(1.0)
                continue
            reached = time.monotonic()
            if found.state != "running":
                return found
            watcher.note(f"{self._device.facts.name} is building: {found.said or 'nothing said yet'}")


def build_on(device: Device, package: Path, out: Path, watcher: Watcher) -> Engine:
    """Build the engine of a package on a board, and fetch it with all that is known of it.

    Args:
        device: the board.
        package: folder that :func:`edgekit.engine.tensorrt.package.write_package` filled.
        out: folder for the engine, its record, ``build-result.json``, layers, profile and log.
        watcher: told about progress.

    Raises:
        DeviceError: the board is not what the package is for, or TensorRT there cannot build.
        UnreachableError: it was out of reach for too long; the build goes on there.
        UnsupportedError: TensorRT there refuses nodes.
    """
    packed = read_engine(package)
    plan = msgspec.json.decode((package / PLAN_FILE).read_bytes(), type=BuildPlan)
    job = Job(device, _key(package))
    try:
        state = job.do("look")
        if state.state == "running":
            watcher.note(f"{device.facts.name} is building this very engine already: waiting for it")
        elif state.status != 0:
            _start(job, device, package)
        state = job.wait(watcher) if state.status != 0 else state
    except KeyboardInterrupt:
        job.do("stop")
        raise
    work = PurePosixPath(state.work)
    result = _result(device, work, out, state)
    _must_be_built(result, device, state)
    for name in (plan.engine, *KEPT, LOG_FILE):
        _fetch(device, work / name, out / name, is_needed=name == plan.engine)
    if file_sha256(out / plan.engine) != result["engine"]["sha256"]:
        raise DeviceError(f"{device.facts.name}: {plan.engine} is not what was built", hint="is its disk damaged? build again")
    for name in (*plan.made_of, PLAN_FILE):  # what `debug engine` goes by, and a package is made of again
        if (package / name).exists():
            shutil.copyfile(package / name, out / name)
    job.do("forget")
    return seal_engine(out, _engine(packed, plan, result, out))


def _start(job: Job, device: Device, package: Path) -> None:
    desk = device.workspace()  # leases the board
    device.push(package, desk / "package")
    argv = [python_of(device), "build_engine.py", "--folder", ".", "--caches", "{depot}/timing", *ON_BOARD]
    job.do("start", str(desk / "package"), argv, desk.parent.name)  # DEPOT/visits/TOKEN/N: the token is the visit's


def _key(package: Path) -> str:
    """Of all files of a package."""
    digest = hashlib.sha256()
    for path in sorted(package.iterdir()):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()[:32]


def _result(device: Device, work: PurePosixPath, out: Path, state: _State) -> dict[str, Any]:
    try:
        device.pull(work / RESULT_FILE, out / RESULT_FILE)
        result: dict[str, Any] = msgspec.json.decode((out / RESULT_FILE).read_bytes())
    except (DeviceError, msgspec.DecodeError) as error:
        if isinstance(error, UnreachableError):
            raise
        ending = f"with status {state.status}" if state.status is not None else "killed, for want of memory perhaps"
        raise DeviceError(f"{device.facts.name}: the build ended {ending}: {state.said or 'it said nothing'}", hint="run it again") from error
    return result


def _must_be_built(result: Mapping[str, Any], device: Device, state: _State) -> None:
    """Say why there is no engine.

    Raises:
        DeviceError, UnsupportedError: there is none.
    """
    if result["status"] == "built" and state.status == 0:
        return
    reason = str(result.get("reason") or state.said)
    if nodes := result.get("nodes"):
        lines = [f"{one['name'] or one['index']} ({one['op']}): {one['reason']}" for one in nodes]
        raise UnsupportedError(f"{device.facts.name}: {reason}", hint="these nodes are refused by TensorRT itself", refusals=lines)
    if state.status == WRONG_PLACE:
        raise DeviceError(f"{device.facts.name}: {reason}", hint=f"edgekit targets probe {device.facts.url} writes the target file of this board")
    if "out of memory" in reason.lower():
        raise DeviceError(f"{device.facts.name}: {reason}", hint="close what else runs there, add swap, or build a smaller model")
    raise DeviceError(f"{device.facts.name}: {reason}", hint="tensorrt.optimization_level = 2 or a smaller workspace_mib asks less of it")


def _fetch(device: Device, remote: PurePosixPath, local: Path, *, is_needed: bool) -> None:
    try:
        device.pull(remote, local)
    except UnreachableError:
        raise
    except DeviceError:
        if is_needed:
            raise


def _engine(packed: Engine, plan: BuildPlan, result: Mapping[str, Any], out: Path) -> Engine:
    built = {
        key: result[key] for key in ("machine", "build_s", "limits", "failed_attempts", "memory", "timing_cache", "stats", "by") if result.get(key)
    }
    placement = {key: value for key, value in result.get("placement", {}).items() if value}
    placement |= {"ms": cost} if (cost := result.get("run", {}).get("placement_ms")) else {}
    details = {key: value for key, value in packed.details.items() if key != "on_the_device"}
    shapes = {one.input: list(one.opt) for one in plan.profiles}
    return msgspec.structs.replace(
        packed,
        file=plan.engine,
        status="built",
        bytes=(out / plan.engine).stat().st_size,
        sha256=file_sha256(out / plan.engine),
        options={"shapes": shapes} if shapes else {},
        details={**details, "built_on": built, **({"placement": placement} if placement else {})},
    )
