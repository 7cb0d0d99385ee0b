"""Results of a search relative to the shipped recipes, without training: ResNet-20 on CIFAR-10 and MiniLM on sentences.

    python tests/benchmarks/search.py resnet20 --trials 30 [--max-loss 2] [--quick] [--strict]
    python tests/benchmarks/search.py minilm --trials 30 --max-loss 3 --no-cost-tables --samplers tpe random

It requires the extra ``search``, and prints for each sampler the cheapest recipe within the bound on validation data,
its advantage over the best shipped recipe measured in the same way (the first trials of every search are the shipped
recipes), and the number of trials until it was found. Networks and data are those of ``cifar.py`` and ``minilm.py``;
missing ones are reported. Test samples are not used.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Bars, options, run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import compress
from certify.core.estimate import Estimate
from certify.measure.machine import describe
from certify.measure.plan import Plan
from compress.search.outcome import SearchResult
from compress.search.study import Trial
from tests.benchmarks import cifar, minilm

UNLABELLED, CALIBRATION = 1_000, 256
"""Images that layers may be refitted on, and that ranges are taken from; the rest of the 4,000 is for validation."""
TEXTS = {"train": 240, "calibration": 30, "validation": 160, "test": 20}
"""Texts of each topic in each part: most that the classifier was not fitted on are there to choose by."""
SHORT = {"window_s": 0.1, "min_blocks": 3, "time_limit_s": 6.0}
LETTER_DB = 2.0
"""Width of a letter in decibels of energy."""


def resnet20(folder: Path) -> tuple[Any, Any]:
    """The trained network, and the lossless training images, cut so that most are there to choose by."""
    given = cifar.lossless_data()
    images, labels = (
        np.concatenate([given[part][which] for part in ("train", "calibration", "validation")]) for which in (0, 1)
    )
    end = UNLABELLED + CALIBRATION
    cuts = {"train": (0, UNLABELLED), "calibration": (UNLABELLED, end), "validation": (end, len(images))}
    parts = {part: (images[a:b], labels[a:b]) for part, (a, b) in cuts.items()}
    return cifar.published(cifar.resnet20), {**parts, "test": given["test"], "classes": given["classes"]}


def sentences(folder: Path) -> tuple[Any, Any]:
    """MiniLM with a classifier fitted on its embeddings, and the texts."""
    built, dataset = minilm.fitted(folder, TEXTS)
    return built.model, dataset


NETWORKS = {"resnet20": resnet20, "minilm": sentences}


def missing(name: str) -> str | None:
    """What is not here, in one sentence."""
    if importlib.util.find_spec("optuna") is None:
        return "Left out: the package optuna is not installed."
    if name == "minilm":
        return minilm.missing()
    return None if cifar.DATA.is_dir() else f"Left out: {cifar.DATA} is absent (see LEANMARK_BENCH_DATA)."


def shipped(result: SearchResult, starts: int) -> Trial | None:
    """The cheapest of the shipped recipes that keep the bound: they are the first trials."""
    kept = [each for each in result.trials[:starts] if each.feasible and each.cost is not None]
    return min(kept, key=lambda each: each.cost.high if each.cost else math.inf, default=None)


def saving(result: SearchResult, starts: int) -> float | None:
    """What the best recipe saves of the cost of the best shipped one, as a share; None if either is missing."""
    best, base = result.best, shipped(result, starts)
    if best is None or best.cost is None or base is None or base.cost is None:
        return None
    return 1 - best.cost.value / base.cost.value


def row(sampler: str, result: SearchResult, starts: int) -> str:
    """One line of the table."""
    best, base = result.best, shipped(result, starts)
    if best is None or best.cost is None or best.loss is None:
        return f"| {sampler} | {len(result.trials)} | none within the bound | | | |"
    gain, letters = "", ""
    if (saved := saving(result, starts)) is not None:
        gain, letters = f"{100 * saved:.1f} %", f"{letters_of(saved):.2f}"
    return (
        f"| {sampler} | {len(result.trials)} | {best.number} | {shown(best.cost, 3)} | {shown(best.loss, 2)} | "
        f"{'' if base is None or base.cost is None else shown(base.cost, 3)} | {gain} | {letters} |"
    )


def letters_of(saved: float) -> float:
    """The letters that a saved share of the energy is worth."""
    return -10 * math.log10(1 - saved) / LETTER_DB


def shown(one: Estimate, digits: int) -> str:
    """A figure with its interval."""
    return f"{one.value:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def main() -> int:
    """Search with each sampler, and print the table."""
    parser = options(__doc__, "two trials by one sampler, with few short windows")
    parser.add_argument("network", nargs="?", default="resnet20", choices=NETWORKS)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--max-loss", type=float, default=1.0)
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"], choices=["tpe", "random"])
    parser.add_argument("--objective", default="energy", choices=["energy", "latency", "bytes"])
    parser.add_argument("--out", type=Path, help="Folder from which a stopped search resumes.")
    parser.add_argument("--starts", type=int, default=1, help="How many first trials are shipped recipes.")
    parser.add_argument(
        "--no-cost-tables", dest="by_cost", action="store_false", help="Choose widths by multiply-adds alone."
    )
    arguments = parser.parse_args()
    if (sentence := missing(arguments.network)) is not None:
        print(sentence)
        return 0
    if arguments.quick:
        arguments.trials, arguments.samplers = 2, arguments.samplers[:1]
    bars = Bars(arguments.trials == 30 and arguments.objective == "energy" and not arguments.quick)
    with tempfile.TemporaryDirectory() as name:
        model, data = NETWORKS[arguments.network](Path(name))
        pixels = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
        facts = describe()
        print(f"{arguments.network}, bound {arguments.max_loss:g} %, on {facts['processor']}, load {os.getloadavg()}")
        print("| sampler | trials | best | cost | loss, % | best shipped | saved over it | letters |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for sampler in arguments.samplers:
            result = compress.search_recipe(
                model,
                data,
                max_loss=arguments.max_loss,
                objective=arguments.objective,
                trials=arguments.trials,
                max_epochs=0,
                by_cost=arguments.by_cost,
                sampler=sampler,
                out=(arguments.out or Path(name)) / arguments.network,
                preprocess=pixels if arguments.network == "resnet20" else None,
                plan=Plan(threads=1, **(SHORT if arguments.quick else {})),
                then="nothing",
                progress=False,
            )
            print(row(sampler, result, arguments.starts), flush=True)
            saved = saving(result, arguments.starts)
            must = "must save one letter or 15 % of the best shipped recipe within 30 trials"
            bars.holds(
                f"{sampler} saves {'nothing that is known' if saved is None else f'{100 * saved:.1f} %'}, {must}",
                saved is not None and (saved >= 0.15 or letters_of(saved) >= 1),
            )
    print(f"Load at the end: {os.getloadavg()}")
    return bars.code(arguments.strict)


if __name__ == "__main__":
    run(main)
