import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit.run
from edgekit.run.tensors import Tensor, write_tensors

ROOM = Path(edgekit.run.__file__).parent


@pytest.fixture
def desk(tmp_path):
    """A folder as it is put on a device: the agent beside an engine that multiplies by two, and three feeds."""
    import onnx

    folder = tmp_path / "edgekit_run"
    folder.mkdir()
    for source in ROOM.glob("*.py"):
        shutil.copyfile(source, folder / source.name)
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        twice (float[1,3] x) => (float[1,3] y) <float two = {2.0}> { y = Mul(x, two) }""")
    onnx.save(model, tmp_path / "model.onnx")
    values = [np.array([[1, 2, 3]], np.float32) * factor for factor in (1, 10, 100)]
    write_tensors(str(tmp_path / "feeds"), [[Tensor("x", "float32", (1, 3), value.tobytes())] for value in values])
    return tmp_path


@pytest.fixture
def job():
    return {
        "schema": 1,
        "engine": "model.onnx",
        "runtime": "onnxruntime",
        "options": {},
        "threads": 1,
        "inputs": ["x"],
        "outputs": ["y"],
        "feeds": "feeds",
        "latency": {"warmup_s": 0.0, "warmup_queries": 5, "min_queries": 20, "min_duration_s": 0.0, "max_duration_s": 5.0},
        "infer": None,
    }


@pytest.fixture
def ask(desk):
    """Runs the agent as a device would; returns the finished process and the answer."""

    def run(job, python=sys.executable):
        (desk / "job.json").write_text(json.dumps(job))
        ran = subprocess.run(
            [python, "-m", "edgekit_run.agent", "job.json", "result.json"], cwd=desk, capture_output=True, text=True, timeout=60, check=False
        )
        result = desk / "result.json"
        return ran, json.loads(result.read_text()) if result.exists() else None

    return run


@pytest.fixture
def python38():
    candidates = [*map(str, Path.home().glob(".pyenv/versions/3.8.*/bin/python")), shutil.which("python3.8")]
    for found in filter(None, candidates):
        if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("no Python 3.8 here")
