import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")


def train(folder, weights, kill_at, average):
    script = Path(__file__).with_name("training_process.py")
    return subprocess.run([sys.executable, script, folder, weights, str(kill_at), average], env={**os.environ}, check=False, capture_output=True)


@pytest.mark.parametrize("average", ["none", "ema", "swa+noise"])
def test_a_training_that_was_killed_comes_to_the_same_bits(tmp_path, average):
    """Killed twice, in the second epoch and in the last, between two checkpoints; once it is let run."""
    if "noise" in average:
        pytest.importorskip("kornia")
    assert train(tmp_path / "whole", tmp_path / "whole.npz", 0, average).returncode == 0
    for kill_at in (7, 18):
        assert train(tmp_path / "killed", tmp_path / "killed.npz", kill_at, average).returncode == -9
        assert (tmp_path / "killed" / "training.pt").exists()
    assert not (tmp_path / "killed.npz").exists()
    assert train(tmp_path / "killed", tmp_path / "killed.npz", 0, average).returncode == 0

    whole, killed = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "killed.npz")
    assert whole["steps"] == 20
    assert whole.files == killed.files
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], killed[name])


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path):
    assert train(tmp_path / "other", tmp_path / "other.npz", 0, "ema").returncode == 0
    assert train(tmp_path / "other", tmp_path / "after.npz", 0, "none").returncode == 0
    assert train(tmp_path / "new", tmp_path / "new.npz", 0, "none").returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "after.npz")["w1"], np.load(tmp_path / "new.npz")["w1"])
