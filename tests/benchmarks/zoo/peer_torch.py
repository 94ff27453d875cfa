"""In the peer's environment (torch, transformers, litert-torch): what the zoo needs of PyTorch.

python peer_torch.py make NAME FOLDER       NAME.pt2, and NAME.npz with an input and what the network makes of it
python peer_torch.py convert FOLDER/NAME.pt2 OUT.tflite     by litert-torch, pictures with channels last
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch


def make(name: str, folder: Path) -> None:
    """Save the network and its outputs."""
    import torch_nets

    torch.set_grad_enabled(False)
    net, given = torch_nets.made(name)
    outputs = net(given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.export.save(torch.export.export(net, (given,)), folder / f"{name}.pt2")
    np.savez(folder / f"{name}.npz", x=given.numpy(), **{f"y{index}": output.numpy() for index, output in enumerate(outputs)})


def convert(source: Path, out: Path) -> None:
    """What litert-torch's manual asks for, an input of four axes given with channels last."""
    import litert_torch

    net = torch.export.load(source).module()
    given = torch.from_numpy(np.load(source.with_suffix(".npz"))["x"])
    if given.dim() == 4:
        net, given = litert_torch.to_channel_last_io(net, args=[0]), given.permute(0, 2, 3, 1).contiguous()
    litert_torch.convert(net, (given,), strict_export="auto").export(str(out))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]))
    else:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
