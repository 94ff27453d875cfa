"""The three nets of MTCNN (Zhang et al., arXiv:1604.02878, figure 2), for the weights that facenet-pytorch carries."""

from __future__ import annotations

import torch
from torch import nn


class _Net(nn.Module):
    """Convolutions with PReLU and pooling, a dense layer but in the first net, and several heads."""

    def __init__(self, convs: list[tuple[int, int, int, int]], dense: tuple[int, int] | None, heads: list[int]) -> None:
        super().__init__()
        for place, (given, made, size, _) in enumerate(convs, 1):
            self.add_module(f"conv{place}", nn.Conv2d(given, made, size))
            self.add_module(f"prelu{place}", nn.PReLU(made))
        self.pools = [pool for *_, pool in convs]
        last = len(convs) + 1
        if dense:
            self.add_module(f"dense{last}", nn.Linear(*dense))
            self.add_module(f"prelu{last}", nn.PReLU(dense[1]))
            last += 1
        self.dense = f"dense{last - 1}" if dense else ""
        kind, width = ("dense", dense[1]) if dense else ("conv", convs[-1][1])
        self.heads = [f"{kind}{last}_{number}" for number in range(1, len(heads) + 1)]
        for name, size in zip(self.heads, heads, strict=True):
            self.add_module(name, nn.Linear(width, size) if dense else nn.Conv2d(width, size, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for place, pool in enumerate(self.pools, 1):
            x = self.get_submodule(f"prelu{place}")(self.get_submodule(f"conv{place}")(x))
            x = nn.functional.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
        if self.dense:
            x = x.permute(0, 3, 2, 1).reshape(x.shape[0], -1)
            x = self.get_submodule(self.dense.replace("dense", "prelu"))(self.get_submodule(self.dense)(x))
        first, *others = (self.get_submodule(name)(x) for name in self.heads)
        return (first.softmax(dim=1), *others)


def pnet() -> nn.Module:
    """Proposals, fully convolutional."""
    return _Net([(3, 10, 3, 2), (10, 16, 3, 0), (16, 32, 3, 0)], None, [2, 4])


def rnet() -> nn.Module:
    """Refinement of 24 x 24."""
    return _Net([(3, 28, 3, 3), (28, 48, 3, 3), (48, 64, 2, 0)], (576, 128), [2, 4])


def onet() -> nn.Module:
    """Output and landmarks of 48 x 48."""
    return _Net([(3, 32, 3, 3), (32, 64, 3, 3), (64, 64, 3, 2), (64, 128, 2, 0)], (1152, 256), [2, 4, 10])
