import pytest

from edgekit.engine.contract import read_engine
from edgekit.engine.ethos_u import EthosUBackend
from edgekit.engine.ethos_u import vela as compiler
from edgekit.engine.tflite.file import read_tflite
from edgekit.errors import ChildError, MissingExtraError, UnsupportedError, UsageError

NETWORK = "a = Conv<pads = [1,1,1,1]>(x, w) h = Relu(a) y = Conv(h, v)"
SHAPES = {"w": (16, 8, 3, 3), "v": (4, 16, 1, 1)}
WEIGHTS = 16 * 8 * 3 * 3 + 4 * 16
BOARD = """
[System_Config.Board]
core_clock=250e6
axi0_port=Sram
axi1_port=OffChipFlash
Sram_clock_scale=1.0
OffChipFlash_clock_scale=0.125
[Memory_Mode.One]
const_mem_area=Axi1
arena_mem_area=Axi0
cache_mem_area=Axi0
"""
NORMALIZED = "a = Conv(x, v) n = LayerNormalization<axis = -1>(a, s) y = Conv(n, v)"


@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_convolutions_are_one_operator_of_the_npu(name, quantized, compiled, vela):
    engine, out = compiled(quantized(NETWORK, **SHAPES), name)
    layers = read_tflite(out / engine.file).layers

    assert engine.file == "model_vela.tflite"
    assert [layer.op for layer in layers if layer.op == "CUSTOM:ethos-u"] == ["CUSTOM:ethos-u"]
    assert engine.npu.accelerator == name
    assert engine.npu.cpu_operators == ()
    assert [port.dtype for port in (*engine.inputs, *engine.outputs)] == ["int8", "int8"]
    assert read_engine(out) == engine


def test_the_estimate_counts_the_multiply_adds_and_weights_that_the_network_has(quantized, compiled, vela):
    npu = compiled(quantized(NETWORK, **SHAPES))[0].npu

    assert npu.macs == 16 * 16 * WEIGHTS
    assert npu.weight_bytes == WEIGHTS
    assert npu.operators == 4  # with a Transpose on either side, since pictures come with their channels first here
    assert npu.clock_mhz == 500.0  # core_clock of Ethos_U55_High_End_Embedded in vela.ini
    assert npu.query_ms == pytest.approx(npu.total_cycles / 500e3)
    assert npu.npu_cycles >= npu.macs / 128
    assert {memory.name: memory.holds for memory in npu.memories} == {"SRAM": ("feature maps",), "off-chip flash": ("weights",)}
    assert {memory.name: memory.peak_gb_s for memory in npu.memories} == pytest.approx({"SRAM": 4.0, "off-chip flash": 0.5})
    assert next(memory for memory in npu.memories if memory.name == "SRAM").used_bytes >= 16 * 16 * (8 + 16)


def test_what_has_no_integer_kernel_is_named_with_velas_reason(quantized, compiled, vela):
    npu = compiled(quantized(NORMALIZED, v=(8, 8, 1, 1), s=(16,)))[0].npu
    reasons = {one.op: one.reason for one in npu.cpu_operators}

    assert reasons["DEQUANTIZE"] == "Unsupported opType"
    assert reasons["MEAN"] == "Operation has tensor with unsupported DataType Float32"
    assert not {"CONV_2D", "TRANSPOSE"} & set(reasons)
    assert 0 < len(npu.cpu_operators) < npu.operators


def test_a_hard_swish_that_the_user_keeps_in_float_is_computed_on_the_cpu(quantized, compiled, vela):
    body = "a = Conv(x, v) b = Conv(a, v) h = HardSwish(b) c = Conv(h, v) y = Conv(c, v)"
    model = quantized(body, keep_float=("Conv_1", "HardSwish_2", "Conv_3"), v=(8, 8, 1, 1))
    ops = {one.op for one in compiled(model)[0].npu.cpu_operators}

    assert {"DEQUANTIZE", "CONV_2D", "ADD", "MUL", "QUANTIZE"} <= ops
    assert "HARD_SWISH" not in ops


def test_less_sram_can_be_asked_for(quantized, compiled, vela):
    body = "a = Conv<pads = [1,1,1,1]>(x, w) b = Conv<pads = [1,1,1,1]>(a, u) y = Conv(b, v)"
    model = quantized(body, w=(64, 8, 3, 3), u=(64, 64, 3, 3), v=(4, 64, 1, 1))
    fast, small = (compiled(model, optimise=how)[0].npu for how in ("Performance", "Size"))
    used = [next(memory.used_bytes for memory in npu.memories if memory.name == "SRAM") for npu in (fast, small)]

    assert used[1] < used[0]


def test_the_same_model_gives_the_same_bytes(quantized, compiled, vela):
    model = quantized(NETWORK, **SHAPES)

    assert compiled(model)[0] == compiled(model)[0]


def test_what_velas_log_and_tables_hold_names_no_folder_of_the_build(quantized, compiled, vela, tmp_path):
    _, out = compiled(quantized(NETWORK, **SHAPES))

    assert not [path.name for path in out.iterdir() if str(tmp_path).encode() in path.read_bytes()]


def test_what_is_judged_is_the_file_that_vela_read_in_reference_kernels(quantized, compiled, vela):
    engine, out = compiled(quantized(NETWORK, **SHAPES))

    assert (engine.stand_in.file, engine.stand_in.runtime, engine.stand_in.options) == ("model.tflite", "tflite", {"reference": True})
    assert [layer.op for layer in read_tflite(out / "model.tflite").layers].count("CONV_2D") == 2
    assert "has not been run" in engine.stand_in.remark


def test_a_model_without_integers_is_refused(floats, compiled):
    with pytest.raises(UnsupportedError, match="the NPU computes in integers alone, and this model computes in float32"):
        compiled(floats(NETWORK, **SHAPES), io_dtype="float32")


@pytest.mark.parametrize(
    ("option", "said"),
    [({"accelerator": "ethos-u99-1"}, "ethos-u99-1"), ({"system_config": "Nowhere"}, "Nowhere"), ({"memory_mode": "None_Such"}, "None_Such")],
)
def test_what_vela_does_not_know_is_said_in_one_line(option, said, quantized, compiled, vela):
    with pytest.raises(UnsupportedError, match=said) as caught:
        compiled(quantized(NETWORK, **SHAPES), **option)

    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_vela_that_takes_too_long_is_ended(quantized, compiled, vela):
    with pytest.raises(ChildError, match=r"ran longer than 0\.01 s") as caught:
        compiled(quantized(NETWORK, **SHAPES), timeout_s=0.01)

    assert "timeout_s" in caught.value.hint


def test_a_missing_vela_is_answered_with_the_extra(quantized, compiled, floats, target, monkeypatch):
    monkeypatch.setattr(compiler, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError) as caught:
        compiled(quantized(NETWORK, **SHAPES))

    assert caught.value.hint == "pip install 'edgekit[ethos-u]'"
    with pytest.raises(MissingExtraError):  # before anything calibrates, too
        EthosUBackend().refusals(floats(NETWORK, **SHAPES), target())


def test_a_misspelt_option_is_answered_with_the_nearest_right_one(floats, target, vela):
    with pytest.raises(UsageError, match="did you mean memory_mode"):
        EthosUBackend().refusals(floats(NETWORK, **SHAPES), target(memory_mod="Shared_Sram"))


def test_refusals_are_those_of_tflite(floats, target, vela):
    model = floats("n = NonZero(x) y = Cast<to = 1>(n)")

    assert "NonZero" in [one.op for one in EthosUBackend().refusals(model, target(io_dtype="float32"))]


def test_a_configuration_of_ones_own_is_read(quantized, compiled, vela, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "board.ini").write_text(BOARD)
    monkeypatch.chdir(tmp_path)
    npu = compiled(quantized(NETWORK, **SHAPES), config="own/board.ini", system_config="Board", memory_mode="One")[0].npu

    assert (npu.clock_mhz, npu.system, npu.memory_mode) == (250.0, "Board", "One")
