"""onnx-simplifier in a process of its own.

It imports torch where torch is installed (4 s, 295 MB), sympy likewise (0.5 s, 35 MB), and its C++ part aborts the process
on some graphs: none of that belongs into the process of whoever calls edgekit.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit import child
from edgekit.errors import ChildError
from edgekit.graph.onnx_file import load, save

if TYPE_CHECKING:
    import onnx

LEFT_TO_FUSE = (
    "fuse_add_bias_into_conv",
    "fuse_attention",
    "fuse_bn_into_conv",
    "fuse_concat_into_reshape",
    "fuse_consecutive_concats",
    "fuse_consecutive_log_softmax",
    "fuse_consecutive_mul",
    "fuse_consecutive_reduce",
    "fuse_consecutive_reduce_unsqueeze",
    "fuse_consecutive_reshapes",
    "fuse_consecutive_slices",
    "fuse_consecutive_squeeze_unsqueeze",
    "fuse_consecutive_squeezes",
    "fuse_consecutive_transposes",
    "fuse_consecutive_unsqueezes",
    "fuse_gelu",
    "fuse_gqa",
    "fuse_layer_norm",
    "fuse_lp_normalization",
    "fuse_matmul_add_bias_into_gemm",
    "fuse_matmul_add_bias_into_gemm_batched",
    "fuse_mul_into_conv",
    "fuse_pad_into_conv",
    "fuse_pad_into_pool",
    "fuse_preceding_mul_into_conv",
    "fuse_qkv",
    "fuse_reshape_family",
    "fuse_rms_norm",
    "fuse_rope",
    "fuse_split_gather_concat",
    "fuse_transpose_into_gemm",
)
"""Fusing is edgekit's own: in double precision, the same whichever version of onnx-simplifier is installed, and by rules
that can be switched off. Names that a version of it does not know are ignored by it."""

_NOT_NEEDED = ("torch", "z3", "sympy", "onnx_ir", "rich")
"""What onnx-simplifier imports if it is there and works as well without."""

_LIMITS = child.Limits(cpu_s=1200, wall_s=600.0)


class Folders(msgspec.Struct, frozen=True):
    """Where the model lies, and where the simplified one goes or went."""

    before: Path
    after: Path


def run_onnxsim(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model as onnx-simplifier leaves it: constants folded, common and dead parts gone, nothing fused.

    Raises:
        ChildError: it failed, or took longer than ten minutes.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-onnxsim-") as name:
        folders = Folders(before=Path(name, "before"), after=Path(name, "after"))
        folders.before.mkdir()
        folders.after.mkdir()
        save(proto, folders.before)
        try:
            child.call(f"{__name__}:simplify_files", folders, Folders, limits=_LIMITS)
        except ChildError as error:
            hint = "try --set simplify.onnxsim=false, which leaves onnx-simplifier out"
            raise ChildError(f"onnx-simplifier failed: {error.message}", hint=hint, output=error.output) from error
        simplified = load(folders.after / "model.onnx")
    del simplified.metadata_props[:]
    simplified.metadata_props.extend(proto.metadata_props)
    return simplified


def simplify_files(folders: Folders) -> Folders:
    """What the child does."""
    for package in _NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]
    import onnxsim

    simplified, _ = onnxsim.simplify(load(folders.before / "model.onnx"), check_n=0, skipped_optimizers=list(LEFT_TO_FUSE))
    save(simplified, folders.after)
    return folders
