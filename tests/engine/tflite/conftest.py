"""Small graphs, a quantizer to make Q/DQ graphs of them, and both runtimes to compare."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import helper, numpy_helper

from edgekit.engine.contract import Engine
from edgekit.engine.tflite import TfliteBackend
from edgekit.model import Model, Signature, Tensor, seal_model
from edgekit.target import Runtime, Target

TO_LAST = (0, 2, 3, 1)


@pytest.fixture
def graph():
    """``graph("(float[1,3,8,8] x) => (y) { y = Conv(x, w) }", w=array)``: an ONNX model, shapes inferred."""

    def make(text, /, **constants):
        model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> net {text}')
        names = {node.name for node in model.graph.node}
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        assert len(names) <= len(model.graph.node)
        for name, array in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    return make


@pytest.fixture
def store(tmp_path):
    """``store(proto, x="nchw")``: a Model of an ONNX model, with the layouts of its ports."""
    count = iter(range(1000))

    def make(proto, **layouts):
        folder = tmp_path / f"model-{next(count)}"
        folder.mkdir()
        onnx.save(proto, folder / "model.onnx")
        constants = {tensor.name for tensor in proto.graph.initializer}
        inputs = tuple(_tensor(info, layouts) for info in proto.graph.input if info.name not in constants)
        return seal_model(folder, Signature(inputs, tuple(_tensor(info, layouts) for info in proto.graph.output)), ())

    return make


def _tensor(info, layouts):
    sizes = tuple(size.dim_value if size.HasField("dim_value") else size.dim_param for size in info.type.tensor_type.shape.dim)
    dtype = str(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
    default = "nchw" if len(sizes) == 4 else ""
    return Tensor(info.name, dtype, sizes, layouts.get(info.name, default))


def target(**options):
    return Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite", options=options),), sources={})


@dataclasses.dataclass
class Built:
    """A built engine beside the model it was built from."""

    model: Model
    engine: Engine
    path: Path

    @property
    def operators(self) -> Counter:
        return Counter(self.engine.details["operators"])

    def interpreter(self, *, delegate=True):
        kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        found = Interpreter(str(self.path), experimental_op_resolver_type=kind, num_threads=1)
        found.allocate_tensors()
        return found

    def run(self, *, delegate=True, **feeds):
        """Outputs by name for inputs by name, in the layouts and real numbers of the source."""
        interpreter = self.interpreter(delegate=delegate)
        sources = {tensor.name: tensor for tensor in (*self.model.signature.inputs, *self.model.signature.outputs)}
        runner = interpreter.get_signature_runner("serving_default")
        ports = {port.name: port for port in self.engine.inputs}
        handed = {name: _stored(turned(array, sources[name].layout, ports[name].layout), ports[name]) for name, array in feeds.items()}
        results = runner(**handed)
        outputs = {port.name: port for port in self.engine.outputs}
        return {name: turned(_real(array, outputs[name]), outputs[name].layout, sources[name].layout) for name, array in results.items()}

    def runs_delegated(self) -> bool:
        """Whether XNNPACK executes every operator that computes."""
        details = self.interpreter()._get_ops_details()
        delegated = [detail for detail in details if detail["op_name"] == "DELEGATE"]
        covered = {index for detail in delegated for index in detail["outputs"]}
        return len(delegated) == 1 and all(detail["index"] in covered for detail in self.interpreter().get_output_details())


def turned(array, before, after):
    if before == after or "" in (before, after):
        return array
    return array.transpose(TO_LAST if after == "nhwc" else (0, 3, 1, 2))


def _stored(array, port):
    if port.scale is None:
        return np.ascontiguousarray(array)
    limits = np.iinfo(port.dtype)
    return np.clip(np.rint(array / np.float32(port.scale)) + port.zero_point, limits.min, limits.max).astype(port.dtype)


def _real(array, port):
    return array if port.scale is None else (array.astype(np.float32) - port.zero_point) * np.float32(port.scale)


@pytest.fixture
def build(store, tmp_path):
    """``build(proto, io_dtype="int8")``: the engine of an ONNX model; ``layouts`` names those of its ports."""
    count = iter(range(1000))

    def make(proto, layouts=None, **options):
        model = proto if isinstance(proto, Model) else store(proto, **(layouts or {}))
        out = tmp_path / f"engine-{next(count)}"
        out.mkdir()
        engine = TfliteBackend().compile(model, target(**options), None, out)
        return Built(model, engine, out / engine.file)

    return make


def onnx_outputs(proto, **feeds):
    """What ONNX Runtime makes of a model as it stands, nothing fused or reordered."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return dict(zip([info.name for info in session.get_outputs()], session.run(None, feeds), strict=True))


def random_feeds(proto, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in proto.graph.initializer}
    shapes = {info.name: [size.dim_value for size in info.type.tensor_type.shape.dim] for info in proto.graph.input if info.name not in constants}
    dtypes = {info.name: helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type) for info in proto.graph.input}
    return {name: _random(rng, shape, dtypes[name], spread) for name, shape in shapes.items()}


def _random(rng, shape, dtype, spread):
    """Numbers; integers that are places in an axis of three or more, counted from either end."""
    if dtype.kind in "iub":
        return rng.integers(0 if dtype.kind == "b" else -3, 2 if dtype.kind == "b" else 3, shape).astype(dtype)
    return np.asarray(rng.standard_normal(shape) * spread, np.float32)


@pytest.fixture
def assert_same(build):
    """Build a float model and check its engine against ONNX Runtime, within 1e-4 of the output's size.

    ``wanted``: a reference evaluator's ``run``, to be checked against instead.
    """

    def check(proto, layouts=None, *, spread=1.0, wanted=None, **options):
        feeds = random_feeds(proto, spread=spread)
        names = [info.name for info in proto.graph.output]
        wanted = onnx_outputs(proto, **feeds) if wanted is None else dict(zip(names, wanted(None, feeds), strict=True))
        built = build(proto, layouts, **options)
        for delegate in (True, False):
            for name, array in built.run(delegate=delegate, **feeds).items():
                assert array.shape == wanted[name].shape
                assert array.dtype == wanted[name].dtype
                size = max(np.abs(wanted[name].astype(np.float64)).max(), 1e-6)
                assert np.abs(array.astype(np.float64) - wanted[name]).max() <= 1e-4 * size, (name, delegate)
        return built

    return check


@pytest.fixture
def assert_rounds_alike(build):
    """Build a dynamic model and check its engine against ONNX Runtime on the graph, in decibels."""

    def check(proto, *, least_db):
        feeds = random_feeds(proto)
        wanted = onnx_outputs(proto, **feeds)
        built = build(proto)
        for delegate in (True, False):
            for name, found in built.run(delegate=delegate, **feeds).items():
                noise = np.square(found - wanted[name], dtype=np.float64).sum()
                assert 10 * np.log10(np.square(wanted[name], dtype=np.float64).sum() / max(noise, 1e-30)) >= least_db, (name, delegate)
        return built

    return check


@pytest.fixture
def assert_close_in_steps(build):
    """Build a Q/DQ model and check its engine against ONNX Runtime, in steps of the output's scale."""

    def check(proto, *, steps=1, layouts=None, spread=1.0, **options):
        feeds = random_feeds(proto, seed=1, spread=spread)
        wanted = onnx_outputs(proto, **feeds)
        built = build(proto, layouts, **options)
        for delegate in (True, False):
            for name, array in built.run(delegate=delegate, **feeds).items():
                assert array.shape == wanted[name].shape
                step = output_step(proto, name)
                assert np.abs(array - wanted[name]).max() <= (steps + 0.01) * step, (name, delegate)
        return built

    return check


def output_step(proto, name):
    """The scale of the DequantizeLinear that makes an output."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return next(float(constants[node.input[1]].ravel()[0]) for node in proto.graph.node if name in node.output and node.op_type == "DequantizeLinear")


FUSABLE = ("Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div")
WEIGHTED = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}


@pytest.fixture
def quantize():
    """A plain min-max quantizer: a Q/DQ pair on every tensor, but none between arithmetic and its activation."""
    return lambda proto, **options: _Quantizer(proto, **options).model()


class _Quantizer:
    """``fixed`` sets (scale, zero point) of a tensor; tensors in ``skip`` stay as they are."""

    def __init__(self, proto, *, dtype=np.int8, fixed=None, skip=(), per_channel=True, float_bias=False, spread=1.0):
        self.source = proto
        self.dtype, self.fixed, self.skip, self.per_channel, self.float_bias = dtype, fixed or {}, skip, per_channel, float_bias
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self.made, self.nodes = {}, []
        self.readers = Counter(name for node in proto.graph.node for name in node.input)
        everything = onnx.ModelProto()
        everything.CopyFrom(proto)
        known = {info.name for info in proto.graph.output}
        everything.graph.output.extend(info for info in proto.graph.value_info if info.name not in known and info.name not in self.constants)
        feeds = random_feeds(proto, seed=1, spread=spread)
        self.values = {**onnx_outputs(everything, **feeds), **feeds}

    def model(self):
        names = {}
        for info in self.source.graph.input:
            names[info.name] = self.pair(info.name, info.name)
        outputs = {info.name for info in self.source.graph.output}
        activated = self.activated()
        for node in self.source.graph.node:
            new = onnx.NodeProto()
            new.CopyFrom(node)
            scales = [self.scale(name)[0] for name in node.input[:1] if name in self.values]
            for index, name in enumerate(node.input):
                new.input[index] = names.get(name) or self.constant(node, index, name, scales)
            self.nodes.append(new)
            for index, name in enumerate(node.output):
                if name in activated or name in self.skip or not name:
                    names[name] = name
                    continue
                raw = f"{name}_raw" if name in outputs else name
                new.output[index] = raw
                names[name] = self.pair(name, raw, result=name if name in outputs else None)
        initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in self.made.items()]
        body = helper.make_graph(self.nodes, "net", self.source.graph.input, self.source.graph.output, initializers)
        return onnx.shape_inference.infer_shapes(helper.make_model(body, opset_imports=self.source.opset_import, ir_version=10))

    def activated(self):
        """Tensors between arithmetic and its activation."""
        makers = {name: node.op_type for node in self.source.graph.node for name in node.output}
        inner = (node.input[0] for node in self.source.graph.node if node.op_type in ("Relu", "Clip") and makers.get(node.input[0]) in FUSABLE)
        return {name for name in inner if self.readers[name] == 1}

    def scale(self, name):
        if name in self.fixed:
            return self.fixed[name]
        low, high = min(0.0, float(self.values[name].min())), max(0.0, float(self.values[name].max()))
        if self.dtype == np.int16:  # zero point 0 is all that TFLite takes
            return float(np.float32(max(-low, high, 1e-3) / 32767)), 0
        scale = np.float32(max(high - low, 1e-3) / 255)
        return float(scale), int(np.clip(np.rint(np.iinfo(self.dtype).min - low / scale), np.iinfo(self.dtype).min, np.iinfo(self.dtype).max))

    def pair(self, name, raw, result=None):
        scale, zero = self.scale(name)
        self.made[f"{name}_scale"], self.made[f"{name}_zero"] = np.float32(scale), self.dtype(zero)
        parameters = [f"{name}_scale", f"{name}_zero"]
        result = result or f"{name}_dq"
        self.nodes.append(helper.make_node("QuantizeLinear", [raw, *parameters], [f"{name}_q"], name=f"{name}_Q"))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [result], name=f"{name}_DQ"))
        return result

    def constant(self, node, index, name, input_scales):
        array = self.constants.get(name)
        if array is None or array.dtype != np.float32 or node.op_type in ("Clip", "Resize", "Pad", "LayerNormalization"):
            if array is not None:
                self.made[name] = array
            return name
        if index == 2 and node.op_type in WEIGHTED:
            return self.bias(node, name, input_scales[0])
        axis = WEIGHTED.get(node.op_type) if index == 1 else None
        if node.op_type == "Gemm" and not any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
            axis = 1
        return self.weights(name, array, axis if self.per_channel else None)

    def weights(self, name, array, axis):
        if f"{name}_int" in self.made:
            return f"{name}_dq"
        over = tuple(one for one in range(array.ndim) if one != axis)
        size = np.abs(array).max(axis=over, keepdims=True) if axis is not None else np.abs(array).max()
        scale = (np.maximum(size, 1e-6) / 127).astype(np.float32)
        self.made[f"{name}_int"] = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        self.made[f"{name}_scale"] = scale.reshape(-1) if axis is not None else scale.reshape(())
        self.made[f"{name}_zero"] = np.zeros(self.made[f"{name}_scale"].shape, np.int8)
        attributes = {} if axis is None else {"axis": axis}
        inputs = [f"{name}_int", f"{name}_scale", f"{name}_zero"]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], name=f"{name}_DQ", **attributes))
        return f"{name}_dq"

    def bias(self, node, name, input_scale):
        if self.float_bias or self.dtype == np.int16:  # ONNX dequantizes no int64, which TFLite's bias is then
            self.made[name] = self.constants[name]
            return name
        scale = np.float32(input_scale) * np.atleast_1d(self.made[f"{node.input[1]}_scale"])
        self.made[f"{name}_int"] = np.rint(self.constants[name] / scale).astype(np.int32)
        self.made[f"{name}_scale"] = scale if scale.size > 1 else scale.reshape(())
        attributes = {"axis": 0} if scale.size > 1 else {}
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int", f"{name}_scale"], [f"{name}_dq"], name=f"{name}_DQ", **attributes))
        return f"{name}_dq"
