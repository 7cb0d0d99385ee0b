"""Accuracy under differential privacy of the passes as applied by a job: medians of three runs.

    apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python tests/benchmarks/private.py head scratch pate [--quick] [--strict]

Public data are Fashion-MNIST's train images for the head; for PATE its first 2,000 test images, whose labels are not
read, and the student is scored on the other 8,000. --fashion, or FASHION_MNIST, is the folder of the four files; --runs
is the number of runs. Figures are for test samples, with the 95 % interval of a proportion (Wilson) for the median.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _bench import Bars, need, options, run, several
from torch import nn

from certify.core.accounting import spent
from certify.core.accounting.mechanisms import SubsampledGaussian
from certify.core.progress import Silent
from certify.data import Dataset, ImagePreprocess, Split, load, published, specs
from compress.core.context import PassContext, PassData
from compress.core.model_stats import file_accuracy
from compress.core.pass_protocol import Pass
from compress.core.targets import TARGETS
from compress.exchange.onnx_export import export
from compress.passes.dp_finetune import DpFinetune
from compress.passes.dp_head import DpHead
from compress.passes.pate_distill import PateDistill
from compress.passes.quantize_static import QuantizeStatic
from compress.private import teacher_vote
from compress.private.account import PRIVATE, Account
from compress.training.training import evaluate

CONTRACT = ImagePreprocess(
    "images", "logits", 28, 28, "NCHW", "L", 255.0, (0.5,), (0.5,), None, "none", "bilinear", "logits"
)


class Features(nn.Module):
    """Two convolutions and a head of 10,250 parameters on 1,024 features."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2, padding=1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(64 * 16, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, classes)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Small(nn.Module):
    """A network for noisy training: strided convolutions, tanh (Papernot et al. 2020, arXiv 2007.14191)."""

    def __init__(self) -> None:
        super().__init__()
        first, second, hidden = 16, 32, 32
        self.body = nn.Sequential(
            nn.Conv2d(1, first, 8, 2, 3), nn.Tanh(), nn.MaxPool2d(2, 1),
            nn.Conv2d(first, second, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Flatten(),
            nn.Linear(second * 16, hidden), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(hidden, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 10)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Student(nn.Module):
    """10,798 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 12), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(12, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 10)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


def fresh(kind: type[nn.Module]) -> nn.Module:
    """A network with random weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind().eval()


def context(dataset: Dataset, folder: Path) -> PassContext:
    """What a pass sees of the data."""
    data = PassData.without_test(dataset)
    return PassContext(data, CONTRACT, TARGETS["cpu-vnni"], workspace=folder, progress=Silent())


def accuracy(model: nn.Module, split: Split) -> float:
    """Share of right answers in percent."""
    return 100 * float(evaluate(model, split, CONTRACT).accuracy)


def rounded(model: nn.Module, around: PassContext, split: Split) -> float:
    """Accuracy of the exported file in int8, calibrated on a part that is not private, in percent."""
    path = around.workspace / "model.onnx" if around.workspace else Path("model.onnx")
    export(model, CONTRACT, path, classes=10)
    small, _ = QuantizeStatic(samples=250).apply(path, around)
    return 100 * float(file_accuracy(small, split, CONTRACT, 10))


def wilson(percent: float, count: int) -> str:
    """95 % interval of a share."""
    share, z = percent / 100, 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return f"[{100 * (middle - half):.1f}, {100 * (middle + half):.1f}]"


def derived(pass_: Pass, account: Account) -> float:
    """Epsilon of a noisy training, from its record alone."""
    sgd = account.sgd
    if sgd is None:
        raise ValueError("there was no training")
    rate = sgd.sampling.rate or 1.0
    config = pass_.config()
    return spent(
        [(SubsampledGaussian(sgd.noise_multiplier, rate, sgd.steps), 1)], config["delta"], "add-remove"
    ).epsilon


LOST_IN_INT8 = 1.0
"""Points that the file in int8 may be behind its float network."""


def trained(name: str, applied: Pass, model: nn.Module, dataset: Dataset, runs: int, bar: float, bars: Bars) -> None:
    """Apply a pass repeatedly and print the median, beside its bar in percent."""
    floats, ints, epsilon, began = [], [], 0.0, time.process_time()
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            around = context(dataset, Path(folder))
            made, record = applied.apply(model, around)
            epsilon = derived(applied, Account.from_json(record.done[PRIVATE]))
            floats.append(accuracy(made, dataset.test))
            ints.append(rounded(made, around, dataset.test))
    middle = statistics.median(floats)
    told = ", ".join(f"{value:.1f}" for value in floats)
    print(
        f"{name}: epsilon {epsilon:.4f}, {middle:.1f} % {wilson(middle, len(dataset.test))} ({told}), int8 "
        f"{statistics.median(ints):.1f} %, {(time.process_time() - began) / runs:.0f} CPU-seconds a run", flush=True,
    )  # fmt: skip
    bars.at_least("accuracy", middle, bar, " %")
    bars.at_most("the file in int8 is behind by", middle - statistics.median(ints), LOST_IN_INT8, " points")


def head(fashion: Dataset, runs: int, bars: Bars) -> None:
    """A head on features that Fashion-MNIST teaches once, at three budgets."""
    dataset = load("mnist5k")
    few = replace(fashion, train=part(fashion, "train", 8_000), validation=part(fashion, "validation", 1_000))
    specs.PUBLISHED["fashion-mnist"] = lambda *_: few
    for epsilon, bar in ((8.0, 88), (3.0, 86), (1.0, 80)):
        applied = DpHead(epsilon=epsilon, public="fashion-mnist", public_epochs=2)
        trained(f"head, mnist5k, public features of Fashion-MNIST (8,000), epsilon {epsilon:g}", applied,
                fresh(Features), dataset, runs, bar, bars)  # fmt: skip


def scratch(_: Dataset, runs: int, bars: Bars) -> None:
    """A small network from random weights."""
    trained("from scratch, mnist5k, epsilon 8", DpFinetune(epsilon=8.0, steps=500, sampling_rate=0.2), fresh(Small),
            load("mnist5k"), runs, 79, bars)  # fmt: skip


def part(dataset: Dataset, name: str, count: int) -> Split:
    """The first samples of a part."""
    split = dataset.parts[name]
    return split.subset(np.arange(min(count, len(split))))


def pate(fashion: Dataset, runs: int, bars: Bars) -> None:
    """250 teachers on the train images, and a student of about 11,000 parameters."""
    public, rest = fashion.test.subset(np.arange(2000)), fashion.test.subset(np.arange(2000, 10_000))
    dataset = replace(fashion, calibration=public, validation=public, test=rest)
    applied, student = PateDistill(), fresh(Student)
    labels, floats, ints, answered, began = [], [], [], [], time.process_time()
    for _ in range(runs):
        right: list[float] = []
        with tempfile.TemporaryDirectory() as folder, watched_labels(public, right):
            around = context(dataset, Path(folder))
            made, record = applied.apply(student, around)
            answered.append(record.done["answered"])
            floats.append(accuracy(made, rest))
            ints.append(rounded(made, around, rest))
        labels.append(right[0])
    size = sum(parameter.numel() for parameter in student.parameters())
    middle = statistics.median
    print(
        f"PATE, Fashion-MNIST, {len(dataset.train or ())} private records, 250 teachers: epsilon {applied.cost():.4f} "
        f"from the caps, answered {middle(answered):.0f}, labels {middle(labels):.1f} % right, student of {size} "
        f"parameters {middle(floats):.1f} % {wilson(middle(floats), len(rest))} "
        f"({', '.join(f'{v:.1f}' for v in floats)}), int8 {middle(ints):.1f} %, "
        f"{(time.process_time() - began) / runs:.0f} CPU-seconds a run", flush=True,
    )  # fmt: skip
    bars.at_least("answered labels", middle(labels), 83, " %")
    bars.at_least("student", middle(floats), 75, " %")
    bars.at_most("the file in int8 is behind by", middle(floats) - middle(ints), LOST_IN_INT8, " points")


class watched_labels:
    """Notes how many answers are right, which no pass may know."""

    def __init__(self, public: Split, right: list[float]) -> None:
        self._public, self._right, self._answer = public, right, teacher_vote.teachers.answer

    def __enter__(self) -> None:
        def answer(counts: np.ndarray, vote: teacher_vote.teachers.Vote) -> tuple[np.ndarray, np.ndarray]:
            asked, answers = self._answer(counts, vote)
            self._right.append(100 * float((self._public.labels[asked] == answers).mean()))
            return asked, answers

        teacher_vote.teachers.answer = answer

    def __exit__(self, *_: object) -> None:
        teacher_vote.teachers.answer = self._answer


CASES = {"head": head, "scratch": scratch, "pate": pate}


def processor() -> Iterator[str]:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def main() -> int:
    """Run the cases that are named."""
    parser = options(__doc__, "one run, of the first case alone")
    several(parser, "cases", CASES)
    parser.add_argument("--fashion", type=Path, default=os.environ.get("FASHION_MNIST", published.FASHION_DEBIAN))
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    need(given.fashion, "install Debian's package dataset-fashion-mnist, or name its folder")
    given.runs = 1 if given.quick else given.runs
    bars = Bars(given.runs >= 3)  # the bars are for medians of three runs
    print(f"{next(processor(), platform.processor())}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    fashion = published.load_fashion_mnist(given.fashion, 0, Silent(), debian=given.fashion)
    for case in given.cases[:1] if given.quick else given.cases:
        CASES[case](fashion, given.runs, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
