"""Networks for edge devices in PyTorch, with random weights of a seed: own definitions, and ``transformers`` configurations.

Architectures follow their papers; what matters here is which operators they are made of and in which shapes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(given: int, made: int, size: int = 3, stride: int = 1, groups: int = 1, activation: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    """A convolution with batch normalization and, if any, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(given, made, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(made),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, middle: int, inner: type[nn.Module] = nn.ReLU, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, middle, 1), inner(), nn.Conv2d(middle, channels, 1), gate())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x)


class Inverted(nn.Module):
    """The inverted residual of MobileNetV2 (arXiv:1801.04381), V3, MNASNet and EfficientNet."""

    def __init__(
        self,
        given: int,
        made: int,
        ratio: float,
        size: int = 3,
        stride: int = 1,
        activation: type[nn.Module] = nn.ReLU6,
        squeeze: nn.Module | None = None,
    ) -> None:
        super().__init__()
        wide = round(given * ratio)
        self.adds = stride == 1 and given == made
        self.layers = nn.Sequential(
            *([conv(given, wide, 1, activation=activation)] if wide != given else []),
            conv(wide, wide, size, stride, groups=wide, activation=activation),
            *([squeeze] if squeeze is not None else []),
            conv(wide, made, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class Head(nn.Sequential):
    """Global average and a dense layer."""

    def __init__(self, given: int, classes: int = 1000) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, classes))


def mobilenet_v3_small() -> nn.Module:
    """Howard et al., arXiv:1905.02244, table 2."""
    rows = [
        (3, 16, 16, True, nn.ReLU, 2),
        (3, 72, 24, False, nn.ReLU, 2),
        (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1),
        (5, 144, 48, True, nn.Hardswish, 1),
        (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1),
        (5, 576, 96, True, nn.Hardswish, 1),
    ]
    layers: list[nn.Module] = [conv(3, 16, 3, 2, activation=nn.Hardswish)]
    given = 16
    for size, wide, made, excited, activation, stride in rows:
        squeeze = Squeeze(wide, max(8, wide // 4 // 8 * 8), gate=nn.Hardsigmoid) if excited else None
        layers.append(Inverted(given, made, wide / given, size, stride, activation, squeeze))
        given = made
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 1000))
    return nn.Sequential(*layers, conv(96, 576, 1, activation=nn.Hardswish), last)


def efficientnet(activation: type[nn.Module], *, excited: bool) -> nn.Module:
    """Tan and Le, arXiv:1905.11946, table 1; Lite0 without squeeze and excitation and with ReLU6."""
    rows = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]
    layers: list[nn.Module] = [conv(3, 32, 3, 2, activation=activation)]
    given = 32
    for ratio, size, stride, made, repeats in rows:
        for index in range(repeats):
            squeeze = Squeeze(given * ratio, max(1, given // 4), inner=activation) if excited else None
            layers.append(Inverted(given, made, ratio, size, stride if index == 0 else 1, activation, squeeze))
            given = made
    return nn.Sequential(*layers, conv(320, 1280, 1, activation=activation), Head(1280))


def mnasnet() -> nn.Module:
    """Tan et al., arXiv:1807.11626, MnasNet-B1."""
    rows = [(3, 3, 2, 24, 3), (3, 5, 2, 40, 3), (6, 5, 2, 80, 3), (6, 3, 1, 96, 2), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]
    layers: list[nn.Module] = [conv(3, 32, 3, 2), conv(32, 32, groups=32), conv(32, 16, 1, activation=None)]
    given = 16
    for ratio, size, stride, made, repeats in rows:
        for index in range(repeats):
            layers.append(Inverted(given, made, ratio, size, stride if index == 0 else 1, nn.ReLU))
            given = made
    return nn.Sequential(*layers, conv(320, 1280, 1), Head(1280))


class Shuffle(nn.Module):
    """The unit of ShuffleNetV2 (Ma et al., arXiv:1807.11164, figure 3): split, convolve one part, join, shuffle channels."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        half = made // 2
        first = given if stride == 2 else half
        self.stride = stride
        self.left = nn.Sequential(conv(given, given, 3, 2, groups=given, activation=None), conv(given, half, 1)) if stride == 2 else nn.Identity()
        self.right = nn.Sequential(conv(first, half, 1), conv(half, half, 3, stride, groups=half, activation=None), conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        joined = torch.cat((self.left(left), self.right(right)), dim=1)
        batch, channels, height, width = joined.shape
        return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2 1.0x."""
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    given = 24
    for made, repeats in ((116, 4), (232, 8), (464, 4)):
        for index in range(repeats):
            layers.append(Shuffle(given, made, 2 if index == 0 else 1))
            given = made
    return nn.Sequential(*layers, conv(464, 1024, 1), Head(1024))


class Fire(nn.Module):
    """Iandola et al., arXiv:1602.07360."""

    def __init__(self, given: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(given, narrow, 1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(narrow, wide, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        return torch.cat((self.one(x), self.three(x)), dim=1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1, whose pooling rounds up."""
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)  # noqa: E731
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
        nn.Conv2d(512, 1000, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Ghost(nn.Module):
    """The ghost module (Han et al., arXiv:1911.11907): half of the channels by a cheap convolution of the other half."""

    def __init__(self, given: int, made: int, activation: type[nn.Module] | None = nn.ReLU) -> None:
        super().__init__()
        half = made // 2
        self.first = conv(given, half, 1, activation=activation)
        self.cheap = conv(half, half, 3, groups=half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat((x, self.cheap(x)), dim=1)


class GhostUnit(nn.Module):
    """The ghost bottleneck, with squeeze and excitation where it is asked for."""

    def __init__(self, given: int, wide: int, made: int, size: int, stride: int, *, excited: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Ghost(given, wide),
            *([conv(wide, wide, size, 2, groups=wide, activation=None)] if stride == 2 else []),
            *([Squeeze(wide, wide // 4, gate=nn.Hardsigmoid)] if excited else []),
            Ghost(wide, made, activation=None),
        )
        same = stride == 1 and given == made
        around = (conv(given, given, size, stride, groups=given, activation=None), conv(given, made, 1, activation=None))
        self.around = nn.Identity() if same else nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.around(x)


def ghostnet() -> nn.Module:
    """GhostNet 1.0x, table 1."""
    rows = [
        (3, 16, 16, False, 1),
        (3, 48, 24, False, 2),
        (3, 72, 24, False, 1),
        (5, 72, 40, True, 2),
        (5, 120, 40, True, 1),
        (3, 240, 80, False, 2),
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
        (5, 672, 160, True, 2),
        (5, 960, 160, True, 1),
    ]
    layers: list[nn.Module] = [conv(3, 16, 3, 2)]
    given = 16
    for size, wide, made, excited, stride in rows:
        layers.append(GhostUnit(given, wide, made, size, stride, excited=excited))
        given = made
    return nn.Sequential(*layers, conv(160, 960, 1), Head(960))


class Residual(nn.Module):
    """The basic block of ResNet-18 (He et al., arXiv:1512.03385)."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(given, made, 3, stride), conv(made, made, activation=None))
        self.around = conv(given, made, 1, stride, activation=None) if stride == 2 or given != made else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layers(x) + self.around(x))


def resnet18() -> nn.Module:
    """ResNet-18."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    given = 64
    for made in (64, 128, 256, 512):
        layers += [Residual(given, made, 1 if made == 64 else 2), Residual(made, made, 1)]
        given = made
    return nn.Sequential(*layers, Head(512))


class UNet(nn.Module):
    """Ronneberger et al., arXiv:1505.04597, with padding, narrow; one step upwards is bilinear, the others transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128)
        two = lambda a, b: nn.Sequential(conv(a, b), conv(b, b))  # noqa: E731
        self.down = nn.ModuleList(two(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.smooth = nn.Conv2d(32, 16, 1)
        self.merge = nn.ModuleList(two(2 * a, a) for a in widths[:-1])
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for index, layer in enumerate(self.down):
            x = layer(functional.max_pool2d(x, 2) if index else x)
            kept.append(x)
        for index in (2, 1, 0):
            x = self.up[index](x) if index else functional.interpolate(self.smooth(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = self.merge[index](torch.cat((kept[index], x), dim=1))
        return self.last(x)


class SsdLite(nn.Module):
    """SSDLite (arXiv:1801.04381, section 6.2) on a small MobileNetV2: boxes decoded against anchors, scores by class."""

    def __init__(self, classes: int = 21, anchors: int = 6) -> None:
        super().__init__()
        body = [Inverted(a, b, r, stride=s) for a, b, r, s in ((16, 24, 4, 2), (24, 24, 6, 1), (24, 32, 6, 2), (32, 64, 6, 2), (64, 96, 6, 1))]
        self.first = nn.Sequential(conv(3, 16, 3, 2, activation=nn.ReLU6), *body)
        self.second = nn.Sequential(Inverted(96, 160, 6, stride=2), conv(160, 320, 1, activation=nn.ReLU6))
        self.third = nn.Sequential(
            conv(320, 128, 1, activation=nn.ReLU6), conv(128, 128, 3, 2, 128, nn.ReLU6), conv(128, 256, 1, activation=nn.ReLU6)
        )
        separable = lambda a, b: nn.Sequential(conv(a, a, groups=a, activation=nn.ReLU6), nn.Conv2d(a, b, 1))  # noqa: E731
        self.boxes = nn.ModuleList(separable(c, anchors * 4) for c in (96, 320, 256))
        self.scores = nn.ModuleList(separable(c, anchors * classes) for c in (96, 320, 256))
        self.classes = classes
        cells = anchors * (20 * 20 + 10 * 10 + 5 * 5)
        self.register_buffer("anchors", torch.rand(cells, 4) * 0.5 + 0.25)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.first(x)]
        maps.append(self.second(maps[-1]))
        maps.append(self.third(maps[-1]))
        flat = lambda y, last: y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, last)  # noqa: E731
        moved = torch.cat([flat(head(m), 4) for head, m in zip(self.boxes, maps, strict=True)], dim=1)
        scores = torch.cat([flat(head(m), self.classes) for head, m in zip(self.scores, maps, strict=True)], dim=1)
        middle = self.anchors[:, :2] + moved[..., :2] * 0.1 * self.anchors[:, 2:]
        size = torch.exp(moved[..., 2:] * 0.2) * self.anchors[:, 2:]
        return torch.cat((middle - size / 2, middle + size / 2), dim=-1), scores.softmax(dim=-1)


class C2f(nn.Module):
    """Cross-stage block of the YOLO family: split, convolve on, join all parts."""

    def __init__(self, given: int, made: int, repeats: int, *, adds: bool) -> None:
        super().__init__()
        self.half = made // 2
        self.adds = adds
        self.first = conv(given, made, 1, activation=nn.SiLU)
        self.parts = nn.ModuleList(
            nn.Sequential(conv(self.half, self.half, activation=nn.SiLU), conv(self.half, self.half, activation=nn.SiLU)) for _ in range(repeats)
        )
        self.last = conv((2 + repeats) * self.half, made, 1, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).split(self.half, dim=1))
        for part in self.parts:
            made = part(parts[-1])
            parts.append(parts[-1] + made if self.adds else made)
        return self.last(torch.cat(parts, dim=1))


class Yolo(nn.Module):
    """A detector in the style of YOLOv8-n: SPPF, nearest upsampling, distances to box sides as an expectation over 16 bins, anchor points."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        act = nn.SiLU
        self.one = nn.Sequential(conv(3, 16, 3, 2, activation=act), conv(16, 32, 3, 2, activation=act), C2f(32, 32, 1, adds=True))
        self.two = nn.Sequential(conv(32, 64, 3, 2, activation=act), C2f(64, 64, 2, adds=True))
        self.three = nn.Sequential(conv(64, 128, 3, 2, activation=act), C2f(128, 128, 2, adds=True))
        self.four = nn.Sequential(conv(128, 256, 3, 2, activation=act), C2f(256, 256, 1, adds=True))
        self.narrow, self.pooled = conv(256, 128, 1, activation=act), conv(512, 256, 1, activation=act)
        self.up1, self.up2 = C2f(384, 128, 1, adds=False), C2f(192, 64, 1, adds=False)
        self.down1, self.down2 = conv(64, 64, 3, 2, activation=act), conv(128, 128, 3, 2, activation=act)
        self.join1, self.join2 = C2f(192, 128, 1, adds=False), C2f(384, 256, 1, adds=False)
        head = lambda c, out: nn.Sequential(conv(c, 64, activation=act), conv(64, 64, activation=act), nn.Conv2d(64, out, 1))  # noqa: E731
        self.box = nn.ModuleList(head(c, 64) for c in (64, 128, 256))
        self.score = nn.ModuleList(head(c, classes) for c in (64, 128, 256))
        self.classes = classes
        self.register_buffer("bins", torch.arange(16, dtype=torch.float32).view(1, 16, 1, 1))
        sides = (40, 20, 10)
        grid = [torch.stack(torch.meshgrid(torch.arange(s), torch.arange(s), indexing="xy")).flatten(1) + 0.5 for s in sides]
        self.register_buffer("points", torch.cat(grid, dim=1).unsqueeze(0))
        self.register_buffer("strides", torch.cat([torch.full((s * s,), 320 / s) for s in sides]).view(1, 1, -1))

    def forward(self, x: Tensor) -> Tensor:
        second = self.two(self.one(x))
        third = self.three(second)
        fourth = self.narrow(self.four(third))
        pools = [fourth]
        for _ in range(3):
            pools.append(functional.max_pool2d(pools[-1], 5, 1, 2))
        fourth = self.pooled(torch.cat(pools, dim=1))
        up = lambda y: functional.interpolate(y, scale_factor=2.0, mode="nearest")  # noqa: E731
        middle = self.up1(torch.cat((up(fourth), third), dim=1))
        fine = self.up2(torch.cat((up(middle), second), dim=1))
        middle = self.join1(torch.cat((self.down1(fine), middle), dim=1))
        coarse = self.join2(torch.cat((self.down2(middle), fourth), dim=1))
        maps = [torch.cat((b(m), s(m)), dim=1) for b, s, m in zip(self.box, self.score, (fine, middle, coarse), strict=True)]
        joined = torch.cat([m.view(1, 64 + self.classes, -1) for m in maps], dim=2)
        boxes, scores = joined.split((64, self.classes), dim=1)
        distances = (boxes.view(1, 4, 16, -1).transpose(2, 1).softmax(1) * self.bins).sum(1)
        left, right = distances.chunk(2, dim=1)
        lower, upper = self.points - left, self.points + right
        return torch.cat(((lower + upper) / 2 * self.strides, (upper - lower) * self.strides, scores.sigmoid()), dim=1)


def ds_cnn() -> nn.Module:
    """Zhang et al., arXiv:1711.07128: keywords in a spectrogram of 49 x 10."""
    blocks = [nn.Sequential(conv(64, 64, groups=64), conv(64, 64, 1)) for _ in range(4)]
    first = nn.Sequential(nn.Conv2d(1, 64, (10, 4), (2, 2), (4, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(first, *blocks, Head(64, 12))


class Tones(nn.Module):
    """One-dimensional convolutions, in the style of M5 (Dai et al., arXiv:1610.00087), on 1 s of 8 kHz."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        given = 1
        for made, size, stride in ((32, 80, 16), (32, 3, 1), (64, 3, 1), (64, 3, 1)):
            layers += [nn.Conv1d(given, made, size, stride), nn.BatchNorm1d(made), nn.ReLU(), nn.MaxPool1d(4)]
            given = made
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(64, 35)

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(self.last(self.layers(x).mean(dim=-1)), dim=-1)


class Lstm(nn.Module):
    """Two LSTM layers over 32 steps and a dense layer of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(40, 64, num_layers=2, batch_first=True)
        self.last = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x)[0][:, -1])


class Gru(nn.Module):
    """A bidirectional GRU over 32 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(40, 48, batch_first=True, bidirectional=True)
        self.last = nn.Linear(96, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x)[0].mean(dim=1))


def autoencoder() -> nn.Module:
    """Pictures of 32 x 32 through 16 numbers and back."""
    down = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 16)]
    up = [
        nn.Linear(16, 2048),
        nn.Unflatten(1, (32, 8, 8)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 3, 2, 1, output_padding=1),
        nn.Sigmoid(),
    ]
    return nn.Sequential(*down, *up)


class Upscaler(nn.Module):
    """Sub-pixel convolutions (Shi et al., arXiv:1609.05158): a picture twice as large."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 5, 1, 2), nn.PReLU(32), nn.Conv2d(32, 32, 3, 1, 1), nn.PReLU(32), nn.Conv2d(32, 12, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.layers(x), 2) + functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Only(nn.Module):
    """One output of a ``transformers`` model, as a plain tensor."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.model(x), self.output)


def from_transformers(model: str, config: str, output: str = "logits", **settings: object) -> nn.Module:
    """A model of the package ``transformers`` by the names of its classes, with random weights."""
    import transformers

    chosen = getattr(transformers, config)(**settings)
    chosen.return_dict = True
    return Only(getattr(transformers, model)(chosen), output)


PICTURE = (1, 3, 224, 224)

OWN = {
    "mobilenet_v3_small": (mobilenet_v3_small, PICTURE),
    "efficientnet_lite0": (lambda: efficientnet(nn.ReLU6, excited=False), PICTURE),
    "efficientnet_b0": (lambda: efficientnet(nn.SiLU, excited=True), PICTURE),
    "mnasnet": (mnasnet, PICTURE),
    "shufflenet_v2": (shufflenet_v2, PICTURE),
    "squeezenet": (squeezenet, PICTURE),
    "ghostnet": (ghostnet, PICTURE),
    "resnet18": (resnet18, PICTURE),
    "unet": (UNet, (1, 3, 128, 128)),
    "ssdlite": (SsdLite, (1, 3, 320, 320)),
    "yolo": (Yolo, (1, 3, 320, 320)),
    "ds_cnn": (ds_cnn, (1, 1, 49, 10)),
    "tones": (Tones, (1, 1, 8000)),
    "lstm": (Lstm, (1, 32, 40)),
    "gru": (Gru, (1, 32, 40)),
    "autoencoder": (autoencoder, (1, 3, 32, 32)),
    "upscaler": (Upscaler, (1, 3, 64, 64)),
}

FROM_TRANSFORMERS = {
    "mobilenet_v1": (lambda: from_transformers("MobileNetV1ForImageClassification", "MobileNetV1Config", num_labels=1000), PICTURE),
    "mobilenet_v2": (lambda: from_transformers("MobileNetV2ForImageClassification", "MobileNetV2Config", num_labels=1000), PICTURE),
    "deeplab_v3": (
        lambda: from_transformers("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", num_labels=21, output_stride=8),
        (1, 3, 257, 257),
    ),
    "regnet": (
        lambda: from_transformers(
            "RegNetForImageClassification",
            "RegNetConfig",
            num_labels=1000,
            embedding_size=32,
            hidden_sizes=[48, 104, 208, 440],
            depths=[1, 3, 6, 6],
            groups_width=8,
            layer_type="y",
        ),
        PICTURE,
    ),
    "convnext_tiny": (lambda: from_transformers("ConvNextForImageClassification", "ConvNextConfig", num_labels=1000), PICTURE),
    "mobilevit": (
        lambda: from_transformers(
            "MobileViTForImageClassification",
            "MobileViTConfig",
            num_labels=1000,
            image_size=256,
            hidden_sizes=[64, 80, 96],
            neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
            hidden_dropout_prob=0.0,
            expand_ratio=2.0,
        ),
        (1, 3, 256, 256),
    ),
    "vit_tiny": (
        lambda: from_transformers(
            "ViTForImageClassification", "ViTConfig", num_labels=1000, hidden_size=192, num_attention_heads=3, intermediate_size=768
        ),
        PICTURE,
    ),
    "swin_tiny": (lambda: from_transformers("SwinForImageClassification", "SwinConfig", num_labels=1000), PICTURE),
    "segformer_b0": (lambda: from_transformers("SegformerForSemanticSegmentation", "SegformerConfig", num_labels=19), (1, 3, 256, 256)),
    "poolformer": (lambda: from_transformers("PoolFormerForImageClassification", "PoolFormerConfig", num_labels=1000), PICTURE),
    "whisper_tiny_encoder": (
        lambda: from_transformers(
            "WhisperForAudioClassification",
            "WhisperConfig",
            num_labels=12,
            d_model=384,
            encoder_layers=4,
            encoder_attention_heads=6,
            encoder_ffn_dim=1536,
        ),
        (1, 80, 3000),
    ),
    "bert_tiny": (
        lambda: from_transformers(
            "BertForSequenceClassification",
            "BertConfig",
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=512,
            num_labels=4,
        ),
        (1, 64),
    ),
}

NETS = OWN | FROM_TRANSFORMERS


def made(name: str) -> tuple[nn.Module, Tensor]:
    """The network in evaluation mode, with statistics of batch normalization from random pictures, and an example input."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    build, shape = NETS[name]
    net = build()
    random = torch.Generator().manual_seed(1)
    given = torch.randn(shape, generator=random) if len(shape) > 2 else torch.randint(0, 1000, shape, generator=random)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None
        net.train()
        with torch.no_grad():
            net(torch.randn((4, *shape[1:]), generator=random)) if name != "yolo" else net(given)
    return net.eval(), given
