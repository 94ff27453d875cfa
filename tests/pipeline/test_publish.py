"""Folders of results: a reader sees the old one or the new one, and what a killed build left is swept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.pipeline.publish import replace_folder


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    final = tmp_path / "engines" / "one"
    replace_folder(final, lambda folder: (folder / "old").write_text("1") and None)

    replace_folder(final, lambda folder: (folder / "new").write_text("2") and None)

    assert [path.name for path in final.iterdir()] == ["new"]
    assert [path.name for path in final.parent.iterdir()] == ["one"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path):
    final = tmp_path / "one"
    replace_folder(final, lambda folder: (folder / "old").write_text("1") and None)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("2")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        replace_folder(final, fails)

    assert [path.name for path in final.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_a_dead_build_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    final = tmp_path / "one"
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    (tmp_path / f".one-{dead.pid}-abc").mkdir()
    (tmp_path / f".one-{os.getpid()}-abc").mkdir()

    replace_folder(final, lambda folder: None)

    assert sorted(path.name for path in tmp_path.iterdir()) == [f".one-{os.getpid()}-abc", "one"]
