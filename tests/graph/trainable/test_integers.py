import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgekit.errors import SourceError
from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.trainable import trainable

torch = pytest.importorskip("torch")

GRIDS = {np.uint8: (0, 255), np.int8: (-128, 127)}


def stored(product, *, activation="", dtype=np.int8, shape=(1, 8, 9, 9), weight=(12, 8, 3, 3), axis=0, result="float y"):
    """A product between stored tensors, and the numbers in it."""
    draw = np.random.default_rng(0)
    low, _ = GRIDS[dtype]
    rows = weight[axis]
    scale = draw.uniform(0.005, 0.02, rows).astype(np.float32)
    constants = {
        "sx": np.float32(0.0371),
        "zx": dtype(low + 117),
        "w": draw.integers(-127, 128, weight).astype(np.int8),
        "sw": scale,
        "zw": np.zeros(rows, np.int8),
        "b": draw.integers(-5000, 5000, rows).astype(np.int32),
        "sb": (np.float32(0.0371) * scale).astype(np.float32),
        "sy": np.float32(0.0523 * np.sqrt(np.prod(weight) / rows)),
        "zy": dtype(low + 101),
        "least": np.float32(-1.0),
        "most": np.float32(6.0),
    }
    text = f"""<ir_version: 10, opset_import: ["" : 21]> net (float[{",".join(map(str, shape))}] x) => ({result}) {{
        q = QuantizeLinear(x, sx, zx)  xd = DequantizeLinear(q, sx, zx)
        wd = DequantizeLinear<axis={axis}>(w, sw, zw)  bd = DequantizeLinear<axis=0>(b, sb)
        c = {product}(xd, wd, bd)  {activation}
        rq = QuantizeLinear({"r" if "r =" in activation else "c"}, sy, zy)  y = DequantizeLinear(rq, sy, zy)
    }}"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    x = draw.normal(size=(64, *shape[1:])).astype(np.float32)
    return infer_shapes(proto), constants, x


def made(proto, x, tensor):
    with torch.no_grad():
        return trainable(proto, outputs=[tensor])({"x": torch.from_numpy(x)})[tensor].numpy()


@pytest.mark.parametrize("dtype", GRIDS)
@pytest.mark.parametrize(
    ("product", "weight"),
    [
        ("Conv<pads=[1,1,1,1]>", (12, 8, 3, 3)),
        ("Conv<pads=[0,1,1,2], strides=[2,2]>", (12, 8, 3, 3)),
        ("Conv<pads=[2,2,2,2], dilations=[2,2], group=8>", (8, 1, 3, 3)),
        ("Conv", (20, 8, 1, 1)),
    ],
)
def test_a_convolution_of_integers_is_that_of_onnx_runtimes_kernel(product, weight, dtype):
    proto, held, x = stored(product, weight=weight, dtype=dtype, shape=("N", 8, 9, 9))
    attributes = product.removeprefix("Conv")
    kind = "uint8" if dtype == np.uint8 else "int8"
    reference = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 21]> net (float[N,8,9,9] x) => ({kind}[N,{weight[0]},h,w] y) {{
        q = QuantizeLinear(x, sx, zx)  y = QLinearConv{attributes}(q, sx, zx, w, sw, zw, sy, zy, b) }}""")
    reference.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in held.items())
    session = onnxruntime.InferenceSession(reference.SerializeToString(), providers=["CPUExecutionProvider"])

    np.testing.assert_array_equal(made(proto, x, "rq"), session.run(None, {"x": x})[0])


@pytest.mark.parametrize(
    ("activation", "least", "most"),
    [
        ("", -np.inf, np.inf),
        ("r = Relu(c)", 0.0, np.inf),
        ("r = Clip(c, least, most)", -1.0, 6.0),
        ("r = Clip(c, , most)", -np.inf, 6.0),
    ],
)
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_dense_layer_is_the_sum_of_integer_products_times_one_float(activation, least, most, transposed):
    """By Jacob et al. 2018, eq. 4 and section 2.4, in numpy's integers; the bounds are stored as other numbers are."""
    shape, axis = ((48, 30), 0) if transposed else ((30, 48), 1)
    proto, held, x = stored(f"Gemm<transB={transposed}>", activation=activation, shape=("N", 30), weight=shape, axis=axis)
    integers = np.clip(np.rint(x / held["sx"]) + held["zx"], -128, 127).astype(np.int64) - int(held["zx"])
    weight = (held["w"].T if transposed else held["w"]).astype(np.int64)
    sums = (integers @ weight + held["b"]).astype(np.float32)
    wanted = np.rint(sums * (held["sx"] * held["sw"] / held["sy"])) + np.float32(held["zy"])
    ends = [np.float32(held["zy"]) + np.rint(np.float32(bound) / held["sy"]) for bound in (least, most)]

    np.testing.assert_array_equal(made(proto, x, "rq"), np.clip(np.clip(wanted, *ends), -128, 127))


@pytest.mark.parametrize("activation", ["", "r = Relu(c)", "r = Clip(c, least, most)"])
def test_gradients_are_those_of_the_float_formula(activation):
    """Which is computed where somebody wants the convolution's own output, too. Within half a step of a bound both ways are right."""
    proto, held, x = stored("Conv<pads=[1,1,1,1]>", activation=activation, shape=("N", 8, 9, 9))
    ends = [float(held[name]) for name in ("least", "most")] + [(end - float(held["zy"])) * float(held["sy"]) for end in GRIDS[np.int8]] + [0.0]
    sums = made(proto, x[:4], "c")
    is_clear = torch.from_numpy(np.min([np.abs(sums - end) for end in ends], axis=0) > held["sy"])
    found = []
    for ends in (["y"], ["y", "c"]):
        learned = {name: torch.tensor(np.asarray(held[name], np.float32), requires_grad=True) for name in ("sx", "zx", "w", "sw", "sy", "zy")}
        bias = torch.tensor(held["b"] * held["sb"], requires_grad=True)
        scale = learned["sx"] * learned["sw"]
        instead = {**learned, "b": bias / scale + (torch.round(bias / scale) - bias / scale).detach(), "sb": scale}
        inputs = torch.from_numpy(x[:4]).requires_grad_()
        y = trainable(proto, outputs=ends)({"x": inputs}, instead)["y"]
        (y * torch.linspace(-1.0, 1.0, y.numel()).reshape(y.shape) * is_clear).sum().backward()
        found.append({name: value.grad.numpy() for name, value in {**learned, "bias": bias, "x": inputs}.items()})
    for name, wanted in found[1].items():
        np.testing.assert_allclose(found[0][name], wanted, rtol=1e-3, atol=1e-3 * max(np.abs(wanted).max(), 0.1), err_msg=name)


def test_thirty_layers_come_out_as_in_the_engine_to_the_last_integer():
    draw = np.random.default_rng(5)
    lines, constants = ["q0 = QuantizeLinear(x, s, z)  d0 = DequantizeLinear(q0, s, z)"], {"s": np.float32(0.031), "z": np.int8(-7)}
    for at in range(30):
        scale = draw.uniform(0.6, 1.4, 16).astype(np.float32) * np.float32(1.9 / (73.0 * 12.0))
        constants |= {f"w{at}": draw.integers(-127, 128, (16, 16, 3, 3)).astype(np.int8), f"sw{at}": scale, f"zw{at}": np.zeros(16, np.int8)}
        constants |= {f"b{at}": draw.integers(-4000, 4000, 16).astype(np.int32), f"sb{at}": constants["s"] * scale}
        lines += [
            f"wd{at} = DequantizeLinear<axis=0>(w{at}, sw{at}, zw{at})  bd{at} = DequantizeLinear<axis=0>(b{at}, sb{at})",
            f"c{at} = Conv<pads=[1,1,1,1]>(d{at}, wd{at}, bd{at})",
            f"q{at + 1} = QuantizeLinear(c{at}, s, z)  d{at + 1} = DequantizeLinear(q{at + 1}, s, z)",
        ]
    text = '<ir_version: 10, opset_import: ["" : 21]> net (float[1,16,12,12] x) => (float[1,16,12,12] d30) {' + "\n".join(lines) + "}"
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = draw.normal(size=(1, 16, 12, 12)).astype(np.float32)
    wanted = session.run(None, {"x": x})[0]

    assert len(np.unique(wanted)) > 100
    np.testing.assert_array_equal(made(infer_shapes(proto), x, "d30"), wanted)


@pytest.mark.parametrize(
    ("activation", "result"),
    [("e = Sigmoid(c)", "float y, float e"), ("", "float y, float c"), ("r = Sigmoid(c)", "float y")],
)
def test_what_somebody_reads_in_between_is_computed_in_float(activation, result):
    proto, _, x = stored("Conv", activation=activation, result=result, shape=("N", 8, 9, 9))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [value.name for value in proto.graph.output]
    wanted = dict(zip(names, onnxruntime.InferenceSession(proto.SerializeToString(), options).run(names, {"x": x}), strict=True))
    for name in names:
        np.testing.assert_allclose(made(proto, x, name), wanted[name], rtol=1e-5, atol=1e-4 * np.abs(wanted[name]).max())


@pytest.mark.parametrize(("activation", "is_constant"), [("", False), ("r = Relu(c)", False), ("", True)])
def test_a_fixed_point_sum_is_that_of_litert(tmp_path, activation, is_constant):
    """All pairs of bytes, for scales of every size; in float one pair in ten thousand would come out otherwise."""
    pytest.importorskip("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.engine.tflite import TfliteBackend
    from edgekit.graph.onnx_file import save
    from edgekit.graph.quantized import FIXED_POINT_SUMS
    from edgekit.graph.signature import signature_of
    from edgekit.model import seal_model
    from edgekit.target import choose

    draw = np.random.default_rng(8)
    every = np.arange(-128, 128, dtype=np.float32)
    differs = 0
    for at in range(6):
        scales = {name: np.float32(scale) for name, scale in zip(("sa", "sb", "sy"), np.exp(draw.uniform(-4.0, -1.0, 3)), strict=True)}
        zeros = {name: np.int8(zero) for name, zero in zip(("za", "zb", "zy"), draw.integers(-60, 60, 3), strict=True)}
        other = "" if is_constant else ", float[1,256,256,1] b"
        text = f"""net (float[1,256,256,1] a{other}) => (float[1,256,256,1] y) {{
            qa = QuantizeLinear(a, sa, za)  da = DequantizeLinear(qa, sa, za)
            {"" if is_constant else "qb = QuantizeLinear(b, sb, zb)"}  db = DequantizeLinear(qb, sb, zb)
            c = Add(da, db)  {activation}  q = QuantizeLinear({"r" if activation else "c"}, sy, zy)  y = DequantizeLinear(q, sy, zy) }}"""
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
        proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in {**scales, **zeros}.items())
        feed = {name: np.broadcast_to((every - float(zeros[f"z{name}"])) * scales[f"s{name}"], (256, 256)) for name in ("a", "b")}
        feed = {"a": np.ascontiguousarray(feed["a"].T).reshape(1, 256, 256, 1), "b": np.ascontiguousarray(feed["b"]).reshape(1, 256, 256, 1)}
        if is_constant:
            del feed["b"]
            integers = np.tile(every.astype(np.int8), 256).reshape(1, 256, 256, 1)
            proto.graph.initializer.append(numpy_helper.from_array(integers, "qb"))
        proto = infer_shapes(proto)
        graph, engine = tmp_path / f"graph{at}", tmp_path / f"engine{at}"
        graph.mkdir(), engine.mkdir()
        save(proto, graph)
        TfliteBackend().compile(seal_model(graph, signature_of(proto), ()), choose("raspberry-pi-5:tflite").target, None, engine)
        interpreter = Interpreter(str(engine / "model.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        for one in interpreter.get_input_details():
            interpreter.set_tensor(one["index"], feed["a" if one["name"].startswith("a") or is_constant else "b"])
        interpreter.invoke()
        wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        in_float = made_of(proto, feed)
        proto.metadata_props.add(key=FIXED_POINT_SUMS, value="true")
        np.testing.assert_array_equal(made_of(proto, feed), wanted)
        differs += np.count_nonzero(in_float != wanted)
    assert differs


def made_of(proto, feed):
    with torch.no_grad():
        return trainable(proto)({name: torch.from_numpy(value) for name, value in feed.items()})["y"].numpy()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("product", ["Conv<pads=[1,1,1,1]>", "Gemm<transB=1>"])
def test_a_gpu_makes_the_same_integers(product):
    """Also with its short floats (TF32), which hold what 8 bits hold."""
    shape, weight = (("N", 8, 9, 9), (12, 8, 3, 3)) if product.startswith("Conv") else (("N", 30), (48, 30))
    proto, _, x = stored(product, shape=shape, weight=weight)
    with torch.no_grad(), torch.device("cuda"):
        there = trainable(proto, outputs=["rq"]).to("cuda")({"x": torch.from_numpy(x).to("cuda")})["rq"].cpu().numpy()

    np.testing.assert_array_equal(there, made(proto, x, "rq"))


def test_a_bias_that_counts_something_else_is_added_in_float():
    """Where engines have no such product, either; expected is ONNX Runtime, node by node."""
    proto, _, x = stored("Conv", shape=("N", 8, 9, 9))
    next(one for one in proto.graph.initializer if one.name == "sb").CopyFrom(numpy_helper.from_array(np.full(12, 1e-3, np.float32), "sb"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(["y"], {"x": x})[0]

    np.testing.assert_allclose(made(proto, x, "y"), wanted, atol=1e-4 * np.abs(wanted).max())


def test_what_is_replaced_is_read_and_what_is_never_there_is_refused():
    proto, _, x = stored("Conv", shape=("N", 8, 9, 9))
    feed, nothing = {"x": torch.from_numpy(x)}, {"wd": torch.zeros(12, 8, 3, 3)}
    with torch.no_grad():
        assert len(torch.unique(trainable(proto, replaced=["wd"])(feed, nothing)["y"][:, 0])) == 1  # the bias alone
        with pytest.raises(SourceError, match="wd is computed within another node"):
            trainable(proto)(feed, nothing)
