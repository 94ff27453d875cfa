"""What every test can rely on."""

from __future__ import annotations

import signal

import pytest

# A test run that was started in the background ignores Ctrl-C, and so would every process it starts: tests that press it need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
