"""The C++ snippet for a microcontroller with an Ethos-U: TensorFlow Lite Micro with the operators that the compiled file has."""

from __future__ import annotations

from edgekit.engine.contract import NpuEstimate
from edgekit.engine.snippet.facts import Facts
from edgekit.engine.snippet.templates import template

_WORDS = {"2D": "2D", "3D": "3D", "MATMUL": "MatMul", "CUMSUM": "CumSum", "PADV2": "PadV2", "RELU6": "Relu6"}
"""What is written otherwise in the names of ``MicroMutableOpResolver``; tensorflow/lite/micro/micro_mutable_op_resolver.h."""


def ethos_u_snippet(facts: Facts, npu: NpuEstimate) -> str:
    """A C++17 file that runs the engine; pictures come as arrays, as a camera on a microcontroller is none of edgekit's."""
    on_cpu = list(dict.fromkeys(one.op for one in npu.cpu_operators))
    arena = next((memory for memory in npu.memories if "feature maps" in memory.holds), None)
    name, held = (arena.name, " and ".join(arena.holds)) if arena is not None else ("Memory", "feature maps")
    return template("ethos_u.cc").substitute(
        file=facts.engine.file,
        target=facts.engine.target,
        ports="\n".join(f"// {line}" for line in facts.lines()),
        compiler=npu.compiler,
        accelerator=npu.accelerator,
        system=npu.system,
        memory_mode=npu.memory_mode,
        memories=", ".join(f"{memory.name} {memory.used_bytes} bytes" for memory in npu.memories),
        arena_bytes=arena.used_bytes if arena is not None else 0,
        arena_why=f"{name} that the compiler takes for {held}",
        operators=1 + len(on_cpu),
        adds="\n".join(f"    resolver.Add{name}();" for name in ("EthosU", *map(added, on_cpu))),
    )


def added(op: str) -> str:
    """An operator of TFLite as the resolver's function names it: ``LOG_SOFTMAX`` is ``LogSoftmax``."""
    return "".join(_WORDS.get(word, word.capitalize()) for word in op.split("_"))
