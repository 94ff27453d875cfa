"""The attendant without SSH: over pipes, in a Python as old as a board's."""

import json
import os
import subprocess
import sys
import time

import pytest

from edgekit.device.travel import ATTENDANT, PROBE, script_of
from edgekit.run.frames import GREETING, pack, read_frame

READ = 'import sys; exec(compile(open(0, "rb", closefd=False).read(int(sys.argv[1])), "edgekit", "exec"))'


@pytest.fixture
def attendant(tmp_path):
    """``attendant(python)``: a process that has said hello, and a way to ask it."""
    started = []

    def start(python=sys.executable):
        script = script_of(ATTENDANT, "attendant.main")
        env = {**os.environ, "EDGEKIT_DEPOT": str(tmp_path / "depot"), "EDGEKIT_LOCK": str(tmp_path / "lock")}
        child = subprocess.Popen([python, "-c", READ, str(len(script)), "python3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=env)
        started.append(child)
        child.stdin.write(script)
        assert child.stdout.read(len(GREETING)) == GREETING
        return child

    yield start
    for child in started:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)


def ask(child, header, payload=b""):
    child.stdin.write(pack(header, payload))

    def take(count):
        content = b""
        while len(content) < count:
            content += child.stdout.read(count - len(content))
        return content

    while True:
        answer, carried = read_frame(take)
        if answer.get("op") != "beat":
            return answer, carried


def test_it_works_under_python_3_8(attendant, python38, tmp_path):
    child = attendant(python38)

    facts = ask(child, {"op": "hello", "token": "1"})[0]["facts"]
    assert facts["python"].startswith("3.8.")
    assert ask(child, {"op": "lease", "holder": "me"})[0] == {"holder": None}
    folder = ask(child, {"op": "workspace"})[0]["path"]
    told, both = ask(child, {"op": "run", "argv": ["cat"], "timeout_s": 5}, b"given")
    assert (told["status"], both) == (0, b"given")
    ask(child, {"op": "offer", "pieces": {"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae": 3}})
    child.stdin.write(pack({"op": "chunk", "sha": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "offset": 0}, b"foo"))
    file = {"path": f"{folder}/foo", "sha": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "mode": 0o640}
    assert ask(child, {"op": "place", "folders": [], "files": [file]})[0] == {"wrong": []}
    with open(f"{folder}/foo") as stream:
        assert stream.read() == "foo"


def test_nobody_else_may_write_to_what_it_makes_where_a_shell_has_no_umask(attendant, tmp_path):
    before = os.umask(0)
    try:
        child = attendant()
    finally:
        os.umask(before)

    ask(child, {"op": "hello", "token": "1"})
    folder = ask(child, {"op": "workspace"})[0]["path"]
    ask(child, {"op": "run", "argv": ["sh", "-c", 'mkdir "$0/sub"; echo > "$0/sub/file"', folder], "timeout_s": 5})

    writable = [path for path in tmp_path.joinpath("depot").rglob("*") if path.stat().st_mode & 0o022]
    assert (tmp_path / "depot" / "visits").is_dir()
    assert writable == []


def test_what_it_does_not_know_is_an_answer_and_no_end(attendant):
    child = attendant()

    assert "KeyError" in ask(child, {"op": "dance"})[0]["error"]["reason"]
    assert ask(child, {"op": "ping"})[0] == {}


def test_what_is_no_frame_ends_it(attendant):
    child = attendant()
    child.stdin.write(b"GET / HTTP/1.1\r\n\r\n")

    assert child.wait(10) == 1


def test_it_ends_when_the_connection_is_closed_though_a_command_runs(attendant):
    child = attendant()
    child.stdin.write(pack({"op": "run", "argv": ["sleep", "100"], "timeout_s": 200}))
    time.sleep(0.5)
    child.stdin.close()

    assert child.wait(10) == 1


def test_facts_are_told_by_a_script_that_writes_nothing(tmp_path):
    ran = subprocess.run([sys.executable, "-"], input=script_of(PROBE, "probe.main", "[]"), capture_output=True, check=True, cwd=tmp_path)

    told = json.loads(ran.stdout)
    assert told["arch"] == os.uname().machine
    assert told["executable"] == sys.executable
    assert "numpy" in told["packages"]
    assert list(tmp_path.iterdir()) == []
