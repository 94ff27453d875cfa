"""What every test can rely on."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest

# A test run that was started in the background ignores Ctrl-C, and so would every process it starts: tests that press it need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def beside(name: str):
    """A module of this folder."""
    spec = importlib.util.spec_from_file_location(f"edgekit_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sshd(tmp_path, monkeypatch):
    """A real OpenSSH server of this test's own, which edgekit's ssh knows as ``pi``, and behind a cable as ``cable``."""
    module = beside("sshd")
    if module.WHY_NOT:
        (pytest.fail if os.environ.get("EDGEKIT_SSH_TESTS") == "required" else pytest.skip)(module.WHY_NOT)
    server = module.Sshd(tmp_path / "sshd")
    server.tools = module
    monkeypatch.setenv("EDGEKIT_SSH", str(server.program))
    yield server
    server.close()


@pytest.fixture(params=["busybox", "toybox"])
def bare_tools(request, tmp_path):
    """The PATH of a board without Python."""
    module = beside("bare")
    if why_not := module.why_not(request.param):
        (pytest.fail if os.environ.get("EDGEKIT_SSH_TESTS") == "required" else pytest.skip)(why_not)
    return module.tools(request.param, tmp_path / "tools")


@pytest.fixture
def bare(sshd, bare_tools):
    """The server ``sshd`` as a board without Python."""
    sshd.stop()
    sshd.start({"PATH": bare_tools})
    sshd.bin = bare_tools
    return sshd


@pytest.fixture
def benchmark_model():
    """``benchmark_model(PATH)`` writes a stand-in for LiteRT's program of that name."""
    pytest.importorskip("ai_edge_litert")
    return beside("benchmark_model").install


@pytest.fixture
def adbd(tmp_path, monkeypatch):
    """A real adbd on a port of this test's own, and a server of adb's of its own."""
    module = beside("adbd")
    if module.WHY_NOT:
        (pytest.fail if os.environ.get("EDGEKIT_ADB_TESTS") == "required" else pytest.skip)(module.WHY_NOT)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(module.free_port()))
    monkeypatch.setenv("HOME", str(tmp_path))  # adb's keys
    device = module.Adbd(tmp_path / "adbd", beside("sshd").Cable)
    yield device
    device.close()


@pytest.fixture
def bundles():
    """The module ``tests/bundles.py``: bundles made by hand."""
    pytest.importorskip("cryptography")
    return beside("bundles")


@pytest.fixture
def delegated():
    """``delegated(content)``: the operators of a TFLite file that LiteRT hands to XNNPACK, by index, and in how many parts.

    LiteRT lists what each part reads and makes; what lies between is found from there.
    """

    def look(content):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        details = interpreter._get_ops_details()
        parts = [detail for detail in details if detail["op_name"] == "DELEGATE"]
        makers = {int(tensor): detail for detail in details if detail["op_name"] != "DELEGATE" for tensor in detail["outputs"]}
        found = set()
        for part in parts:
            border, ahead = set(map(int, part["inputs"])), list(map(int, part["outputs"]))
            while ahead:
                tensor = ahead.pop()
                maker = makers.get(tensor)
                if tensor not in border and maker is not None and maker["index"] not in found:
                    found.add(maker["index"])
                    ahead += map(int, maker["inputs"])
        return found, len(parts)

    return look
