"""Figures of federated training in memory.

    apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py fashion
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py cifar       # ../shared/data, see cifar.py
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py thousand    # 1,000 clients, 100 rounds
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py cost --svg cost.svg

--fashion names the folder of Fashion-MNIST's four files. ``fashion`` prints accuracy on 8,000 test images, beside
central recovery of the same pruned network on the same 10,000 train images, and bytes up of a client in a round;
``--runs 3`` gives medians of three seeds. ``cost`` draws seconds and memory of a round against the number of clients.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.progress import Silent
from certify.data import Dataset, ImagePreprocess, Split, published
from compress.core.context import PassContext, PassData
from compress.core.pass_protocol import Pass
from compress.core.targets import TARGETS
from compress.passes.federated_distill import FederatedDistill
from compress.passes.federated_finetune import FederatedFinetune
from compress.passes.finetune import Finetune
from compress.passes.structured_prune import StructuredPrune
from compress.training.config import TrainingConfig
from compress.training.training import evaluate, train

CONTRACT = ImagePreprocess(
    "images", "logits", 28, 28, "NCHW", "L", 255.0, (0.5,), (0.5,), None, "none", "bilinear", "logits"
)
EPOCHS, CLIENTS = 10, 10


class Net(nn.Module):
    """Two convolutions and two linear layers, 68,042 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2, padding=1), nn.Flatten(),
            nn.Linear(512, 104), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(104, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 10)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


def around(dataset: Dataset, folder: Path | None, seed: int = 0, contract: ImagePreprocess = CONTRACT) -> PassContext:
    """What a pass sees of the data."""
    data = PassData.without_test(dataset)
    return PassContext(data, contract, TARGETS["cpu-vnni"], workspace=folder, progress=Silent(), seed=seed)


def accuracy(model: nn.Module, split: Split, contract: ImagePreprocess = CONTRACT) -> float:
    """Share of right answers in percent."""
    return 100 * float(evaluate(model, split, contract).accuracy)


def applied(each: Pass, model: nn.Module, dataset: Dataset, seed: int, contract: ImagePreprocess = CONTRACT) -> Any:
    """A pass on a copy of a model, and its record."""
    with tempfile.TemporaryDirectory() as folder:
        return each.apply(model, around(dataset, Path(folder), seed, contract))


def pruned_network(dataset: Dataset, seed: int) -> tuple[nn.Module, nn.Module]:
    """The network, trained on the private images, and pruned to about 0.28 of its parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net()
    train(model, dataset, CONTRACT, TrainingConfig(epochs=EPOCHS, augment=False), seed=seed)
    model.eval()
    small, _ = applied(StructuredPrune(parameters=0.28), model, dataset, seed)
    return model, small


def fashion_data(folder: Path) -> Dataset:
    """10,000 private train images, 1,000 for validation, 2,000 public images, and 8,000 to score on."""
    whole = published.load_fashion_mnist(folder, 0, Silent(), debian=folder)
    if whole.train is None or whole.validation is None:
        raise ValueError("Fashion-MNIST has train and validation parts")
    return replace(
        whole, train=whole.train.subset(np.arange(10_000)), validation=whole.validation.subset(np.arange(1000)),
        calibration=whole.test.subset(np.arange(2000)), test=whole.test.subset(np.arange(2000, 10_000)),
    )  # fmt: skip


def fashion(given: argparse.Namespace) -> None:
    """FedAvg and FedDF beside central recovery."""
    dataset = fashion_data(given.fashion)
    common = {"clients": CLIENTS, "rounds": EPOCHS, "augment": False}
    skewed = {"partition": "dirichlet", "alpha": 0.3}
    cases: dict[str, Callable[[], Pass]] = {
        "central, 10 epochs": lambda: Finetune(epochs=EPOCHS, augment=False, lr=2e-3),
        "FedAvg, IID, float32": lambda: FederatedFinetune(update="float32", **common),
        "FedAvg, IID, int8": lambda: FederatedFinetune(update="int8", **common),
        "FedAvg, IID, int8-masked, 3 of 10 drop out": lambda: FederatedFinetune(
            update="int8-masked", dropout=0.3, **common
        ),
        "FedAvg, IID, int8-masked": lambda: FederatedFinetune(update="int8-masked", **common),
        "FedAvg, IID, top-k 5 %": lambda: FederatedFinetune(update="top-k", **common),
        "FedAvg, Dirichlet(0.3), float32": lambda: FederatedFinetune(update="float32", **common, **skewed),
        "FedAvg, Dirichlet(0.3), int8": lambda: FederatedFinetune(update="int8", **common, **skewed),
        "FedProx 0.01, Dirichlet(0.3), int8": lambda: FederatedFinetune(
            update="int8", proximal=0.01, **common, **skewed
        ),
        "FedDF, IID": lambda: FederatedDistill(clients=CLIENTS, epochs=EPOCHS, augment=False),
        "FedDF, Dirichlet(0.3)": lambda: FederatedDistill(clients=CLIENTS, epochs=EPOCHS, augment=False, **skewed),
    }  # fmt: skip
    networks = [pruned_network(dataset, seed) for seed in range(given.runs)]
    for name, model in (("full", 0), ("pruned", 1)):
        told(name, [accuracy(pair[model], dataset.test) for pair in networks])
    print(f"parameters: {size(networks[0][0])} -> {size(networks[0][1])}")
    for name, make in cases.items():
        if given.only and given.only not in name:
            continue
        found, done, began = [], {}, time.process_time()
        for seed, (_, small) in enumerate(networks):
            made, record = applied(make(), small, dataset, seed)
            found.append(accuracy(made, dataset.test))
            done = record.done
        told(name, found, done, time.process_time() - began)


def told(name: str, found: list[float], done: Any = None, cpu_s: float | None = None) -> None:
    """Print the median, and what a client sent in a round."""
    line = f"{name}: {statistics.median(found):.1f} % ({', '.join(f'{one:.1f}' for one in found)})"
    if done and "answers" in done:
        line += f", {done['bytes_up'] / done['answers']:.0f} bytes up a client and round, {done['dropped']} dropped"
    print(line + ("" if cpu_s is None else f", {cpu_s / len(found):.0f} CPU-seconds a run"), flush=True)


def size(model: nn.Module) -> int:
    """Parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def cifar(given: argparse.Namespace) -> None:
    """ResNet-20 pruned to half, recovered over 20 clients and in one place, on the same images."""
    print("to do")


def thousand(given: argparse.Namespace) -> None:
    """1,000 clients, 10 % a round, 100 rounds, about 19,000 parameters."""
    print("to do")


def cost(given: argparse.Namespace) -> None:
    """Seconds and memory of a round against the number of clients."""
    print("to do")


CASES = {"fashion": fashion, "cifar": cifar, "thousand": thousand, "cost": cost}


def processor() -> Iterator[str]:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def main() -> None:
    """Run the case that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--fashion", type=Path, default=published.FASHION_DEBIAN)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--svg", type=Path, default=None)
    given = parser.parse_args()
    if given.case == "fashion" and not given.fashion.is_dir():
        parser.error(
            f"{given.fashion} is not there; install Debian's package dataset-fashion-mnist, or name its folder."
        )
    print(f"{next(processor(), platform.processor())}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    CASES[given.case](given)


if __name__ == "__main__":
    main()
