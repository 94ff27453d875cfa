"""What a target or the command line may ask of a TFLite engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteOptions:
    """Options of the runtime ``tflite``.

    Attributes:
        io_dtype: what callers hand in and get back; integers need a quantized model.
        io_layout: where the channels of pictures are, seen from outside.
        require_full_delegation: refuse an engine of which XNNPACK leaves operators to TFLite's own kernels.
        npu: for a processor that computes in integers alone and has few operators: integer kernels also where float is faster
            on a CPU, and what such processors lack said in what they have.
    """

    io_dtype: Literal["float32", "int8", "uint8"] = "float32"
    io_layout: Literal["nhwc", "nchw"] = "nhwc"
    require_full_delegation: bool = False
    npu: bool = False
