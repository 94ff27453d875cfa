"""The service, read by systemd itself."""

import os
import shutil
import subprocess

import pytest

from edgekit.deploy import unit_of


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    path = tmp_path / "edgekit-tiny.service"
    path.write_text(unit_of("tiny", "/home/pi/.local/share/edgekit/apps", "python3"))

    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    ran = subprocess.run(["systemd-analyze", "verify", "--user", path], env=environment, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_unit_asks_the_agent_that_lies_on_the_device(tmp_path):
    lines = unit_of("tiny", "/apps", "/usr/bin/python3.8").splitlines()

    assert "Environment=EDGEKIT_APPS=/apps PYTHONPATH=/apps/agent PYTHONDONTWRITEBYTECODE=1" in lines
    assert "ExecStart=/usr/bin/env /usr/bin/python3.8 -m edgekit_run.apps keep tiny 600 3600" in lines
