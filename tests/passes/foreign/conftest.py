"""One small network as each quantizer writes it: by hand, after files that ONNX Runtime, ModelOpt, AIMET, NNCF and PyTorch made."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.fuse import Fuse
from edgekit.passes.quantize import Quantize
from edgekit.passes.simplify import Simplify
from edgekit.target import Scheme

RNG = np.random.default_rng(5)


def integers(*shape, kind=np.int8, low=-127):
    return RNG.integers(low, 128, shape).astype(kind)


CONV, DEPTHWISE, DENSE = integers(4, 3, 3, 3), integers(4, 1, 3, 3), integers(5, 4)
PER_CHANNEL = {
    "sw": np.float32([0.01, 0.011, 0.009, 0.012]), "sv": np.float32([0.02, 0.01, 0.015, 0.02]), "sd": np.float32([0.02, 0.01, 0.03, 0.02, 0.01]),
    "z4": np.zeros(4, np.int8), "z5": np.zeros(5, np.int8),
}  # fmt: skip
BIASES = {"b": np.float32([0.1, -0.2, 0.3, 0]), "e": np.float32([0.5, 0, -0.5, 0.1, 0.2])}


def pair(name, source, scale, zero, after="d"):
    return f"{name}_q = QuantizeLinear({source}, {scale}, {zero}) {name}{after} = DequantizeLinear({name}_q, {scale}, {zero}) "


def stored():
    """Weights as integers with a DequantizeLinear."""
    return "wd = DequantizeLinear<axis=0>(w, sw, z4) vd = DequantizeLinear<axis=0>(v, sv, z4) dd = DequantizeLinear<axis=0>(d, sd, z5) "


BODY = "g = GlobalAveragePool(td) f = Flatten(g) "


def onnx_runtime(kind, zero):
    """int32 biases at the scale of the products, the activation gone where rounding implies it, a pair on every tensor."""
    text = "net (float[1,3,8,8] x) => (float[1,5] y) { " + pair("x", "x", "sx", "zx") + stored()
    text += "bd = DequantizeLinear<axis=0>(bi, sb) c = Conv<pads=[1,1,1,1]>(xd, wd, bd) " + pair("c", "c", "sc", "zc")
    text += "t = Conv<pads=[1,1,1,1], group=4>(cd, vd) " + pair("t", "t", "st", "zt") + BODY + pair("g", "f", "sg", "zg")
    text += "ed = DequantizeLinear<axis=0>(ei, se) l = Gemm<transB=1>(gd, dd, ed) l_q = QuantizeLinear(l, sl, zl) y = DequantizeLinear(l_q, sl, zl) }"
    sx, sg = np.float32(0.02), np.float32(0.01)
    return text, {
        "w": CONV, "v": DEPTHWISE, "d": DENSE, **PER_CHANNEL, "sx": sx, "sc": np.float32(0.04), "st": np.float32(0.09),
        "sg": sg, "sl": np.float32(0.03),
        "zx": kind(zero + 3), "zc": kind(zero - 128), "zt": kind(zero), "zg": kind(zero + 4), "zl": kind(zero - 10),
        "bi": np.int32([500, -800, 900, 3]), "sb": sx * PER_CHANNEL["sw"], "ei": np.int32([300, 0, -500, 40, 7]), "se": sg * PER_CHANNEL["sd"],
    }  # fmt: skip


def kept_float(kind, zero):
    """Float weights with a Q/DQ pair behind them, float biases; ModelOpt leaves what a residual Add reads without one."""
    text = "net (float[1,3,8,8] x) => (float[1,5] y) { " + pair("x", "x", "sx", "zx")
    text += "w_q = QuantizeLinear<axis=0>(wf, sw, z4) wd = DequantizeLinear<axis=0>(w_q, sw, z4) "
    text += "v_q = QuantizeLinear<axis=0>(vf, sv, z4) vd = DequantizeLinear<axis=0>(v_q, sv, z4) "
    text += "d_q = QuantizeLinear<axis=0>(df, sd, z5) dd = DequantizeLinear<axis=0>(d_q, sd, z5) "
    text += "c = Conv<pads=[1,1,1,1]>(xd, wd, b) r = Clip(c, low, six) " + pair("c", "r", "sc", "zc")
    text += "u = Conv<pads=[1,1,1,1], group=4>(cd, vd) a = Add(u, cd) " + pair("t", "a", "st", "zt") + BODY
    text += pair("g", "f", "sg", "zg") + "y = Gemm<transB=1>(gd, dd, e) }"
    real = {"wf": CONV * PER_CHANNEL["sw"].reshape(4, 1, 1, 1), "vf": DEPTHWISE * PER_CHANNEL["sv"].reshape(4, 1, 1, 1)}
    return text, {
        **real, "df": DENSE * PER_CHANNEL["sd"].reshape(5, 1), **PER_CHANNEL, **BIASES, "low": np.float32(0), "six": np.float32(6),
        "sx": np.float32(0.02), "sc": np.float32(0.05), "st": np.float32(0.09), "sg": np.float32(0.01),
        "zx": kind(zero), "zc": kind(zero), "zt": kind(zero), "zg": kind(zero),
    }  # fmt: skip


def nncf():
    """A scale for each channel before the depthwise convolution, axes counted from the end, nothing behind the last layer."""
    text = "net (float[1,3,8,8] x) => (float[1,5] y) { " + pair("x", "x", "sx", "zx") + stored().replace("<axis=0>(d,", "<axis=-2>(d,")
    text += "c = Conv<pads=[1,1,1,1]>(xd, wd, b) r = Relu(c) c_q = QuantizeLinear<axis=1>(r, sc, zc) cd = DequantizeLinear<axis=1>(c_q, sc, zc) "
    text += (
        "t = Conv<pads=[1,1,1,1], group=4>(cd, vd) "
        + pair("t", "t", "st", "zt")
        + BODY
        + pair("g", "f", "sg", "zg")
        + "y = Gemm<transB=1>(gd, dd, e) }"
    )
    return text, {
        "w": CONV, "v": DEPTHWISE, "d": DENSE, **PER_CHANNEL, **BIASES, "sx": np.float32(0.02), "zx": np.int8(3),
        "sc": np.float32([0.04, 0.05, 0.03, 0.04]), "zc": np.zeros(4, np.uint8),
        "st": np.float32(0.09), "zt": np.int8(-3), "sg": np.float32(0.01), "zg": np.int8(4),
    }  # fmt: skip


def pytorch():
    """PT2E, exported: an axis on every node, Linear as Transpose of dequantized weights and MatMul."""
    text, numbers = onnx_runtime(np.uint8, 128)
    text = text.replace("l = Gemm<transB=1>(gd, dd, ed)", "dt = Transpose<perm=[1,0]>(dd) m = MatMul(gd, dt) l = Add(m, e)").replace(
        "ed = DequantizeLinear<axis=0>(ei, se) ", ""
    )
    text = text.replace("QuantizeLinear(", "QuantizeLinear<axis=1>(")
    return text, {**{name: array for name, array in numbers.items() if name not in ("ei", "se")}, "e": BIASES["e"]}


DIALECTS = {
    "onnxruntime-u8": lambda: onnx_runtime(np.uint8, 128),
    "onnxruntime-s8": lambda: onnx_runtime(np.int8, 0),
    "modelopt": lambda: kept_float(np.int8, 0),
    "aimet": lambda: kept_float(np.uint8, 128),
    "nncf": nncf,
    "pytorch": pytorch,
}


@pytest.fixture
def foreign():
    """``foreign("nncf")``: that dialect's graph."""

    def make(name, opset=21):
        text, constants = DIALECTS[name]()
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(array), word) for word, array in constants.items())
        onnx_file.name_nodes(proto.graph)
        onnx.checker.check_model(proto, full_check=True)
        return proto

    return make


@pytest.fixture
def stored_model(tmp_path):
    """A graph as a Model."""

    def make(proto, name="given"):
        folder = tmp_path / name
        folder.mkdir()
        onnx_file.save(onnx_file.infer_shapes(proto), folder)
        return seal_model(folder, signature_of(proto), ())

    return make


@pytest.fixture
def passed(tmp_path, stored_model):
    """A graph after simplify, fuse and quantize, without any samples."""

    def make(proto, **options):
        model = stored_model(proto)
        for name, step in (("simplified", Simplify()), ("fused", Fuse()), ("quantized", Quantize(**options))):
            out = tmp_path / name
            out.mkdir()
            model = step(model, Supplies(scheme=Scheme(activations="uint8")), out)
        return model

    return make


@pytest.fixture
def outputs():
    """What ONNX Runtime makes of a graph as it stands, nothing rewritten."""

    def run(proto, **feed):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, feed)[0]

    return run
