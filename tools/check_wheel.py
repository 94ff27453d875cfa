"""Try the installed wheel: its data are in it, the core alone builds and measures, what is missing says what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EDGEKIT = str(Path(sys.executable).with_name("edgekit"))


def edgekit(*arguments: str, status: int = 0) -> str:
    ran = subprocess.run([EDGEKIT, *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != status or "Traceback" in ran.stderr:
        sys.exit(f"edgekit {' '.join(arguments)}: exit status {ran.returncode}, not {status}\n{ran.stdout}{ran.stderr}")
    return ran.stdout if status == 0 else ran.stderr


def write_model(path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.3, (4, 8, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Relu", ["c"], ["y"], "relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_samples(folder: Path) -> None:
    import numpy as np

    folder.mkdir()
    for index in range(4):
        np.savez(folder / f"{index}.npz", x=np.random.default_rng(index).normal(0, 1, (8, 8, 8)).astype(np.float32))


def main() -> None:
    import edgekit as package

    home = Path(package.__file__).resolve()
    if "site-packages" not in home.parts:
        sys.exit(f"{home}: this is not an installed wheel")
    if not (home.parent / "py.typed").exists():
        sys.exit("py.typed is not in the wheel")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["EDGEKIT_STORE"] = str(Path(folder, "store"))
        targets = {target["name"] for target in json.loads(edgekit("targets", "list", "--json"))}
        if not {"x86-64-vnni", "raspberry-pi-5", "jetson-orin-nano-jp62"} <= targets:
            sys.exit(f"targets are missing from the wheel: {sorted(targets)}")
        if not (home.parent / "_data" / "calibration" / "demo-photos.toml").exists():
            sys.exit("calibration/ is missing from the wheel")
        edgekit("recipes", "show", "static_wi8_ai8")
        edgekit("doctor")
        write_model(Path("net.onnx"))
        write_samples(Path("samples"))
        report = json.loads(
            edgekit("build", "net.onnx", "-t", "x86", "--samples", "samples", "--no-bench", "--json", "--set", "budget.min_sqnr_db=1")
        )
        if report["engines"][0]["precision"] != "int8":
            sys.exit(f"not int8: {report['engines'][0]}")
        said = edgekit("build", "net.onnx", "-t", "rpi5", "--recipe", "float", "--no-bench", status=2)
        if "pip install 'edgekit[tflite]'" not in said:
            sys.exit(f"the missing extra is not named:\n{said}")
        os.environ["EDGEKIT_KEYS"] = str(Path(folder, "keys"))
        said = edgekit("keys", "new", "release", status=2)
        if "pip install 'edgekit[bundle]'" not in said:
            sys.exit(f"the missing extra is not named:\n{said}")
    print(f"wheel: good ({len(targets)} targets, core only)")


if __name__ == "__main__":
    main()
