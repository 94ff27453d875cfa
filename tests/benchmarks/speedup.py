"""How many times as fast as in float a runtime computes each kind of node in integers, on this machine, one thread.

    python tests/benchmarks/speedup.py [TARGET …]

A target is what ``edgekit build --target`` takes (``x86`` and ``x86:tflite`` unless others are named); its engines must run
here. Each kind is a small network of such nodes, built in float and in int8, both timed in rounds of random order. The
figures go into a target's ``scheme.speedup``, which the search for nodes to keep in float goes by.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from int8_against_peers import Run, cpu_rounds, onnx_engine, tflite_engine

import edgekit
from edgekit.engine.contract import read_engine

INT8 = """schema = 1
name = "int8"
[[step]]
pass = "quantize"
mode = "static"
rounding = "nearest"
float_if_free = false
"""


@dataclass(frozen=True)
class Kind:
    """A network of nodes of one kind.

    Attributes:
        shape: of its input.
        weights: shape of each node's weights.
        node: its text; ``{0}`` reads, ``{1}`` makes, ``{w}`` are its weights, ``{b}`` its bias.
    """

    shape: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]
    node: str


def repeated(shape: tuple[int, ...], count: int) -> tuple[tuple[int, ...], ...]:
    return (shape,) * count


KINDS = {
    "first Conv, 3x3 of 3 channels": Kind((1, 3, 224, 224), ((32, 3, 3, 3),), "{1} = Conv<strides=[2,2], pads=[1,1,1,1]>({0}, {w}, {b})"),
    "depthwise Conv, 3x3, 192 x 28 x 28": Kind((1, 192, 28, 28), repeated((192, 1, 3, 3), 8), "{1} = Conv<group=192, pads=[1,1,1,1]>({0}, {w}, {b})"),
    "depthwise Conv, 3x3, 960 x 7 x 7": Kind((1, 960, 7, 7), repeated((960, 1, 3, 3), 8), "{1} = Conv<group=960, pads=[1,1,1,1]>({0}, {w}, {b})"),
    "Conv, 1x1, 32 to 32 x 56 x 56": Kind((1, 32, 56, 56), repeated((32, 32, 1, 1), 8), "{1} = Conv({0}, {w}, {b})"),
    "Conv, 1x1, 160 to 160 x 14 x 14": Kind((1, 160, 14, 14), repeated((160, 160, 1, 1), 8), "{1} = Conv({0}, {w}, {b})"),
    "Conv, 3x3, 64 to 64 x 28 x 28": Kind((1, 64, 28, 28), repeated((64, 64, 3, 3), 4), "{1} = Conv<pads=[1,1,1,1]>({0}, {w}, {b})"),
    "Gemm, 1 x 1024 to 1024": Kind((1, 1024), repeated((1024, 1024), 6), "{1} = Gemm<transB=1>({0}, {w}, {b})"),
    "MatMul, 196 x 384 to 384": Kind((1, 196, 384), repeated((384, 384), 4), "{1}p = MatMul({0}, {w})  {1} = Add({1}p, {b})"),
}


def net(kind: Kind, path: Path) -> None:
    """Write the network; a pooling behind keeps what is converted at the end small."""
    draw = np.random.default_rng(0)
    lines, constants = [], {}
    for at, shape in enumerate(kind.weights):
        inputs = int(np.prod(shape[1:]))
        constants[f"w{at}"] = (draw.normal(size=shape) / inputs**0.5).astype(np.float32)
        constants[f"b{at}"] = (draw.normal(size=shape[-1] if "MatMul" in kind.node else shape[0]) * 0.1).astype(np.float32)
        lines.append(kind.node.format(f"r{at}" if at else "x", f"c{at}", w=f"w{at}", b=f"b{at}") + f"  r{at + 1} = Relu(c{at})")
    last, rank = f"r{len(kind.weights)}", len(kind.shape)
    lines.append(f"y = MaxPool<kernel_shape=[7,7], strides=[7,7]>({last})" if rank == 4 else f"y = Identity({last})")
    sizes = {name: ",".join(map(str, size)) for name, size in (("x", kind.shape), ("y", "NCHW"[:rank]))}
    text = f'<ir_version: 10, opset_import: ["" : 17]> net (float[{sizes["x"]}] x) => (float[{sizes["y"]}] y) {{ {"  ".join(lines)} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(proto, path)


def engine(source: Path, target: str, recipe: str, samples: Path, out: Path) -> Run:
    report = edgekit.build(source, target=target, recipe=recipe, samples=samples, out=out, bench=False)
    path = out / report.engines[0].path
    opened = read_engine(path.parent).options.get("session_config", {})
    return tflite_engine(path) if path.suffix == ".tflite" else onnx_engine(path, opened)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["x86", "x86:tflite"])
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    print(f"{'kind of node':38}" + "".join(f"{target:>28}" for target in given.targets))
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            (here / "samples").mkdir()
            inputs = [np.random.default_rng(at).normal(size=kind.shape).astype(np.float32) for at in range(8)]
            for at, values in enumerate(inputs):
                np.savez(here / "samples" / f"{at}.npz", x=values)
            (here / "int8.toml").write_text(INT8)
            net(kind, here / "net.onnx")
            row = ""
            for at, target in enumerate(given.targets):
                recipes = {"float": "float", "int8": str(here / "int8.toml")}
                engines = {
                    label: engine(here / "net.onnx", target, recipe, here / "samples", here / f"{at}{label}") for label, recipe in recipes.items()
                }
                times = cpu_rounds(engines, inputs, given.rounds)
                ratio = float(np.median(times["float"] / times["int8"]))
                row += f"{np.median(times['float']) * 1e3:10.3f} ms {ratio:8.2f} times"
            print(f"{name:38}{row}", flush=True)


if __name__ == "__main__":
    main()
