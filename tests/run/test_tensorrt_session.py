"""The adapter to TensorRT, on a TensorRT of the test's own that has the real one's names; its arithmetic is y = 2 x."""

from __future__ import annotations

import array
import sys
import types

import pytest

from edgekit.run import cuda_memory, tensorrt
from edgekit.run.errors import RunError
from edgekit.run.session import Opening, adapter_of
from edgekit.run.tensors import Tensor

HEADER = b"ftrt" + bytes(20) + bytes([10, 3, 0, 0]) + bytes(4)


class Memory:
    """Addresses are keys of a dictionary."""

    name, stream = "a dictionary", 0

    def __init__(self):
        self.held = {}

    def allocate(self, count):
        self.held[len(self.held) + 1] = bytearray(count)
        return len(self.held)

    def free(self, address):
        del self.held[address]

    def write(self, address, host):
        self.held[address][:] = bytes(host)

    def read(self, host, address):
        host[:] = bytes(self.held[address])

    def wait(self):
        pass


class Context:
    def __init__(self, memory):
        self._memory, self._at = memory, {}

    def set_input_shape(self, name, shape):
        raise AssertionError("no size is open")

    def get_tensor_shape(self, name):
        return (1, 3)

    def set_tensor_address(self, name, address):
        self._at[name] = address

    def execute_async_v3(self, stream):
        x = array.array("f", bytes(self._memory.held[self._at["x"]]))
        self._memory.held[self._at["y"]][:] = array.array("f", [2 * value for value in x]).tobytes()
        return True


@pytest.fixture
def trt(monkeypatch):
    memory = Memory()
    module = types.ModuleType("tensorrt")
    module.__version__ = "10.3.0"
    module.ILogger = type("ILogger", (), {"__init__": lambda self: None})
    module.TensorIOMode = types.SimpleNamespace(INPUT=0, OUTPUT=1)
    engine = types.SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda index: "xy"[index],
        get_tensor_mode=lambda name: "xy".index(name),
        get_tensor_dtype=lambda name: "DataType.FLOAT",
        create_execution_context=lambda: Context(memory),
    )
    module.Runtime = lambda logger: types.SimpleNamespace(deserialize_cuda_engine=lambda content: engine if b"good" in content else None)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(cuda_memory, "open_memory", lambda: memory)
    return module


def plan(tmp_path, content=b"good", header=HEADER):
    (tmp_path / "model.plan").write_bytes(header + content)
    return Opening(str(tmp_path / "model.plan"), 1, {}, ["x"], ["y"])


def test_an_engine_answers_what_tensorrt_computed_and_says_by_which_release(trt, tmp_path):
    session = adapter_of("tensorrt").open_engine(plan(tmp_path))

    (y,) = session.read(session.run(session.prepare([Tensor("x", "float32", (1, 3), array.array("f", [1, 2, 3]).tobytes())])))

    assert (y.name, y.dtype, tuple(y.shape), list(array.array("f", y.data))) == ("y", "float32", (1, 3), [2, 4, 6])
    assert session.versions["tensorrt"] == "10.3.0"


def test_outputs_that_were_read_stay_when_the_next_query_runs(trt, tmp_path):
    session = tensorrt.open_engine(plan(tmp_path))
    one, other = (session.prepare([Tensor("x", "float32", (1, 3), array.array("f", [value] * 3).tobytes())]) for value in (1, 5))

    first = session.read(session.run(one))
    session.run(other)

    assert list(array.array("f", first[0].data)) == [2, 2, 2]


@pytest.mark.parametrize(
    ("content", "header", "said"),
    [
        (b"good", b"ftrt" + bytes(20) + bytes([8, 6, 2, 3]) + bytes(4), "built by TensorRT 8.6.2.3, and this machine has 10.3.0"),
        (b"good", b"vtrt" + bytes(28), "cut off"),
        (b"good", b"TFL3" + bytes(28), "no TensorRT engine"),
        (b"bad", HEADER, "TensorRT does not open the engine model.plan"),
    ],
)
def test_a_plan_that_does_not_belong_here_is_refused_before_or_by_tensorrt(trt, tmp_path, content, header, said):
    with pytest.raises(RunError, match=said):
        tensorrt.open_engine(plan(tmp_path, content, header))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor("z", "float32", (1, 3), bytes(12)), "input x is missing"),
        (Tensor("x", "float16", (1, 3), bytes(6)), "float16"),
        (Tensor("x", "float32", (1, 4), bytes(16)), r"\(1, 4\), the engine takes float32 \(1, 3\)"),
    ],
)
def test_feeds_that_do_not_fit_are_named(trt, tmp_path, tensor, said):
    session = tensorrt.open_engine(plan(tmp_path))

    with pytest.raises(RunError, match=said):
        session.prepare([tensor])


def test_without_tensorrt_and_trtexec_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(tensorrt, "find_trtexec", lambda: "")

    with pytest.raises(RunError, match="tensorrt cannot be imported"):
        tensorrt.import_runtime()
