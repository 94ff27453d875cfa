"""onnx2tf on the models of ``tools/onnx_coverage.py``, which starts this with the Python of onnx2tf's own environment.

``python tools/onnx_coverage_peer.py FOLDER``: beside every ``FOLDER/*/model.onnx`` comes ``model.tflite``, or ``reason`` if
onnx2tf does not convert it. Each is converted as its command line does without options, but names of inputs and outputs are
kept and onnx-simplifier, which finds nothing in one operator, is left out, as on edgekit's side. Each has a process of its own
that may take two minutes; onnx2tf is imported once, before.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 120


def converted(file: Path, convert: Any) -> None:
    """Convert one model; onnx2tf writes over what it reads, so it gets a copy."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    with tempfile.TemporaryDirectory(prefix="edgekit-coverage-peer-") as name:
        copy = shutil.copy(file, name)
        try:
            folder = f"{name}/out"
            options = {"copy_onnx_input_output_names_to_tflite": True, "not_use_onnxsim": True, "non_verbose": True}
            convert(input_onnx_file_path=copy, output_folder_path=folder, **options)
            shutil.copy(f"{folder}/model_float32.tflite", file.with_name("model.tflite"))
        except BaseException as error:  # noqa: BLE001 - it ends the process on some models; the table says it
            file.with_name("reason").write_text(f"{type(error).__name__}: {error}".replace(name, ""), encoding="utf-8")


def main() -> int:
    """Convert every model of a folder; print the version of onnx2tf."""
    import onnx2tf
    import onnx2tf.onnx2tf  # what takes the time is imported here, once

    context = multiprocessing.get_context("fork")
    for file in sorted(Path(sys.argv[1]).glob("*/model.onnx")):
        process = context.Process(target=converted, args=(file, onnx2tf.convert))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            file.with_name("reason").write_text(f"nothing came in {SECONDS} s", encoding="utf-8")
    print(onnx2tf.__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
