"""A training that a test can kill: python training_process.py CHECKPOINTS WEIGHTS KILL_AT AVERAGE.

It kills itself, as kill -9 does, when so many steps are done; 0 for never. A checkpoint is written after every third step.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx

from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.signature import signature_of
from edgekit.passes.learn import Material, Teacher, TrainOptions, fit, loop
from edgekit.watch import SILENT

TEXT = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,2,6,6] x) => (float[1,3] y) {
    c = Conv<pads=[1,1,1,1]>(x, w0, b0)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  l = Gemm(f, w1, b1)  y = Softmax(l) }"""


def net(seed):
    drawn = np.random.default_rng(seed)
    shapes = {"w0": (4, 2, 3, 3), "b0": (4,), "w1": (4, 3), "b1": (3,)}
    proto = onnx.parser.parse_model(TEXT)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(drawn.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items())
    return infer_shapes(proto)


class Deadly:
    def __init__(self, kill_at):
        self.left = kill_at

    def __getattr__(self, name):
        return getattr(SILENT, name)

    def advance(self, units=1):
        self.left -= units
        if units and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class EveryThird:
    """A clock that a third of the saving interval passes on at every look."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += loop.SAVE_EVERY_S / 3
        return self.now


def main(folder, weights, kill_at, average):
    loop.time = EveryThird()
    student, teacher = net(0), net(1)
    drawn = np.random.default_rng(5)
    xs = drawn.normal(size=(40, 1, 2, 6, 6)).astype(np.float32)
    signature = signature_of(student)
    material = Material({"x": xs}, drawn.integers(0, 3, 40), signature, (Teacher(teacher, signature, threads=1),))
    options = TrainOptions(epochs=5, batch=8, rate=0.01, threads=1, noise=0.1 if "noise" in average else 0.0, average=average.partition("+")[0])
    fitted = fit(student, material, options, watcher=Deadly(int(kill_at)), checkpoints=Path(folder))
    np.savez(weights, steps=fitted.steps, kept=fitted.kept_step, curve=[one.held_out for one in fitted.history], **fitted.values)


if __name__ == "__main__":
    main(*sys.argv[1:])
