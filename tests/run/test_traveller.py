"""What makes the room fit to travel: grammar, imports, a Python of the board's age."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit.run

FILES = sorted(Path(edgekit.run.__file__).parent.glob("*.py"))
HEAVY = {"PIL", "numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_keeps_to_the_grammar_of_python_3_8(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


def absolute_imports(tree):
    """(top-level package, whether inside a function) of each import."""
    inside = {node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name.partition(".")[0], node in inside
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0], node in inside


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_standard_library_is_imported_and_runtimes_inside_functions(path):
    for package, is_inside in absolute_imports(ast.parse(path.read_text(encoding="utf-8"))):
        is_beside = path.name in ("board.py", "trtexec_query.py") and f"{package}.py" in {
            file.name for file in FILES
        }  # it goes into packages for boards, too
        assert package in sys.stdlib_module_names or is_beside or (package in HEAVY and is_inside), package


def test_the_timing_loop_runs_under_python_3_8_without_numpy(desk, python38):
    script = """
import sys
from edgekit_run.timing import Load, time_queries, warm_up
class Sleeper:
    def run(self, ready):
        return sum(range(ready))
load = Load(warmup_s=0.0, warmup_queries=4, min_queries=50, min_duration_s=0.01, max_duration_s=5.0)
assert warm_up(Sleeper(), [10, 20], load) == 4
timed = time_queries(Sleeper(), [1000, 2000], load)
assert len(timed.latencies_ns) >= 50 and min(timed.latencies_ns) > 0 and timed.wall_ns >= 10_000_000 and not timed.capped
assert "numpy" not in sys.modules
print("ran", sys.version_info[:2])
"""
    ran = subprocess.run([python38, "-c", script], cwd=desk, capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "ran (3, 8)", "")


def test_the_agent_under_python_3_8_says_in_one_line_that_the_runtime_is_missing(ask, job, python38):
    ran, answer = ask(job, python=python38)

    assert ran.returncode == 1
    assert (ran.stdout, ran.stderr) == ("", "")
    assert answer["error"]["kind"] == "runtime"
    assert answer["error"]["reason"].startswith("onnxruntime cannot be imported: ")
