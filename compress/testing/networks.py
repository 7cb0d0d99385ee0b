"""Small networks and data for testing passes within a second."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.data import Dataset, array_split

SIZE = 32
CLASSES = 4


class Residual(nn.Module):
    """Two stages of convolutions and batch norms with a residual block each."""

    def __init__(self, num_classes: int = CLASSES, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        wide = 2 * width
        self.down = nn.Sequential(nn.Conv2d(width, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(wide, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        x = self.stem(x)
        x = torch.relu(x + self.first(x))
        x = self.down(x)
        x = torch.relu(x + self.second(x))
        logits: torch.Tensor = self.head(torch.flatten(self.pool(x), 1))
        return logits


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape of the input."""
        return torch.relu(x + self.norm(self.conv(x)))


class Deep(nn.Module):
    """Residual blocks in a sequence; all but the first and the last have hardly any effect."""

    def __init__(self, num_classes: int = CLASSES, blocks: int = 5, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 4, 1)
        parts = [Block(width) for _ in range(blocks)]
        self.blocks = nn.Sequential(*parts)
        self.head = nn.Linear(width, num_classes)
        with torch.no_grad():
            for number in range(1, blocks - 1):
                # Each six times as strong as the one before, so that their order by effect is known.
                parts[number].conv.weight.mul_(1e-3 * 6**number)
                parts[number].conv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        logits: torch.Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


class Narrow(nn.Module):
    """Ends in a feature map of one value, which most taps of its last kernel never meet."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 8, 8)
        self.second = nn.Conv2d(8, 8, 3, 4, 1)
        self.third = nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        features = self.third(torch.relu(self.second(torch.relu(self.first(x)))))
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits


class Attentive(nn.Module):
    """Patches that attend to each other, normalised after each addition; a table holds a vector for each shade."""

    def __init__(self, num_classes: int = CLASSES, width: int = 16, shades: int = 256) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.shades = nn.Embedding(shades, width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.heads = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        shade = (32 * patches.mean(2).sigmoid()).long() + torch.arange(patches.shape[1])
        x = patches + self.shades(shade)
        split = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        query, key, value = (part(x).reshape(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        shares = (query @ key.transpose(-1, -2) / split[-1] ** 0.5).softmax(-1)
        x = self.first(x + self.out((shares @ value).transpose(1, 2).reshape(x.shape)))
        logits: torch.Tensor = self.head(self.second(x + self.mlp(x)).mean(1))
        return logits


class Depthwise(nn.Module):
    """Two blocks of MobileNetV3, whose depthwise convolutions have 60 channels."""

    def __init__(self, num_classes: int = CLASSES, width: int = 60) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.widen, self.gather = nn.ModuleList(), nn.ModuleList()
        self.deep, self.narrow = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            self.widen.append(nn.Conv2d(8, width, 1))
            self.deep.append(nn.Conv2d(width, width, 3, 1, 1, groups=width))
            squeezed = nn.Sequential(nn.Conv2d(width, 8, 1), nn.ReLU(), nn.Conv2d(8, width, 1), nn.Hardsigmoid())
            self.gather.append(squeezed)
            self.narrow.append(nn.Conv2d(width, 8, 1))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        x = self.stem(x)
        for widen, deep, gather, narrow in zip(self.widen, self.deep, self.gather, self.narrow, strict=True):
            wide = nn.functional.hardswish(deep(nn.functional.hardswish(widen(x))))
            x = x + narrow(wide * gather(wide.mean((2, 3), keepdim=True)))
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


NETWORKS = {
    "residual": Residual,
    "blocks": Deep,
    "idle_taps": Narrow,
    "attention": Attentive,
    "depthwise": Depthwise,
}


def network(name: str) -> nn.Module:
    """Build a network of :data:`NETWORKS` in eval mode, always the same one.

    Batch norms have nontrivial statistics, as in a trained network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = NETWORKS[name]()
        if name == "residual":
            with torch.no_grad():
                net.train()(torch.randn(32, 3, SIZE, SIZE))
                for module in net.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.weight.uniform_(0.5, 1.5)
        return net.eval()


def blobs() -> Dataset:
    """Return noise images with a bright quarter, which is the class."""
    train, calibration, validation, test = (
        array_split(*_images(count, seed), "blobs") for seed, count in enumerate((128, 48, 48, 64))
    )
    return Dataset("blobs", "tests:blobs", tuple("abcd"), train, calibration, validation, test, input_size=(SIZE, SIZE))


def _images(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = random.integers(0, 60, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = 16 * (label // 2), 16 * (label % 2)
        image[row : row + 16, column : column + 16] += 120
    return pixels, labels.astype(np.int64)
