import shutil
import subprocess

import msgspec
import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from edgekit.model import Signature, Tensor
from edgekit.samples import image_input

VARIANTS = [
    *((kind, "nchw") for kind in ("photo", "stretched", "grey", "as told by the input", "cut", "nearest")),
    ("photo", "nhwc"),
    ("grey", "nhwc"),
]
STRETCHED = ("stretched", "as told by the input")
HEADERS = ("algorithm", "cmath", "cstdint", "cstdio", "cstring", "exception", "fstream", "memory", "numeric", "stdexcept", "string", "vector")
DUMP = """
  if (std::string(argv[1]) == "{index}") {{
    const variant_{index}::Picture picture = variant_{index}::ReadPpm(argv[2]);
    const variant_{index}::Tensor tensor = variant_{index}::Preprocess(picture.pixels.data(), picture.width, picture.height);
    return std::fwrite(tensor.bytes.data(), 1, tensor.bytes.size(), stdout) == tensor.bytes.size() ? 0 : variant_{index}::snippet_main(0, argv);
  }}"""


@pytest.fixture(scope="module")
def ppms(pictures, tmp_path_factory):
    """The pictures as PPM, turned upright, as the snippet's first lines say."""
    folder = tmp_path_factory.mktemp("ppm")
    paths = []
    for path in pictures:
        with Image.open(path) as file:
            ImageOps.exif_transpose(file).convert("RGB").save(folder / f"{path.stem}.ppm")
        paths.append(folder / f"{path.stem}.ppm")
    return paths


@pytest.fixture(scope="module")
def preprocessing(kit, tmp_path_factory):
    """One program that holds the snippets of all variants: `program INDEX PICTURE` gives the input's bytes."""
    folder = tmp_path_factory.mktemp("variants")
    parts = [*(f"#include <{name}>" for name in HEADERS), "#include <onnxruntime_cxx_api.h>", "#define main snippet_main"]
    for index, (kind, layout) in enumerate(VARIANTS):
        signature = kit.signature_of(kind, layout=layout)
        engine = kit.engine_of(signature, "model.onnx", "onnxruntime")
        (folder / str(index)).mkdir()
        kit.write(engine, signature, folder / str(index))
        parts.append(f'namespace variant_{index} {{\n#include "{index}/run.cc"\n}}')
    dumps = "".join(DUMP.format(index=index) for index in range(len(VARIANTS)))
    parts += ["#undef main", f"int main(int argc, char** argv) {{\n  if (argc != 3) return 2;{dumps}\n  return 2;\n}}"]
    (folder / "all.cc").write_text("\n".join(parts))
    return kit.compiled(folder / "all.cc", folder, engine)


@pytest.mark.parametrize("index", range(len(VARIANTS)), ids=lambda index: " ".join(VARIANTS[index]))
def test_its_preprocessing_gives_the_same_bytes_as_pillow(kit, pictures, ppms, preprocessing, index):
    kind, layout = VARIANTS[index]
    if kind in STRETCHED and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("this Pillow always resizes rows first")
    signature = kit.signature_of(kind, layout=layout)
    for picture, ppm in zip(pictures, ppms, strict=True):
        told = subprocess.run([preprocessing, str(index), ppm], capture_output=True, check=True).stdout
        expected = image_input(picture, signature.inputs[0], signature.preprocess)

        assert np.array_equal(np.frombuffer(told, np.float32), expected.ravel())


def test_integer_inputs_are_rounded_as_numpy_rounds(kit, pictures, ppms, tmp_path):
    signature = kit.signature_of("photo", layout="nhwc")
    engine = kit.engine_of(signature, "model.tflite", "tflite")
    stored = msgspec.structs.replace(engine.inputs[0], dtype="int8", scale=0.0186, zero_point=-14)
    engine = msgspec.structs.replace(engine, inputs=(stored,))
    kit.write(engine, signature, tmp_path)
    (tmp_path / "dump.cc").write_text(
        '#define main snippet_main\n#include "run.cc"\n#undef main\n'
        "int main(int argc, char** argv) {\n"
        "  const Picture picture = ReadPpm(argv[1]);\n"
        "  const Tensor tensor = Preprocess(picture.pixels.data(), picture.width, picture.height);\n"
        "  std::fwrite(tensor.bytes.data(), 1, tensor.bytes.size(), stdout);\n"
        "  return argc == 2 ? 0 : snippet_main(argc, argv);\n}\n"
    )
    told = subprocess.run([kit.compiled(tmp_path / "dump.cc", tmp_path, engine), ppms[0]], capture_output=True, check=True).stdout

    values = image_input(pictures[0], signature.inputs[0], signature.preprocess)
    expected = np.clip(np.round(values / np.float32(0.0186)) - 14, -128, 127).astype(np.int8)
    assert np.array_equal(np.frombuffer(told, np.int8), expected.ravel())


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_the_program_names_the_five_best_classes(kit, pictures, ppms, tmp_path, runtime):
    signature = kit.signature_of("photo", layout="nhwc")
    engine = kit.engine_of(signature, f"model.{runtime}", runtime, options={} if runtime == "tflite" else {"graph_optimization": "basic"})
    kit.write(engine, signature, tmp_path)
    program = kit.compiled(tmp_path / "run.cc", tmp_path, engine)
    told = subprocess.run([program, "model", ppms[0]], capture_output=True, text=True, check=True).stdout

    # The stub's engine gives back the first values of its input as scores.
    scores = image_input(pictures[0], signature.inputs[0], signature.preprocess).ravel()[: kit.CLASSES]
    order = np.argsort(-scores, kind="stable")[:5]
    assert sorted(line.split(maxsplit=1)[1] for line in told.splitlines()) == sorted(kit.LABELS[index] for index in order)
    assert [float(line.split()[0]) for line in told.splitlines()] == pytest.approx(scores[order], abs=1e-4)


def test_a_picture_cut_short_ends_in_one_line(kit, ppms, tmp_path):
    signature = kit.signature_of("photo")
    engine = kit.engine_of(signature, "model.onnx", "onnxruntime")
    kit.write(engine, signature, tmp_path)
    (tmp_path / "cut.ppm").write_bytes(ppms[0].read_bytes()[:500])
    done = subprocess.run(
        [kit.compiled(tmp_path / "run.cc", tmp_path, engine), "model", tmp_path / "cut.ppm"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"{tmp_path / 'cut.ppm'}: cut short"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_arrays_are_passed_through_as_raw_values(kit, tmp_path, runtime):
    signature = Signature(
        inputs=(Tensor(name="x", dtype="float32", shape=(1, 6)),),
        outputs=(Tensor(name="y", dtype="float32", shape=(1, 4)),),
    )
    options = {"xnnpack": False} if runtime == "tflite" else {"session_config": {"session.intra_op.allow_spinning": "0"}}
    engine = kit.engine_of(signature, "model.bin", runtime, options=options)
    kit.write(engine, signature, tmp_path)
    np.arange(6, dtype=np.float32).tofile(tmp_path / "x.bin")
    subprocess.run([kit.compiled(tmp_path / "run.cc", tmp_path, engine), "model", "x.bin"], check=True, cwd=tmp_path, capture_output=True)

    assert np.fromfile(tmp_path / "output-0.bin", np.float32).tolist() == [0, 1, 2, 3]


def test_names_are_written_so_that_a_compiler_reads_them_back(kit, tmp_path):
    signature = msgspec.structs.replace(kit.signature_of("photo"), labels=('"', "\\", "a\nb", "\x7f1", "??/", "日本"))
    engine = kit.engine_of(signature, "model.onnx", "onnxruntime")
    kit.write(engine, signature, tmp_path)
    (tmp_path / "labels.cc").write_text(
        '#define main snippet_main\n#include "run.cc"\n#undef main\n'
        'int main(int, char** argv) { for (const char* label : kLabels) std::printf("%s|", label); return snippet_main(0, argv) == 2 ? 0 : 1; }\n'
    )
    told = subprocess.run([kit.compiled(tmp_path / "labels.cc", tmp_path, engine)], capture_output=True, check=False).stdout

    assert told.decode() == '"|\\|a\nb|\x7f1|??/|日本|'


MAIN_KT = """
import android.content.res.AssetManager
import android.graphics.Bitmap
import java.io.File

fun main(arguments: Array<String>) {
    val bytes = File(arguments[0]).readBytes()
    val (width, height) = arguments[1].split("x").map { it.toInt() }
    val argb = IntArray(width * height) { i ->
        (0..2).fold(-1) { packed, c -> packed shl 8 or (bytes[3 * i + c].toInt() and 255) }
    }
    val input = Preprocessing.inputOf(argb, width, height)
    val held = ByteArray(input.remaining())
    input.get(held)
    File(arguments[2]).writeBytes(held)
    val model = Model(AssetManager())
    model.classify(Bitmap(width, height, argb)).forEach { println("${it.second} ${it.first}") }
    model.close()
}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "kind"), [("tflite", "photo"), ("onnxruntime", "grey"), ("tflite", "stretched")])
def test_kotlin_gives_the_same_bytes_as_pillow(kit, pictures, tmp_path, runtime, kind):
    if shutil.which("kotlinc") is None or shutil.which("javac") is None:
        pytest.skip("no Kotlin compiler here")
    signature = kit.signature_of(kind, layout="nhwc" if runtime == "tflite" else "nchw")
    kit.write(kit.engine_of(signature, "model.bin", runtime, target="android-arm64"), signature, tmp_path)
    (tmp_path / "Main.kt").write_text(MAIN_KT)
    stubs = [str(path) for path in (kit.HERE / "android").rglob("*.java")]
    subprocess.run(["javac", "-d", str(tmp_path / "stubs"), *stubs], check=True, capture_output=True)
    jar = tmp_path / "main.jar"
    command = ["kotlinc", "-cp", str(tmp_path / "stubs"), str(tmp_path / "Model.kt"), str(tmp_path / "Main.kt"), "-include-runtime", "-d", str(jar)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(pictures[0]) as file:
        pixels = np.asarray(file.convert("RGB"))
    pixels.tofile(tmp_path / "rgb.bin")
    arguments = [str(tmp_path / "rgb.bin"), f"{pixels.shape[1]}x{pixels.shape[0]}", str(tmp_path / "held.bin")]
    told = subprocess.run(["java", "-cp", f"{jar}:{tmp_path / 'stubs'}", "MainKt", *arguments], capture_output=True, text=True, check=True).stdout

    expected = image_input(pictures[0], signature.inputs[0], signature.preprocess)
    assert np.array_equal(np.fromfile(tmp_path / "held.bin", np.float32), expected.ravel())
    # The stubs give back the input: LiteRT's as much of it as fits the output, ONNX Runtime's all of it.
    scores = expected.ravel()[: kit.CLASSES] if runtime == "tflite" else expected.ravel()
    assert float(told.split()[0]) == pytest.approx(scores.max(), abs=1e-4)
