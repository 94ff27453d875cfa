"""A board with TensorRT behind a real OpenSSH server: its trtexec, nvpmodel and tegrastats replay what real ones printed.

No TensorRT runs here. What is tried is the way there and back: what is sent, asked, refused, taken up again and reported.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.engine.tensorrt import on_board
from edgekit.strict import toml_of
from edgekit.target import read_target, target_files

TOOLS = Path(__file__).with_name("jetson_tools")
LOAD = ("--set", "load.min_queries=20", "--set", "load.min_duration_s=0.1", "--set", "load.warmup_s=0.1")


class Board:
    def __init__(self, sshd, notes: Path) -> None:
        self.sshd, self._notes = sshd, notes
        notes.mkdir()

    def note(self, name: str, value: object) -> None:
        (self._notes / name).write_text(str(value))

    @property
    def calls(self) -> list[str]:
        file = self._notes / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def builds(self) -> int:
        return sum("--saveEngine" in call for call in self.calls)

    def is_building(self) -> bool:
        return self.builds > 0

    def start(self) -> None:
        path = f"{TOOLS}:{self.sshd.path}"
        self.sshd.start({"PATH": path, "TRTEXEC": TOOLS / "trtexec", "TRTEXEC_NOTES": self._notes, "HOME": self.sshd.home})


@pytest.fixture
def board(sshd, tmp_path, monkeypatch):
    """``ssh://pi``, with TensorRT 10.3 and no Python package of it; target ``board.toml`` is the Jetson of this machine's architecture."""
    import os

    shipped = read_target(target_files()["jetson-orin-nano-jp62"])
    own = msgspec.structs.replace(shipped, name="board", arch=os.uname().machine, features=(), aliases=())
    own = msgspec.structs.replace(own, sources={key: text for key, text in own.sources.items() if key != "features"})
    Path("board.toml").write_text(toml_of(own))
    sshd.stop()
    board = Board(sshd, tmp_path / "notes")
    board.start()
    return board


def build(edgekit, net, pictures, *more):
    return edgekit("build", net, "--target", "board.toml", "--samples", pictures, "--device", "ssh://pi", "-o", "out", "--json", *LOAD, *more)


def test_one_command_builds_on_the_board_judges_measures_and_reports(edgekit, board, net, pictures):
    said = build(edgekit, net, pictures)

    (entry,) = said.data["engines"]
    assert said.status == 0, said.err
    assert (entry["status"], entry["runtime"], entry["precision"]) == ("built", "tensorrt", "int8")
    assert entry["latency"]["p50_ms"] == pytest.approx(6.32, abs=0.03)
    assert len(entry["latency"]["samples_ns"]) == 20
    assert entry["fidelity"]["sqnr_db"] > 15
    assert entry["fidelity"]["judged_on"]["device"] == entry["measured_on"]["device"]
    assert entry["details"]["built_on"]["machine"]["power_mode"] == "25W"
    assert entry["details"]["built_on"]["stats"]["power_mean_mw"]["VDD_IN"] == 4952
    folder = Path("out/engines/board-tensorrt")
    assert (folder / "model.plan").read_bytes()[:4] == b"ftrt"
    assert {"profile.json", "layers.json", "build.log", "build-result.json"} <= {path.name for path in folder.iterdir()}
    text = Path("out/report.md").read_text()
    assert "has not been run" not in text
    assert "trtexec 10.3.0" in text
    assert "Built on the device by TensorRT 10.3.0, power mode 25W, VDD_IN 5.0 W meanwhile, 50 °C at most." in entry["remarks"]
    assert not [line for line in text.splitlines() if line.startswith("- board (tensorrt)") and "had a processor" in line]
    assert edgekit("debug", "engine", folder).status == 0


def test_what_was_built_for_this_very_board_is_not_built_again(edgekit, board, net, pictures):
    build(edgekit, net, pictures, "--no-bench")
    again = build(edgekit, net, pictures, "--no-bench")

    assert (again.status, board.builds) == (0, 1)


def test_a_package_is_built_on_the_board_that_it_is_measured_on(edgekit, board, net, pictures):
    edgekit("build", net, "--target", "board.toml", "--samples", pictures, "-o", "out", "--no-bench")
    assert board.builds == 0

    said = edgekit("bench", "out/engines/board-tensorrt", "--device", "ssh://pi", "--json", *LOAD)

    assert said.status == 0, said.err
    (entry,) = said.data
    assert (entry["status"], board.builds) == ("built", 1)
    assert entry["latency"]["p50_ms"] == pytest.approx(6.32, abs=0.03)


def test_another_release_is_refused_before_anything_calibrates(edgekit, board, net, pictures):
    board.note("banner", "8502")

    said = build(edgekit, net, pictures)

    assert said.status == 4
    assert "cannot build for board: it has TensorRT 8.5.2, and board is for 10.3.0" in said.data["error"]["message"]
    assert "edgekit targets probe ssh://pi" in said.data["error"]["hint"]
    assert board.builds == 0
    assert not Path("out/steps").exists()


def test_a_board_without_tensorrt_is_refused_and_two_targets_leave_its_package(edgekit, board, net, pictures):
    board.sshd.stop()
    board.sshd.start()

    alone = build(edgekit, net, pictures)
    both = build(edgekit, net, pictures, "--target", "host:onnxruntime", "--no-bench")

    assert (alone.status, both.status) == (4, 0)
    assert "it has no TensorRT" in alone.data["error"]["message"]
    assert [entry["status"] for entry in both.data["engines"]] == ["not built: needs the device", "built"]
    assert any("cannot build it: it has no TensorRT" in remark for remark in both.data["remarks"])


def test_where_memory_runs_out_it_is_tried_with_less_and_said(edgekit, board, net, pictures):
    board.note("memory", 600)

    said = build(edgekit, net, pictures)

    assert said.status == 0, said.err
    remarks = said.data["engines"][0]["remarks"]
    assert "Memory ran out there: it was built with 512 MiB of workspace instead of 2048, optimization level 2." in remarks
    assert said.data["engines"][0]["details"]["built_on"]["limits"] == {"workspace_mib": 512, "optimization_level": 2}


def test_where_even_the_least_is_too_much_nothing_is_half_written(edgekit, board, net, pictures):
    board.note("memory", 1)

    said = build(edgekit, net, pictures)

    assert said.status == 4
    assert "out of memory" in said.data["error"]["message"]
    assert "add swap" in said.data["error"]["hint"]
    assert not Path("out/report.json").exists()
    assert not list(Path("out").glob("engines/*/*"))


def test_a_connection_that_breaks_in_the_middle_of_a_build_is_made_again_and_the_build_goes_on(edgekit, board, net, pictures):
    board.note("slow", 4)

    def cut():
        assert board.sshd.tools.until(board.is_building, 60)
        time.sleep(0.5)
        board.sshd.signal_sessions(signal.SIGKILL)

    cutting = threading.Thread(target=cut)
    cutting.start()
    said = build(edgekit, net, pictures)
    cutting.join()

    assert said.status == 0, said.err
    assert board.builds == 1
    assert said.data["engines"][0]["latency"]["p50_ms"] == pytest.approx(6.32, abs=0.03)


def test_a_board_that_stays_away_goes_on_building_and_the_same_command_takes_what_came_of_it(edgekit, board, net, pictures, monkeypatch):
    monkeypatch.setattr(on_board, "RETURN_S", 0.0)
    board.note("slow", 3)

    def go_away():
        assert board.sshd.tools.until(board.is_building, 60)
        time.sleep(0.5)
        board.sshd.signal_sessions(signal.SIGKILL)
        board.sshd.stop()

    going = threading.Thread(target=go_away)
    going.start()
    lost = build(edgekit, net, pictures)
    going.join()
    board.start()
    again = build(edgekit, net, pictures)

    assert lost.status == 4
    assert "was building" in lost.data["error"]["message"]
    assert "the build goes on there: the same command takes it up again" in lost.data["error"]["hint"]
    assert again.status == 0, again.err
    assert board.builds == 1


def test_ctrl_c_ends_the_build_on_the_board(board, net, pictures):
    board.note("slow", 60)
    argv = [sys.executable, "-m", "edgekit", "build", net, "--target", "board.toml", "--samples", pictures, "--device", "ssh://pi", "-o", "out"]
    process = subprocess.Popen([str(one) for one in argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert board.sshd.tools.until(board.is_building, 60)
    time.sleep(0.5)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert board.sshd.tools.until(lambda: not _processes("build_engine.py"), 10)


def _processes(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and "pytest" not in line:
            found.append(line)
    return found


def test_a_bundle_takes_the_package_and_not_what_one_board_built(edgekit, board, net, pictures, tmp_path, monkeypatch):
    """The same files as those of the build without the board; another board builds and answers."""
    pytest.importorskip("cyclonedx")
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    edgekit("keys", "new", "release")
    build(edgekit, net, pictures, "--no-bench")
    edgekit("build", net, "--target", "board.toml", "--samples", pictures, "-o", "without", "--no-bench")

    said = edgekit("bundle", "out", "--engine", "board-tensorrt", "--name", "net", "--samples", pictures, "--key", "release", "-o", "one.edgekit")
    edgekit("bundle", "without", "--engine", "board-tensorrt", "--name", "net", "--samples", pictures, "-o", "other.edgekit")
    public = tmp_path / "keys" / "release.pub"
    deployed = edgekit("deploy", "one.edgekit", "--device", "ssh://pi", "--trust-keys", public, "--trial-s", 0)

    assert (said.status, "each device builds its own" in said.out) == (0, True), said.err
    assert engine_of("one.edgekit") == engine_of("other.edgekit")
    assert "engine/model.plan" not in engine_of("one.edgekit")
    assert (deployed.status, "net " in deployed.out) == (0, True), deployed.err
    assert board.builds == 2


def engine_of(bundle):
    with tarfile.open(bundle) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.name.startswith("engine/")}


def test_an_engine_whose_graph_is_gone_is_not_bundled(edgekit, board, net, pictures):
    pytest.importorskip("cyclonedx")
    build(edgekit, net, pictures, "--no-bench")
    (engine,) = Path("out").rglob("model.plan")
    engine.with_name("model.onnx").unlink()

    said = edgekit("bundle", "out", "--engine", "board-tensorrt")

    assert (said.status, len(said.err.splitlines())) == (1, 2)
    assert "model.onnx is not what the engine was built of" in said.err


@pytest.fixture
def deployable(edgekit, board, net, pictures, tmp_path, monkeypatch):
    """``deployable(version, *words)``: deploys the package of ``net``, bundled as that version."""
    pytest.importorskip("cyclonedx")
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    edgekit("keys", "new", "release")
    edgekit("build", net, "--target", "board.toml", "--samples", pictures, "-o", "out", "--no-bench")

    def deploy(version, *words):
        made = ("--name", "net", "--version", version, "--samples", pictures, "--key", "release", "-o", f"{version}.edgekit", *words)
        assert edgekit("bundle", "out", "--engine", "board-tensorrt", *made).status == 0
        public = tmp_path / "keys" / "release.pub"
        return edgekit("deploy", f"{version}.edgekit", "--device", "ssh://pi", "--trust-keys", public, "--trial-s", 2)

    return deploy


def test_a_board_with_trtexec_alone_builds_is_asked_what_its_engine_answers_and_serves(edgekit, board, deployable, pictures, monkeypatch, tmp_path):
    """The stand-in's engine answers as its graph does in ONNX Runtime, to six digits; a query takes 6.32 ms in the median."""
    said = deployable(1)

    assert (said.status, "ssh://pi: net 1 runs, good; signed by release" in said.out) == (0, True), said.err
    assert "6.32 ms a query (median)" in said.out
    assert board.builds == 1  # the trial asks what is there, and builds nothing
    slot = board.sshd.home / ".local" / "share" / "edgekit" / "apps" / "net" / "current"
    monkeypatch.setenv("PATH", board.sshd.path)
    monkeypatch.setenv("TRTEXEC", str(TOOLS / "trtexec"))
    monkeypatch.setenv("TRTEXEC_NOTES", str(tmp_path / "notes"))
    ran = subprocess.run([sys.executable, slot / "run.py", pictures / "03.png"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    best = json.loads(ran.stdout)["classes"]
    expected = scores_of(tmp_path / "work" / "out", pictures / "03.png")
    assert [one["index"] for one in best] == np.argsort(-expected, kind="stable").tolist()
    assert [one["score"] for one in best] == pytest.approx(np.sort(expected)[::-1].tolist(), rel=1e-4)


def scores_of(build, picture):
    """Of the package's graph in ONNX Runtime."""
    import onnxruntime

    from edgekit.report import read_report
    from edgekit.samples import feed_of

    report = read_report(build / "report.json")
    session = onnxruntime.InferenceSession(build / report.engines[-1].path)
    return session.run(None, feed_of(picture, "images", report.model.signature))[0][0]


def test_what_trtexec_answers_otherwise_than_was_recorded_or_too_slowly_is_not_installed(edgekit, board, deployable):
    assert deployable(1).status == 0

    slow = deployable(2, "--max-latency-ms", 5)
    board.note("wrong", 1)
    wrong = deployable(3)

    assert (slow.status, "a query takes 6.32 ms (median), 5.00 ms are allowed; version 1 goes on running" in slow.err) == (4, True), slow.err
    assert (wrong.status, "its outputs differ from the recorded ones by" in wrong.err, "version 1 goes on running" in wrong.err) == (4, True, True)
