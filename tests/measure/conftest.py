import msgspec
import numpy as np
import pytest

from edgekit.device.contract import DeviceFacts
from edgekit.device.local import LocalDevice
from edgekit.engine.contract import Engine, Port
from edgekit.measure import Conditions, Load, Measurement, Memory, State
from edgekit.model import Signature, Tensor, file_sha256


@pytest.fixture
def device():
    device = LocalDevice()
    yield device
    device.close()


@pytest.fixture
def quick():
    return Load(warmup_s=0.0, min_queries=30, min_duration_s=0.0, max_duration_s=5.0)


def engine_of(path, runtime, inputs, outputs):
    return Engine(
        file=path.name,
        target="x86-64",
        runtime=runtime,
        precision="float32",
        status="built",
        inputs=inputs,
        outputs=outputs,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


@pytest.fixture
def twice(tmp_path):
    """An ONNX Runtime engine that multiplies by two: folder, engine, signature."""
    import onnx

    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        twice (float[1,2] x) => (float[1,2] y) <float two = {2.0}> { y = Mul(x, two) }""")
    folder = tmp_path / "twice"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    engine = engine_of(folder / "model.onnx", "onnxruntime", (Port("x", "float32", (1, 2)),), (Port("y", "float32", (1, 2)),))
    return folder, engine, Signature((Tensor("x", "float32", (1, 2)),), (Tensor("y", "float32", (1, 2)),))


@pytest.fixture
def relu8(tmp_path):
    """A TFLite engine, int8 and NHWC, that replaces what is negative by zero; its source was float32 and NCHW."""
    return relu8_of(tmp_path, [1, 2, 3, 4])


@pytest.fixture
def large_relu8(tmp_path):
    """The same of 65,536 values, which take a while."""
    return relu8_of(tmp_path, [1, 32, 32, 64])


def relu8_of(tmp_path, shape):
    from ai_edge_litert import schema_py_generated as schema

    scale, zero_point = 0.5, -3
    flat = schema.ModelT()
    flat.version, flat.buffers, flat.operatorCodes, flat.subgraphs = 3, [schema.BufferT()], [schema.OperatorCodeT()], [schema.SubGraphT()]
    flat.operatorCodes[0].builtinCode = flat.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    graph = flat.subgraphs[0]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [0], [1], [schema.OperatorT()]
    for name in (b"image", b"result"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        graph.tensors.append(tensor)
    graph.operators[0].inputs, graph.operators[0].outputs = [0], [1]

    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(flat.Pack(builder), b"TFL3")
    folder = tmp_path / "relu8"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(builder.Output())
    ports = [Port(name, "int8", tuple(shape), "nhwc", scale, zero_point) for name in ("image", "result")]
    engine = engine_of(folder / "model.tflite", "tflite", (ports[0],), (ports[1],))
    tensors = [Tensor(name, "float32", (1, shape[3], *shape[1:3]), "nchw") for name in ("image", "result")]
    return folder, engine, Signature((tensors[0],), (tensors[1],))


@pytest.fixture
def taken():
    """Makes a Measurement of a quiet board out of times in nanoseconds; fields and conditions can be replaced."""

    def make(latencies_ns, *, load=None, device=None, before=None, after=None, **conditions):
        total_s = float(sum(latencies_ns)) / 1e9
        quiet = {
            "clocks_mhz": {"cpu0": 1500.0},
            "governors": ("performance",),
            "temperatures_c": {"cpu": 50.0},
            "throttle_counts": {"cpu0": 3},
            "busy_s": 100.0,
            "steal_s": 0.0,
        }
        later = {"monotonic_s": 10.0 + total_s, "busy_s": 100.0 + total_s}
        seen = Conditions(
            taken_at="2026-01-02T03:04:05+00:00",
            facts={"cpus": 4},
            versions={"runtime-x": "1.0", "numpy": "2.0", "python": "3.11"},
            feeds=8,
            before=State(**{"monotonic_s": 10.0, **quiet, **(before or {})}),
            after=State(**{**quiet, **later, **(after or {})}),
            wall_s=total_s,
            cpu_s=total_s,
            capped=False,
        )
        return Measurement(
            target="board",
            runtime="x",
            engine_sha256="0" * 64,
            device=device or DeviceFacts(url="ssh://lab", name="lab", arch="aarch64", cpu="Cortex-A76"),
            load=load or Load(),
            latencies_ns=tuple(int(value) for value in latencies_ns),
            warmup=5,
            first_ns=3_000_000,
            load_ns=40_000_000,
            import_ns=1,
            memory=Memory(peak_mib=50.0, base_mib=30.0, load_mib=10.0),
            conditions=msgspec.structs.replace(seen, **conditions),
        )

    return make


@pytest.fixture
def steady():
    """Times around a middle, in nanoseconds, a few per cent apart, independent of one another."""

    def make(middle_ms=5.0, count=1000, seed=0, spread=0.02):
        return np.random.default_rng(seed).normal(middle_ms, middle_ms * spread, count) * 1e6

    return make
