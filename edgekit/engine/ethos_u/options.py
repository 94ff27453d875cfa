"""What a target or the command line may ask of an Ethos-U engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.engine.tflite.options import TfliteOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EthosUOptions:
    """Options of the runtime ``ethos-u``.

    Attributes:
        accelerator: NPU and multiply-adds a cycle, as Vela names them: ``ethos-u55-128``.
        system_config: clock and memories, by their name in ``config``.
        memory_mode: how these are shared, by its name in ``config``.
        config: Vela's configuration file: one that it ships, or the path of your own.
        optimise: for speed, or for the least SRAM.
        arena_cache_bytes: SRAM that buffers may take; 0 leaves it to the memory mode.
        timeout_s: how long Vela may take.
        io_dtype: what callers hand in and get back; of float32 the first and last operators stay on the CPU.
        io_layout: where the channels of pictures are, seen from outside.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    config: str = "Arm/vela.ini"
    optimise: Literal["Performance", "Size"] = "Performance"
    arena_cache_bytes: int = 0
    timeout_s: float = 600.0
    io_dtype: Literal["float32", "int8", "uint8"] = "float32"
    io_layout: Literal["nhwc", "nchw"] = "nhwc"

    @property
    def of_tflite(self) -> TfliteOptions:
        """How the file that Vela reads is made: the NPU computes in integers alone."""
        return TfliteOptions(io_dtype=self.io_dtype, io_layout=self.io_layout, npu=True)

    def arguments(self) -> list[str]:
        """Vela's command line for them; a configuration file that is here is named in full, since Vela looks for short paths elsewhere."""
        own = Path(self.config)
        given = {
            "--accelerator-config": self.accelerator,
            "--config": str(own.resolve()) if own.is_file() else self.config,
            "--system-config": self.system_config,
            "--memory-mode": self.memory_mode,
            "--optimise": self.optimise,
        }
        if self.arena_cache_bytes:
            given["--arena-cache-size"] = str(self.arena_cache_bytes)
        return [word for pair in given.items() for word in pair]
