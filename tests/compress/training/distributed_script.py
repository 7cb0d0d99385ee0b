"""Some trainings, written to a file with their weights: run by test_distributed.py alone and by torchrun."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import Dataset, array_split, default_preprocess
from compress.core.step_cost import metered
from compress.training import distributed, optimization
from compress.training.optimization import Hooks
from compress.training.training import TrainingConfig, train


class Net(nn.Module):
    """Without normalisation, whose statistics would be those of each process' part of a batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))


def data():
    random = np.random.default_rng(0)
    labels = np.arange(64) % 3
    images = random.integers(0, 90, (64, 8, 8, 3), dtype=np.uint8)
    images[np.arange(64), labels * 2] += 150
    part = array_split(images, labels, "stripes").grouped({"side": np.where(np.arange(64) % 5, "left", "right")})
    return Dataset("stripes", "tests:stripes", ("a", "b", "c"), part, None, part.subset(range(16)), part, (8, 8))


def setting(name, net):
    """(config, hooks, further arguments)."""
    config = {"epochs": 2, "batch": 16, "lr": 0.05, "optimizer": "sgd", "keep": "last"}
    if name in ("attention", "hint"):
        torch.manual_seed(1)
        unlabelled = data().train.subset(range(32))
        return config | {"features": name}, Hooks(), {"teacher": Net(), "unlabelled": unlabelled}
    if name == "worst_group":
        return config | {"worst_group": "side", "epochs": 4, "label_smoothing": 0.0}, Hooks(), {}
    if name == "hooked":  # what no other process could do by itself

        def adjust():
            net.conv.weight.grad.add_(0.1 * net.conv.weight)

        def constrain():
            net.head.weight.data[:, ::2] = 0

        return config, Hooks(adjust, constrain), {}
    if name == "late":
        return config | {"epochs": 500}, Hooks(), {"deadline": time.monotonic() + 1}
    return config, Hooks(), {}


def told(case):
    torch.manual_seed(0)
    dataset, net = data(), Net()
    if case == "unsendable":
        net.act = lambda x: x
    config, hooks, more = setting(case, net)
    try:
        with metered() as cost:
            result = train(
                net, dataset, default_preprocess(dataset), TrainingConfig(**config), hooks=hooks, device="cpu", **more
            )
    except ModelError as error:
        return {"error": str(error)}
    weights = {key: value.tolist() for key, value in net.state_dict().items()}
    return {"weights": weights, "early": result.stopped_early, "energy": cost.energy_json()}


def main(out, *cases):
    optimization.has_fast_bfloat16 = lambda device: False  # its rounding would hide what differs
    with distributed.process_group() as leads:
        if leads:
            Path(out).write_text(
                json.dumps({"processes": distributed.world_size(), **{case: told(case) for case in cases}})
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
