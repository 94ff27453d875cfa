"""An engine that is built where it runs: the bundle brings graph and builder, the device builds before it switches.

TensorRT and CUDA are stand-ins: one that computes y = 2 x, one whose GPU memory is the host's.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cyclonedx")

DATA = Path(__file__).resolve().parents[1] / "engine" / "tensorrt" / "data"
CUDART = """#include <stdlib.h>
#include <string.h>
int cudaMalloc(void **p, size_t n) { *p = malloc(n); return *p ? 0 : 2; }
int cudaFree(void *p) { free(p); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, void *stream) { memcpy(to, from, n); return kind < 1 || kind > 2; }
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaStreamSynchronize(void *stream) { return stream == 0; }
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """This machine with TensorRT; ``board(release, does)`` says which, and what it does wrong."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "cudart.c").write_text(CUDART)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcudart.so", folder / "cudart.c"], check=True)
    shutil.copyfile(DATA / "fake_tensorrt.py", folder / "tensorrt.py")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")

    def be(release, does="build"):
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", release)
        monkeypatch.setenv("FAKE_TENSORRT_DOES", does)

    return be


@pytest.fixture
def bundle(tmp_path):
    """A bundle of a network that ``make`` gets as text, built for TensorRT on x86-64, and the release that it is for."""
    import onnx

    from edgekit.bundle import Wanted, new_key, pack, sign
    from edgekit.cli import run

    new_key("release")

    def make(text, version):
        onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}'), tmp_path / "net.onnx")
        assert run(["build", str(tmp_path / "net.onnx"), "-t", "rtx30:tensorrt", "--recipe", "float", "--no-bench", "-o", str(tmp_path / "out")]) == 0
        made = pack(tmp_path / "out", tmp_path / f"{version}.edgekit", Wanted(name="net", version=version))
        sign(made.path, "release")
        return made.path, made.manifest

    return make


TWICE = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) <float two = {2.0}> { y = Mul(x, two) }"
THRICE = TWICE.replace("2.0", "3.0")


def test_the_device_builds_tries_and_switches_and_what_it_cannot_build_is_not_installed(bundle, board, tmp_path):
    from edgekit.deploy import Terms, deploy
    from edgekit.errors import DeviceError

    terms = Terms(trust_keys=tmp_path / "keys" / "release.pub", trial_s=0)
    path, manifest = bundle(TWICE, 1)
    release = manifest.target.runtime_version
    board(release)

    found = deploy(path, "local", terms)

    slot = Path(os.environ["EDGEKIT_APPS"]) / "net" / "slots" / found.slot
    assert found.health.difference < 1e-6
    assert found.health.p50_ms > 0
    assert (slot / "engine" / "model.plan").is_file()
    assert manifest.build.argv[:2] == ("build_engine.py", "--run")
    np.savez(tmp_path / "x.npz", x=np.linspace(-1, 3, 192, dtype=np.float32).reshape(1, 3, 8, 8))
    ran = subprocess.run([sys.executable, slot.parents[1] / "current" / "run.py", tmp_path / "x.npz"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["outputs"] == {"y": {"shape": [1, 3, 8, 8], "least": -2.0, "largest": 6.0}}

    path, _ = bundle(THRICE, 2)
    with pytest.raises(DeviceError, match=r"its outputs differ from the recorded ones by 0\.333 of the largest.*; version 1 goes on running"):
        deploy(path, "local", terms)
    board(release, "fail")
    with pytest.raises(DeviceError, match="; version 1 goes on running"):
        deploy(path, "local", terms)
    assert found.running.version == 1
