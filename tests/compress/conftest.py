"""A data set of five-by-five blobs whose place tells the class, nets small enough for a second, and a context."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from certify.data import Dataset, default_preprocess
from compress.core.targets import TARGETS
from compress.exchange.onnx_export import export
from compress.passes import PassContext, PassData
from compress.testing.networks import CLASSES, blobs, network
from tests.hasty import hasty as hasty
from tests.kept_exports import kept_exports as kept_exports
from tests.kept_exports import kept_programs as kept_programs


@pytest.fixture
def deep() -> nn.Module:
    return network("blocks")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return blobs()


@pytest.fixture
def model() -> nn.Module:
    return network("residual")


@pytest.fixture
def context(dataset: Dataset, model: nn.Module, tmp_path) -> PassContext:
    """Of a pass that another trains behind, so that pruning alone is tried: nothing is refitted."""
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=default_preprocess(dataset),
        target=TARGETS["cpu-vnni"],
        teacher=model,
        workspace=tmp_path,
        training_follows=True,
    )


@pytest.fixture(scope="session")
def exported(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "float.onnx"
    export(network("residual"), default_preprocess(dataset), path, classes=CLASSES)
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
