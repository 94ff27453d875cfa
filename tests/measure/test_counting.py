"""Instructions between marks, from what an emulator wrote."""

import json
import shutil
from pathlib import PurePosixPath

import numpy as np
import pytest

from edgekit.device.contract import DeviceFacts, Ran
from edgekit.errors import DeviceError
from edgekit.measure import Instructions, count
from edgekit.measure.counting import counts_between

MARKS = """\
0 100
1 107
2 999
3 1000
4 1007
5 1514
6 2000
7 2007
8 2507
9 3000
10 3007
11 3507
"""  # one query to warm up, three that count: 507, 500 and 500 instructions, of which marking took 7


class CountingDevice:
    """Keeps files in a folder; its agent answers as one under an emulator that counts would."""

    def __init__(self, folder):
        self.facts = DeviceFacts(
            url="fake", name="fake-qemu", arch="aarch64", cpu="Cortex-A76 in a fake", emulated=True, packages={}, counting="python3-counting"
        )
        self.folder, self.ran, self.marks = folder, [], MARKS

    def push(self, local, remote):
        shutil.copytree(local, self.folder / str(remote), dirs_exist_ok=True)

    def pull(self, remote, local):
        versions = {"ai-edge-litert": "2.3.0", "numpy": "2.4.6", "python": "3.11.2"}
        answer = {"error": None, "versions": versions, "count": {"warmup": 1, "queries": 3}}
        local.write_text({"result.json": json.dumps(answer), "instructions.txt": self.marks}[remote.name])

    def run(self, argv, *, timeout_s, stdin=b""):
        self.ran.append(list(argv))
        return Ran(0, b"", b"")

    def workspace(self):
        return PurePosixPath("workspace")

    def close(self):
        pass


def test_what_marking_costs_is_taken_off_each_count():
    assert counts_between(MARKS, 1, 3, "qemu") == (500, 493, 493)


def test_lines_that_are_no_marks_do_not_count():
    assert counts_between(f"hello\n{MARKS}end 5000\n8\n", 1, 3, "qemu") == (500, 493, 493)


@pytest.mark.parametrize(("text", "missing"), [("", 9), (MARKS.replace("5 1514\n", ""), 1)])
def test_a_mark_that_is_missing_is_a_device_error(text, missing):
    with pytest.raises(DeviceError, match=f"qemu: {missing} of 9 marks were not counted") as caught:
        counts_between(text, 1, 3, "qemu")

    assert caught.value.hint


def test_the_median_of_an_even_number_of_counts_is_one_of_them():
    assert Instructions(per_query=(7, 5, 4, 6), cpu="", runtime="").median == 5


def test_queries_are_counted_under_the_interpreter_that_the_device_names(twice, tmp_path):
    folder, engine, signature = twice
    device = CountingDevice(tmp_path / "device")

    found = count(folder, engine, [{"x": np.zeros((1, 2), np.float32)}] * 9, device, signature=signature)

    job = json.loads((tmp_path / "device/workspace/desk/job.json").read_text())
    assert found == Instructions(per_query=(500, 493, 493), cpu="Cortex-A76 in a fake", runtime="ai-edge-litert 2.3.0")
    assert device.ran[0][-1] == "python3-counting"
    assert job["count"] == {"warmup_queries": 24, "warmup_s": 10.0, "queries": 3}
    assert job["latency"] is None
    assert job["threads"] == 1
