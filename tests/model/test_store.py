"""The store: a name that exists is whole, whatever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.errors import StoreError
from edgekit.model import Store
from edgekit.model.store import default_root, key_of


def write(text: str):
    def make(out: Path) -> None:
        (out / "result").write_text(text)

    return make


def forbidden(out: Path) -> None:
    pytest.fail("made again")


def test_a_result_is_made_once_and_found_again(tmp_path):
    store = Store(tmp_path)

    first = store.keep("k" * 40, write("one"))
    second = store.keep("k" * 40, forbidden)

    assert first == second
    assert (second / "result").read_text() == "one"


def test_a_step_that_fails_leaves_nothing_and_can_be_tried_again(tmp_path):
    store = Store(tmp_path)

    def fails(out: Path) -> None:
        (out / "half").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.keep("k" * 40, fails)

    assert not store.has("k" * 40)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert (store.keep("k" * 40, write("whole")) / "result").read_text() == "whole"


def test_a_build_killed_in_the_middle_leaves_no_result_and_its_rest_is_swept(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from edgekit.model import Store\n"
        "def make(out):\n"
        "    (out / 'half').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
        "Store(Path(sys.argv[1])).keep('k' * 40, make)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout.readline() == b"writing\n"
        killed.send_signal(signal.SIGKILL)
    store = Store(tmp_path)

    assert not store.has("k" * 40)
    store.keep("k" * 40, write("whole"))

    assert [path.name for path in store.path("k" * 40).iterdir()] == ["result"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_builds_at_once_make_a_result_once(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from edgekit.model import Store\n"
        "def make(out):\n"
        "    time.sleep(0.5); (out / 'who').write_text('x'); print('made', flush=True)\n"
        "print((Store(Path(sys.argv[1])).keep('k' * 40, make) / 'who').read_text())\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate()[0] for process in both)

    assert [process.returncode for process in both] == [0, 0]
    assert said.count("made") == 1
    assert said.count("x") == 2


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    def fills_the_disk(out: Path) -> None:
        (out / "big").symlink_to("/dev/full")
        with (out / "big").open("wb", buffering=0) as stream:
            stream.write(b"x")

    with pytest.raises(StoreError, match="no space left") as caught:
        Store(tmp_path).keep("k" * 40, fills_the_disk)

    assert "edgekit clean" in caught.value.hint
    assert not Store(tmp_path).has("k" * 40)


def test_keys_differ_by_kind_and_by_all_that_decides():
    key = key_of("fuse", {"model": "a", "options": {"x": 1, "y": 2}})

    assert key == key_of("fuse", {"options": {"y": 2, "x": 1}, "model": "a"})
    assert key != key_of("simplify", {"model": "a", "options": {"x": 1, "y": 2}})
    assert key != key_of("fuse", {"model": "a", "options": {"x": 1, "y": 3}})


def test_clean_removes_the_least_recently_used_first_and_stops_at_the_size(tmp_path):
    store = Store(tmp_path)
    for name in "abc":
        store.keep(name * 40, write(name * 1000))
    now = time.time()
    for name, age in (("a", 30), ("b", 20), ("c", 10)):
        os.utime(store.path(name * 40), (now - age, now - age))

    removed, freed = store.clean(keep_bytes=2000)

    assert (removed, freed) == (1, 1000)
    assert [store.has(name * 40) for name in "abc"] == [False, True, True]
    assert store.clean(older_than_s=15) == (1, 1000)
    assert store.has("c" * 40)
    assert store.clean() == (1, 1000)


def test_the_store_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_STORE", str(tmp_path / "here"))
    assert default_root() == tmp_path / "here"

    monkeypatch.delenv("EDGEKIT_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_root() == Path("/c/edgekit")
