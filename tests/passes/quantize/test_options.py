"""What goes together is known when a pass is made, what a runtime lacks when a build is planned."""

import numpy as np
import pytest

from edgekit import strict
from edgekit.errors import PlanError, UsageError
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.quantize import Quantize
from edgekit.plan import Request, check
from edgekit.target import Scheme, choose


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "static", "weight_bits": 2}, "weight_bits = 2: of mode weight_only alone, mode is static"),
        ({"mode": "dynamic", "weight_bits": 4}, "weight_bits = 4: of mode weight_only alone, mode is dynamic"),
        ({"mode": "weight_only", "activation_bits": 16}, "activation_bits = 16: of mode static alone, mode is weight_only"),
        ({"activation_bits": 16, "weight_bits": 4}, "weight_bits = 4, activation_bits = 16: no runtime computes both together"),
        ({"activation_bits": 4}, "Invalid enum value 4"),
        ({"mode": "dynamic", "block": 32}, "block = 32: of mode weight_only alone, mode is dynamic"),
        ({"mode": "float16", "symmetric": False}, "symmetric = false: of mode weight_only alone, mode is float16"),
        ({"mode": "dynamic", "weight_bits": 2, "block": 64}, "weight_bits = 2, block = 64: of mode weight_only alone, mode is dynamic"),
        ({"mode": "weight_only", "weight_bits": 3}, "Invalid enum value 3"),
        ({"mode": "weight_only", "block": 24}, "Invalid enum value 24"),
    ],
)
def test_options_that_contradict_each_other_are_refused_in_one_line(options, said):
    with pytest.raises(UsageError) as caught:
        strict.convert(options, Quantize, where="step 1 (quantize)")

    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("mode", ["dynamic", "weight_only", "float16", "bfloat16"])
def test_only_static_int8_needs_samples(mode):
    assert Quantize(mode=mode).needs == {Need.SCHEME}
    assert Quantize().needs == {Need.SCHEME, Need.SAMPLES}


@pytest.mark.parametrize(
    ("options", "scheme", "said"),
    [
        ({"mode": "dynamic"}, Scheme(), "no product of integer weights and float activations"),
        ({"mode": "weight_only"}, Scheme(), "no integer weights for float activations"),
        ({"mode": "weight_only", "weight_bits": 4}, Scheme(weight_only_ops=("Gemm",)), "no weights of 4 bits"),
        ({"mode": "weight_only", "block": 32}, Scheme(weight_only_ops=("Gemm",), low_bit_ops=("Gemm",)), "not for each block"),
        ({"mode": "static"}, Scheme(), ""),
        ({"activation_bits": 16}, Scheme(), "nothing with activations of 16 bits"),
        ({"activation_bits": 16}, Scheme(lacks={"int16_activations": "no kernels for it"}), "no kernels for it"),
        ({"activation_bits": 16}, Scheme(int16_activations=Scheme()), ""),
        ({"weight_bits": 4}, Scheme(), "no integers by weights of 4 bits"),
        ({"weight_bits": 4}, Scheme(low_bit_static_ops=("Gemm",)), ""),
        ({"mode": "bfloat16"}, Scheme(lacks={"bfloat16": "too old for it"}), "too old for it"),
        ({"mode": "bfloat16"}, Scheme(bfloat16=True), ""),
    ],
)
def test_what_a_scheme_has_no_form_for_is_named(options, scheme, said, model_of, tmp_path):
    lack = Quantize(**options).lacking(scheme)

    assert said in lack
    assert bool(said) == bool(lack)
    if said:
        with pytest.raises(UsageError, match=said):
            Quantize(**options)(model_of("net (float[1,2] x) => (float[1,2] y) { y = Relu(x) }"), Supplies(scheme=scheme), tmp_path)


def test_a_plan_names_every_option_that_a_runtime_lacks_at_once(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"not read")
    targets = ("rpi5:tflite", "rpi5:onnxruntime", "jetson")

    with pytest.raises(PlanError) as caught:
        check(Request(source=tmp_path / "net.onnx", targets=targets, recipe="weight_only_wi4_afp32"))

    assert caught.value.faults == (
        "step 1 (quantize): raspberry-pi-5-tflite: this runtime reads one scale for each channel, not for each block of it: --set quantize.block=0",
        "step 1 (quantize): jetson-orin-nano-jp62-tensorrt: this runtime reads no integer weights for float activations: "
        "choose another runtime or recipe",
    )


def test_a_contradiction_of_the_command_line_is_named_by_the_plan(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"not read")

    with pytest.raises(UsageError) as caught:
        check(Request(source=tmp_path / "net.onnx", targets=("x86",), recipe="fp16", settings={"quantize": {"weight_bits": 4}}))

    assert caught.value.message.endswith("step 1 (quantize): weight_bits = 4: of mode weight_only alone, mode is float16")


RECIPES = {"static_wi8_ai16": "int16_activations", "static_wi4_ai8": "low_bit_static_ops", "bf16": "bfloat16"}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("target", ["rpi5:tflite", "rpi5:onnxruntime", "x86-64-vnni:onnxruntime", "jetson", "jetson-orin-nano-jp51", "rtx30"])
def test_a_target_has_what_a_recipe_asks_for_or_says_in_one_line_why_not_and_what_to_do(target, recipe, tmp_path, samples_of):
    (tmp_path / "net.onnx").write_bytes(b"not read")
    samples_of(x=[np.zeros((1, 2), np.float32)] * 2)
    chosen = choose(target)
    runtime = chosen.target.runtime(chosen.runtime)
    request = Request(source=tmp_path / "net.onnx", targets=(target,), recipe=recipe, samples=tmp_path / "samples")

    if getattr(runtime.scheme, RECIPES[recipe]):
        assert any(runtime.remarks[recipe] in remark for remark in check(request).remarks)
        return
    with pytest.raises(PlanError) as caught:
        check(request)
    (fault,) = caught.value.faults
    assert f"{chosen.key}: {runtime.scheme.lacks[RECIPES[recipe]]}: --" in fault
