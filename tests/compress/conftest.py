"""A data set of five-by-five blobs whose place tells the class, nets small enough for a second, and a context."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from certify.data import Dataset, array_split, default_preprocess
from compress.core.targets import TARGETS
from compress.passes import PassContext, PassData

SIZE = 32
CLASSES = 4


class TinyResidual(nn.Module):
    """Two stages with a residual block each."""

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
        x = self.stem(x)
        x = torch.relu(x + self.first(x))
        x = self.down(x)
        x = torch.relu(x + self.second(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Deep(nn.Module):
    """Residual blocks in a sequence; all but the first and the last hardly do anything."""

    def __init__(self, num_classes: int = CLASSES, blocks: int = 5, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 4, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Linear(width, num_classes)
        with torch.no_grad():
            for number in range(1, blocks - 1):
                self.blocks[number].conv.weight.mul_(1e-3 * 6**number)
                self.blocks[number].conv.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Block(nn.Module):
    """Keeps what it takes, and adds to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


@pytest.fixture
def deep() -> nn.Module:
    torch.manual_seed(0)
    return Deep().eval()


def tiny(num_classes: int = CLASSES) -> nn.Module:
    """Factory for ``package.module:factory``."""
    return TinyResidual(num_classes)


def _images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = random.integers(0, 60, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = 16 * (label // 2), 16 * (label % 2)
        image[row : row + 16, column : column + 16] += 120
    return pixels, labels.astype(np.int64)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    parts = [array_split(*_images(n, seed), "blobs") for seed, n in enumerate((128, 48, 48, 64))]
    classes = tuple("abcd")
    return Dataset("blobs", "tests:blobs", classes, *parts, input_size=(SIZE, SIZE))


def _model() -> nn.Module:
    torch.manual_seed(0)
    net = TinyResidual()
    with torch.no_grad():  # batch norms with statistics of their own, as in a trained net
        net.train()(torch.randn(32, 3, SIZE, SIZE))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture
def model() -> nn.Module:
    return _model()


@pytest.fixture
def context(dataset: Dataset, model: nn.Module, tmp_path) -> PassContext:
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=default_preprocess(dataset),
        target=TARGETS["cpu-vnni"],
        teacher=model,
        workspace=tmp_path,
    )


@pytest.fixture(scope="session")
def exported(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from compress.exchange.onnx_export import export

    path = tmp_path_factory.mktemp("exported") / "float.onnx"
    export(_model(), default_preprocess(dataset), path, classes=CLASSES)
    return path


@pytest.fixture
def onnx_file(exported: Path, tmp_path: Path) -> Path:
    """The model as an ONNX file with a free batch, in the workspace."""
    return Path(shutil.copy(exported, tmp_path))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
