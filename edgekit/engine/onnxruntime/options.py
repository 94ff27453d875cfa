"""What a target file may say in ``[runtimes.options]`` for ONNX Runtime."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgekit import strict
from edgekit.target import Target

AS_ON_ARM = {"session.qdqisint8allowed": "1"}

WEIGHTS_AT_ONCE = {"session.disable_quant_qdq": "1"}
"""Leave Q/DQ alone: what is constant is then dequantized as any constant is folded."""

DISABLED = "optimization.disable_specified_optimizers"
"""ONNX Runtime's key for rewrites that it leaves out, with semicolons between them."""


class OnnxRuntimeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of an ONNX Runtime session and of the engine's ports.

    Attributes:
        graph_optimization: how far ONNX Runtime rewrites the graph when it opens it.
        allow_spinning: threads wait busily for work: quicker on cores of their own, slower on shared ones.
        session_config: further entries by ONNX Runtime's own keys.
        io_dtype: of inputs and outputs that the graph stores as such integers.
        io_layout: of image inputs; as the source has it if empty.
        accuracy_level: ONNX Runtime's own, of products by weights of 4 bits: 1 computes in float; 4 rounds activations to
            8 bits by block within the product, which on x86-64 with VNNI was 1.5 times faster for 196 x 512 x 512 and 3.5 for
            1 x 2048 x 2048 (blocks of 128), and no faster for 196 x 192 x 192.
    """

    graph_optimization: Literal["all", "extended", "basic", "disabled"] = "all"
    allow_spinning: bool = True
    session_config: dict[str, str] = {}
    io_dtype: Literal["float32", "int8", "uint8"] = "float32"
    io_layout: Literal["", "nchw", "nhwc"] = ""
    accuracy_level: Literal[1, 4] = 1

    def for_session(self, *, as_on_arm: bool, without: str = "", weights_at_once: bool = False) -> dict[str, Any]:
        """What a session is opened with; nothing where ONNX Runtime's own default holds.

        Args:
            as_on_arm: say that int8 activations become integer kernels, which is the default on ARM alone.
            without: rewrites of ONNX Runtime to leave out, besides those that the options name.
            weights_at_once: dequantize constants once, when the session opens; only for graphs that quantize nothing else.
        """
        rules = {**(AS_ON_ARM if as_on_arm else {}), **(WEIGHTS_AT_ONCE if weights_at_once else {})}
        spinning = {} if self.allow_spinning else {"session.intra_op.allow_spinning": "0"}
        config = {**rules, **spinning, **self.session_config}
        if without:
            config[DISABLED] = ";".join(filter(None, [config.get(DISABLED, ""), without]))
        opened: dict[str, Any] = {"session_config": config} if config else {}
        return opened if self.graph_optimization == "all" else {**opened, "graph_optimization": self.graph_optimization}


def options_of(target: Target) -> OnnxRuntimeOptions:
    """The options of a target's ONNX Runtime.

    Raises:
        UsageError: an option is unknown or does not fit.
    """
    return strict.convert(target.runtime("onnxruntime").options, OnnxRuntimeOptions, where=f"{target.name}: onnxruntime.options")
