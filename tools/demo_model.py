"""The network of the demo: ``edgekit build demo/model/efficientnet-lite0.pth --factory tools/demo_model.py:efficientnet_lite0``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CODE = Path(__file__).resolve().parents[1] / "demo" / "code"


def efficientnet_lite0() -> torch.nn.Module:
    """EfficientNet-Lite0 for 1000 ImageNet classes; input 1 x 3 x 224 x 224, ``(pixel - 127) / 128``.

    Its state dict is ``demo/model/efficientnet-lite0.pth``.

    Raises:
        FileNotFoundError: the demo's files have not been fetched.
    """
    if not CODE.is_dir():
        raise FileNotFoundError(f"{CODE}: not there; python tools/fetch_demo.py fetches it")
    sys.path.insert(0, str(CODE))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(CODE))
    return EfficientNet.from_name("efficientnet-lite0")
