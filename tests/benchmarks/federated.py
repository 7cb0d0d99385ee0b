"""Figures of federated training in memory.

    apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py fashion
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py cifar       # ../shared/data, see cifar.py
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py thousand    # 1,000 clients, 100 rounds; the default
    OMP_NUM_THREADS=1 python tests/benchmarks/federated.py cost --svg cost.svg

--fashion, or FASHION_MNIST, names the folder of Fashion-MNIST's four files. ``fashion`` prints accuracy on 8,000 test
images, beside central recovery of the same pruned network on the same 10,000 train images, and bytes up of a client in
a round; ``--runs 3`` gives medians of three seeds, ``--quick`` a short form of each. ``cost`` draws CPU-seconds of a
round and memory against the number of clients, each number in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Bars, need, options, run
from torch import nn

from certify.core.federation import Use
from certify.core.progress import Silent
from certify.data import Dataset, ImagePreprocess, Split, array_split, default_preprocess, published
from certify.present.charts import draw
from certify.present.charts.scale import scale
from compress import federated
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
CENTRAL = "central, 10 epochs"


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


def fashion(given: argparse.Namespace, bars: Bars) -> None:
    """FedAvg and FedDF beside central recovery."""
    need(given.fashion, "install Debian's package dataset-fashion-mnist, or name its folder")
    dataset = fashion_data(given.fashion)
    common = {"clients": CLIENTS, "rounds": EPOCHS, "augment": False}
    skewed = {"partition": "dirichlet", "alpha": 0.3}
    cases: dict[str, Callable[[], Pass]] = {
        CENTRAL: lambda: Finetune(epochs=EPOCHS, augment=False, lr=2e-3),
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
    figures: dict[str, tuple[float, float]] = {}
    for name, make in cases.items():
        if given.only and given.only not in name:
            continue
        found, done, began = [], {}, time.process_time()
        for seed, (_, small) in enumerate(networks):
            made, record = applied(make(), small, dataset, seed)
            found.append(accuracy(made, dataset.test))
            done = record.done
        told(name, found, done, time.process_time() - began)
        figures[name] = statistics.median(found), done.get("bytes_up", 0) / done.get("answers", 1)
    judge(figures, bars)


BEHIND = {"FedAvg, IID, float32": 1.5, "FedAvg, Dirichlet(0.3), float32": 3.5, "FedDF, IID": 2.5,
          "FedDF, Dirichlet(0.3)": 4.5}  # fmt: skip
"""Points by which a case may be behind central recovery."""
SMALLER = {
    "FedAvg, IID, int8": 0.26,
    "FedAvg, IID, int8-masked, 3 of 10 drop out": 0.55,
    "FedAvg, IID, int8-masked": 0.55,
}
"""Bytes that a client may send, as a share of those in float32."""


def judge(figures: dict[str, tuple[float, float]], bars: Bars) -> None:
    """Print the bars of the cases that ran: points behind central recovery, and bytes of a client in a round."""
    floats = figures.get("FedAvg, IID, float32")
    for name, (right, sent) in figures.items():
        if name in BEHIND and CENTRAL in figures:
            bars.at_most(f"{name} is behind central recovery by", figures[CENTRAL][0] - right, BEHIND[name], " points")
        if name in SMALLER and floats is not None:
            bars.at_most(f"{name}, bytes as a share of float32", sent / floats[1], SMALLER[name])
        if name == "FedAvg, IID, int8" and floats is not None:
            bars.at_most(f"{name} differs from float32 by", abs(floats[0] - right), 0.5, " points")
        if name.startswith("FedDF"):
            bars.at_most(f"{name}, bytes of the only upload", sent, 40_000)


def told(name: str, found: list[float], done: Any = None, cpu_s: float | None = None) -> None:
    """Print the median, and what a client sent in a round."""
    line = f"{name}: {statistics.median(found):.1f} % ({', '.join(f'{one:.1f}' for one in found)})"
    if done and "answers" in done:
        line += f", {done['bytes_up'] / done['answers']:.0f} bytes up a client and round, {done['dropped']} dropped"
    print(line + ("" if cpu_s is None else f", {cpu_s / len(found):.0f} CPU-seconds a run"), flush=True)


def size(model: nn.Module) -> int:
    """Parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def cifar(given: argparse.Namespace, bars: Bars) -> None:
    """ResNet-20 pruned to half, recovered over 20 clients and in one place, on the same 4,000 lossless images."""
    import cifar as bench  # beside this file

    need(bench.DATA, "see LEANMARK_BENCH_DATA")
    with np.load(bench.DATA / "train_4000.npz") as held:
        images, labels = held["x"], held["y"]
    with np.load(bench.DATA / "test_1000.npz") as held:
        test = array_split(held["x"], held["y"], "cifar10")
    train_part = array_split(images[:3600], labels[:3600], "cifar10")
    kept = array_split(images[3600:], labels[3600:], "cifar10")
    dataset = Dataset("cifar10", "bench", bench.CLASSES, train_part, kept, kept, test, (32, 32))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    contract = replace(default_preprocess(dataset), mean=mean, std=std)
    model = bench.resnet20()
    load_weights(model, bench.DATA / "resnet20.safetensors")
    small, _ = applied(StructuredPrune(macs=0.5), model, dataset, 0, contract)
    told("full", [accuracy(model, test, contract)])
    told("pruned to half of the multiply-adds", [accuracy(small, test, contract)])
    common: dict[str, Any] = {"flip": True, "augment": True}
    # Chosen on the validation part: a client has 180 images, three steps of 64, too few for a round.
    shared = {**common, "clients": 20, "rounds": given.rounds, "epochs": 2, "batch": 16, "update": "int8"}
    cases: dict[str, Pass] = {
        f"central, {2 * given.rounds} epochs": Finetune(epochs=2 * given.rounds, lr=1e-3, **common),
        f"FedAvg, 20 clients, IID, int8, {given.rounds} rounds of 2 epochs": FederatedFinetune(**shared),
    }
    right = []
    for name, each in cases.items():
        began = time.process_time()
        made, record = applied(each, small, dataset, 0, contract)
        right.append(accuracy(made, test, contract))
        told(name, right[-1:], record.done, time.process_time() - began)
    bars.at_most("20 clients are behind central recovery by", right[0] - right[1], 2, " points")


def load_weights(model: nn.Module, path: Path) -> None:
    """Weights of a safetensors file, in place."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path), strict=False)
    model.eval()


class Tabular(nn.Module):
    """A linear layer between two others: about 19,000 parameters on images of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 92), nn.ReLU(), nn.Linear(92, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 10)."""
        logits: torch.Tensor = self.body(images)
        return logits


def simulated(clients: int, per_round: int, rounds: int, update: str = "int8") -> tuple[float, float, float, float]:
    """Seconds, CPU-seconds, largest resident MB and accuracy of a run on made-up images, 20 a client."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 8, 8, 3))

    def images(count: int) -> Split:
        labels = random.integers(0, 10, count)
        pixels = patterns[labels] + random.integers(0, 56, (count, 8, 8, 3))
        return array_split(pixels.astype(np.uint8), labels.astype(np.int64), "made up")

    split, test = images(min(20 * clients, 40_000)), images(1000)
    contract = ImagePreprocess(
        "images", "logits", 8, 8, "NCHW", "RGB", 255.0, (0.5,) * 3, (0.5,) * 3, None, "none", "bilinear", "logits"
    )
    rows = [np.arange(20) + 20 * number for number in range(clients)]
    rows = [part % len(split) for part in rows]  # beyond 2,000 clients images are shared, or the data would grow
    names = federated.names_of(clients)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tabular().eval()
    plan = federated.Plan(rounds, per_round, federated.LocalTraining(1, 10, 1e-3), update)  # type: ignore[arg-type]
    crowd = federated.Simulated(
        split, rows, names, contract, Use("finetune", "benchmark"), federated.Faults(tuple(names)), Silent()
    )
    wall, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        place = federated.Simulation(Path(folder) / "run", Path(folder) / "log")
        federated.run_in_memory(model, crowd, plan, place)
    spent = time.monotonic() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return *spent, most, 100 * float(evaluate(model, test, contract).accuracy)


def thousand(given: argparse.Namespace, bars: Bars) -> None:
    """1,000 clients, 10 % a round, 100 rounds, about 19,000 parameters."""
    print(f"parameters: {size(Tabular())}")
    seconds, cpu_s, most, right = simulated(1000, 100, given.rounds)
    print(
        f"1,000 clients, 100 in each of {given.rounds} rounds, int8: {seconds:.0f} s ({cpu_s:.0f} CPU-seconds), "
        f"at most {most:.0f} MB resident, {right:.1f} % right"
    )
    if given.rounds == 100:
        bars.at_most("100 rounds took", seconds / 60, 10, " minutes")


COUNTS = (10, 30, 100, 300, 1000, 3000, 10_000)


def cost(given: argparse.Namespace, bars: Bars) -> None:
    """CPU-seconds of a round and memory against the number of clients, each of whom answers; drawn to 10,000."""
    rows = []
    for clients in COUNTS:
        if clients > given.most:
            break
        rounds = max(1, min(5, 2000 // clients))
        child = [sys.executable, __file__, "one", "--clients", str(clients), "--rounds", str(rounds)]
        told_ = subprocess.run(child, check=True, capture_output=True, text=True).stdout.split()[-4:]
        seconds, cpu_s, most = (float(one) for one in told_[:3])
        rows.append((clients, seconds / rounds, cpu_s / rounds, most))
        print(f"{clients:>6} clients: {seconds / rounds:8.2f} s a round, {cpu_s / rounds:8.2f} CPU-s, {most:6.0f} MB",
              flush=True)  # fmt: skip
    if given.svg is not None:
        given.svg.write_text(chart(rows))


def chart(rows: list[tuple[int, float, float, float]]) -> str:
    """CPU-seconds of a round and megabytes against the number of clients, both axes logarithmic."""
    left, right, parts = 64.0, draw.WIDTH - 16.0, []
    across = scale([row[0] for row in rows], left, right, logarithmic=True)
    charts = (("CPU-seconds a round", 2, "after"), ("most memory, MB", 3, "before"))
    for place, (name, column, ink) in enumerate(charts):
        top = 30.0 + 200 * place
        bottom = top + 140
        values = [row[column] for row in rows]
        ends = values if column == 2 else [*values, 0.5 * min(values), 2 * max(values)]
        upward = scale(ends, bottom, top, logarithmic=True)
        points = [(across.place(row[0]), upward.place(row[column])) for row in rows]
        parts += [
            draw.words(name, 4, top - 12, bold=True), draw.left_axis(upward, left, right, draw.number, 5),
            draw.bottom_axis(across, top, bottom, draw.number, 6), draw.marks(points, ink=ink, size=8),
            *(draw.line(*one, *other, ink=ink, stroke=2) for one, other in itertools.pairwise(points)),
        ]  # fmt: skip
    parts.append(draw.words("clients, all of whom answer in each round", right, 408, ink="quiet", anchor="end"))
    spoken = "; ".join(f"{row[0]} clients: {row[2]:.2f} CPU-seconds, {row[3]:.0f} MB" for row in rows)
    return draw.standalone(draw.chart("federated-cost", "Cost of a simulated round", spoken, 416, *parts))


def one(given: argparse.Namespace, bars: Bars) -> None:
    """One run in a process of its own, so that memory is its own; four numbers."""
    print(*simulated(given.clients, given.clients, given.rounds))


CASES = {"fashion": fashion, "cifar": cifar, "thousand": thousand, "cost": cost, "one": one}


def processor() -> Iterator[str]:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def main() -> int:
    """Run the case that is named."""
    parser = options(__doc__, "3 rounds of thousand, 1 of cifar, one case of fashion, cost to 100 clients")
    parser.add_argument("case", nargs="?", default="thousand", choices=list(CASES))
    parser.add_argument("--fashion", type=Path, default=os.environ.get("FASHION_MNIST", published.FASHION_DEBIAN))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--rounds", type=int, default=None, help="of cifar (10), thousand (100)")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="clients up to which cost goes")
    parser.add_argument("--svg", type=Path, default=None)
    given = parser.parse_args()
    given.rounds = given.rounds or {"cifar": 10, "thousand": 100}.get(given.case, 1)
    if given.quick:
        given.rounds, given.only, given.most = min(given.rounds, 1 if given.case == "cifar" else 3), "FedDF, IID", 100
    print(f"{next(processor(), platform.processor())}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    bars = Bars(not given.quick)
    CASES[given.case](given, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
