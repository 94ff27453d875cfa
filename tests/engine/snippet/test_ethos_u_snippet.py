"""The file for TensorFlow Lite Micro, compiled against a fake of its interface."""

import shutil
import subprocess

import pytest

from edgekit.engine.contract import CpuOperator, Engine, MemoryUse, NpuEstimate, Port
from edgekit.engine.snippet import write_snippets
from edgekit.engine.snippet.ethos_u import added
from edgekit.model import Signature, Tensor

FAKE = {
    "tensorflow/lite/schema/schema_generated.h": "#pragma once\nnamespace tflite { struct Model {}; const Model* GetModel(const void*); }\n",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """#pragma once
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
namespace tflite {
template <unsigned int kCount> struct MicroMutableOpResolver { TfLiteStatus AddEthosU(), AddLogSoftmax(), AddDequantize(); };
}
""",
    "tensorflow/lite/micro/micro_interpreter.h": """#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
struct TfLiteTensor { union { void* raw; } data; size_t bytes; };
namespace tflite {
struct MicroInterpreter {
  template <typename R> MicroInterpreter(const Model*, const R&, uint8_t*, size_t);
  TfLiteStatus AllocateTensors(), Invoke();
  size_t inputs_size() const, outputs_size() const;
  TfLiteTensor *input(size_t), *output(size_t);
};
}
""",
}


@pytest.fixture
def snippet(tmp_path):
    npu = NpuEstimate(
        compiler="Vela 5.2.0",
        accelerator="ethos-u55-128",
        system="Ethos_U55_High_End_Embedded",
        memory_mode="Shared_Sram",
        clock_mhz=500.0,
        npu_cycles=1000,
        total_cycles=2000,
        query_ms=0.004,
        macs=5000,
        weight_bytes=100,
        encoded_weight_bytes=90,
        memories=(MemoryUse(name="SRAM", used_bytes=40_960, moved_bytes=1, peak_gb_s=4.0, holds=("feature maps",)),),
        operators=5,
        cpu_operators=tuple(CpuOperator(op=op, output=op, reason="Unsupported opType") for op in ("LOG_SOFTMAX", "DEQUANTIZE", "DEQUANTIZE")),
    )
    ports = {
        "inputs": (Port(name="x", dtype="int8", shape=(1, 8), scale=0.5, zero_point=3),),
        "outputs": (Port(name="y", dtype="float32", shape=(1, 4)),),
    }
    engine = Engine("model_vela.tflite", "ethos-u55-128", "ethos-u", "int8", "built", **ports, bytes=10, sha256="0", npu=npu)
    signature = Signature(inputs=(Tensor("x", "float32", (1, 8)),), outputs=(Tensor("y", "float32", (1, 4)),))
    (path,) = write_snippets(engine, signature, tmp_path)
    return path


def test_it_adds_the_npu_and_each_operator_on_the_cpu_once(snippet):
    text = snippet.read_text()

    assert "MicroMutableOpResolver<3>" in text
    assert [text.count(f"Add{name}()") for name in ("EthosU", "LogSoftmax", "Dequantize")] == [1, 1, 1]
    assert "kArenaBytes = 40960 + 64 * 1024" in text
    assert "// input  x: int8 1 x 8, real = 0.5 * (stored - 3)" in text


def test_it_compiles_against_the_interface_it_names(snippet, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    for name, text in FAKE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "model_vela.tflite").write_bytes(b"engine")
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", str(tmp_path), f"-Wa,-I{tmp_path}", "-c"]
    done = subprocess.run([compiler, *flags, str(snippet), "-o", str(tmp_path / "run.o")], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert b"engine" in (tmp_path / "run.o").read_bytes()


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("CONV_2D", "Conv2D"),
        ("MAX_POOL_2D", "MaxPool2D"),
        ("BATCH_MATMUL", "BatchMatMul"),
        ("CUMSUM", "CumSum"),
        ("PADV2", "PadV2"),
        ("RELU6", "Relu6"),
    ],
)
def test_operators_are_named_as_the_resolver_names_them(op, name):
    assert added(op) == name
