"""Accuracy against epochs of distillation: pruned layers as they are, and refitted to the original's activations.

    python tests/benchmarks/refitted_start.py [resnet18] [resnet50] [resnet20] [resnet56] [--recipe balanced]
        [--epochs 0,1,2,4,8] [--seeds N] [--first-seed N] [--test] [--quick]

It prints figures and is not a test. The passes are the recipe's ``structured_prune`` and ``distill``; each number of
epochs is a training of its own, since the learning rate falls to 0 at its end. The seed selects the samples of the
refit and the order of training. resnet18 and resnet50 are those of the main job on mnist5k, trained here first;
resnet20 and resnet56 are those of cifar.py, distilled on its 3,344 lossless train images. Accuracies are those of the
validation part, and with --test also of the test part.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from _bench import LeftOut, options, run, several
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from certify.core.errors import MissingExtra
from certify.core.progress import Silent
from certify.data import Dataset, Preprocess, array_split, default_preprocess, load
from compress.core.targets import choose
from compress.job import recipe
from compress.job.original import Request, find_original
from compress.passes import PassContext, PassData
from compress.passes.distill import Distill
from compress.passes.structured_prune import StructuredPrune
from compress.training.baseline import trained_baseline
from compress.training.training import evaluate
from tests.benchmarks import cifar

EPOCHS = (0, 1, 2, 4, 8)
QUICK_EPOCHS = (0, 1)
STARTS = {"as pruned": False, "refitted": True}


@dataclass(frozen=True)
class Trained:
    """A trained network with its data and contract."""

    model: nn.Module
    dataset: Dataset
    contract: Preprocess


def digits(name: str) -> Trained:
    """A network of the main job."""
    dataset = load("mnist5k")
    original = find_original(Request(name), dataset, Silent())
    assert original.built is not None
    model, origin, _, _ = trained_baseline(original.built, dataset, original.preprocess)
    print(f"{name}: {origin}")
    return Trained(model, dataset, original.preprocess)


def of_cifar(factory: Callable[[], nn.Module]) -> Trained:
    """A trained network for CIFAR-10 with the lossless images."""
    if not cifar.DATA.is_dir():
        raise LeftOut(f"{cifar.DATA} is absent (see LEANMARK_BENCH_DATA).")
    given = cifar.lossless_data()
    parts = {name: array_split(*given[name], name) for name in ("train", "calibration", "validation", "test")}
    dataset = Dataset("cifar10", "bench", cifar.CLASSES, **parts, input_size=(32, 32))
    return Trained(cifar.published(factory).eval(), dataset, default_preprocess(dataset))


NETWORKS: dict[str, Callable[[], Trained]] = {
    "resnet18": lambda: digits("resnet18"),
    "resnet50": lambda: digits("resnet50"),
    "resnet20": lambda: of_cifar(cifar.resnet20),
    "resnet56": lambda: of_cifar(cifar.resnet56),
}


Curve = dict[int, float]
"""Epochs and the accuracy after them, in percent."""


def curves(
    trained: Trained, asked: StructuredPrune, distil: Distill, epochs: tuple[int, ...], seed: int, parts: list[str]
) -> dict[tuple[str, str], Curve]:
    """Accuracy by part of the data and start, for each number of epochs."""
    data = PassData.without_test(trained.dataset)
    context = PassContext(data, trained.contract, choose(None), teacher=trained.model, seed=seed)
    found: dict[tuple[str, str], Curve] = {(part, start): {} for part in parts for start in STARTS}
    for start, refit in STARTS.items():
        began = time.process_time()
        pruned, record = asked.model_copy(update={"reconstruct": refit}).apply(trained.model, context)
        spent = time.process_time() - began
        for each in record.declined:
            if each.what in ("the whole model", "reconstruction"):
                print(f"  declined: {each.what}: {each.why}")
        for count in epochs:
            model = distil.model_copy(update={"epochs": count}).apply(pruned, context)[0] if count else pruned
            for part in parts:
                found[part, start][count] = accuracy(model, trained, part)
        told = "; ".join(f"{part} {rounded(found[part, start])}" for part in parts)
        share = record.done["macs_share"]
        print(f"  seed {seed}, {start}: {share:.3f} of the MACs, {spent:.0f} CPU-s; {told}", flush=True)
    return found


def accuracy(model: nn.Module, trained: Trained, part: str) -> float:
    """Accuracy on a part, in percent."""
    return 100 * evaluate(model, getattr(trained.dataset, part), trained.contract).accuracy


def rounded(curve: Curve) -> str:
    """Return a curve as text."""
    return ", ".join(f"{count}: {value:.1f}" for count, value in curve.items())


def table(trained: Trained, part: str, by_seed: list[dict[tuple[str, str], Curve]]) -> None:
    """Print the medians over the seeds, with the range."""
    split = getattr(trained.dataset, part)
    print(f"  {part}, {len(split)} images, the original {accuracy(trained.model, trained, part):.1f} %")
    for count in by_seed[0][part, next(iter(STARTS))]:
        cells = []
        for start in STARTS:
            values = [found[part, start][count] for found in by_seed]
            cells.append(f"{start} {statistics.median(values):.1f} % ({min(values):.1f} to {max(values):.1f})")
        print(f"  epochs {count}: {', '.join(cells)}", flush=True)


def numbers(text: str) -> tuple[int, ...]:
    """Read "0,1,2"."""
    return tuple(int(each) for each in text.split(","))


def main() -> None:
    """Print one table for each network."""
    parser = options(__doc__, "resnet20 alone, 0 and 1 epoch, one seed")
    several(parser, "networks", NETWORKS)
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--epochs", type=numbers, default=EPOCHS, metavar="0,1,2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="also print the accuracy on the test part")
    given = parser.parse_args()
    networks, epochs, seeds = given.networks, given.epochs, given.seeds
    if given.quick:
        networks, epochs, seeds = ["resnet20"], QUICK_EPOCHS, 1
    parts = ["validation", "test"] if given.test else ["validation"]
    passes = recipe.load(given.recipe).passes
    asked = next(each for each in passes if isinstance(each, StructuredPrune))
    distil = next(each for each in passes if isinstance(each, Distill))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in networks:
        try:
            trained = NETWORKS[name]()
        except (LeftOut, MissingExtra) as missing:
            print(f"Left out: {missing}")
            continue
        print(f"{name}, recipe {given.recipe}:", flush=True)
        chosen = range(given.first_seed, given.first_seed + seeds)
        by_seed = [curves(trained, asked, distil, epochs, seed, parts) for seed in chosen]
        for part in parts:
            table(trained, part, by_seed)


if __name__ == "__main__":
    run(main)
