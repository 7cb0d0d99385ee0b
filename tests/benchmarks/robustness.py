"""Robustness of a compressed network: effect of the gradients used, cost, and attempts at forgery.

    python tests/benchmarks/robustness.py [--samples N] [--macs SHARE] [--epochs N] [--quick] [--strict]

It prints figures and is not a test. A ResNet-20 for CIFAR-10 is pruned, recovered for a few epochs on the lossless
images alone, and quantized to int8; all data and weights are those of cifar.py. Witnesses are made with the original's
gradients, which when transferred show a false gain, and with those of the pruned network's own float checkpoint. ART's
Square attack is compared if the library is installed. CPU seconds are of this process and its workers; set
OMP_NUM_THREADS=1 to compare them.
"""

from __future__ import annotations

import functools
import platform
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Bars, LeftOut, options
from _bench import run as run_script
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from certify.assessment.assessment import profile_of
from certify.assessment.profile import Profile
from certify.assessments.robustness.assessment import Robustness
from certify.assessments.robustness.edition import load_edition
from certify.core.progress import Silent
from certify.core.statistics.proportions import PairedTable, difference_interval
from certify.data import Dataset, default_preprocess, load
from certify.data.contract_slot import normalise
from certify.data.witnesses import Witness, WitnessFile
from certify.measure.answers import Answers
from certify.model_file.subject import subject_digests
from certify.workflows.robustness_records import Stress, StressOptions
from certify.workflows.witness_check import Base, check, turned
from compress.attacks import GradientAttack, Hunt, SquareAttack, hunt
from compress.attacks.pixels import Pixels
from compress.attacks.witness_search import margins_of
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.passes import PassContext, PassData
from compress.passes.distill import Distill
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.structured_prune import StructuredPrune
from tests.benchmarks import cifar

SIZES = (1, 2, 4, 8)
FORGERIES = 10_000
CHECKED = 1000
QUERIES, ASKED, SQUARE_EPS = 100, 200, 4


def cpu_s() -> float:
    """Processor seconds of this process and of the workers that ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def timed(what: str, run: Callable[[], Any]) -> tuple[Any, float]:
    """What a function gives and its CPU seconds, with a line that says what it took."""
    began, cpu = time.perf_counter(), cpu_s()
    made = run()
    spent = cpu_s() - cpu
    print(f"{what}: {spent:.1f} CPU-s, {time.perf_counter() - began:.1f} s", flush=True)
    return made, spent


def files(folder: Path, data: Dataset, macs: float, epochs: int) -> tuple[dict[str, Path], dict[str, nn.Module]]:
    """Files by name (original, int8, pruned, pruned_int8), and the float networks behind them."""
    contract, original = default_preprocess(data), cifar.published(cifar.resnet20).eval()
    context = PassContext(
        PassData.without_test(data), contract, choose(None), teacher=original, training_follows=True, workspace=folder
    )
    pruned, _ = StructuredPrune(macs=macs).apply(original, context)
    pruned, _ = Distill(epochs=epochs).apply(pruned, context)
    parents, found = {"original": original, "pruned": pruned.eval()}, {}
    for name, model in parents.items():
        source = folder / f"{name}.onnx"
        export(model, contract, source, classes=len(data.classes))
        rounded, _ = QuantizeStatic().apply(source, context)
        for what, path in ((name, source), ("int8" if name == "original" else "pruned_int8", rounded)):
            found[what] = folder / what / "model.onnx"
            found[what].parent.mkdir()
            normalise(path, found[what], contract)
    return found, parents


def witnesses(file: Path, parent: nn.Module, data: Dataset, samples: int, method: str = "apgd") -> WitnessFile:
    """Witnesses against a file by gradients of a network, first with channels alike."""
    contract = default_preprocess(data)
    model = Pixels(parent.requires_grad_(False), contract)
    attacks = [functools.partial(GradientAttack(method, 20, shared=one).signs, model) for one in (True, False)]
    with Answers(file, contract, len(data.classes)) as asked:
        digest = subject_digests(file)["leanmarkContent"]
        return hunt(asked, data, digest, Hunt(method, SIZES, samples, "0" * 64), attacks)


def judged(pair: Mapping[str, Path], data: Dataset, asked: StressOptions) -> Profile:
    """Print what a pair does under stress, and return it."""
    contract = default_preprocess(data)
    stress = Stress(pair, dict.fromkeys(pair, contract), data, load_edition(), Silent())  # type: ignore[arg-type]
    profile = profile_of(Robustness(), stress.records(asked), load_edition())
    for name, one in profile.estimates.items():
        if "change" in name or "worst" in name or "auroc" in name or name.startswith("standing"):
            print(f"  {name}: {one}")
    for finding in profile.guards:
        print(f"  {finding}")
    return profile


def told_apart(alone: Profile, own: Profile, bars: Bars) -> None:
    """Witnesses of the original alone show a gain, own gradients the loss, and the finding tells which is which."""
    changes = [
        [one for name, one in profile.estimates.items() if re.fullmatch(r"standing_\d+_change_points", name)]
        for profile in (alone, own)
    ]
    gain, loss = max(changes[0], key=lambda one: one.value), min(changes[1], key=lambda one: one.value)
    outcomes = [next(one.outcome for one in each.guards if one.name == "own_gradients") for each in (alone, own)]
    bars.holds(f"gain by witnesses of the original alone {gain}, must be above 0", gain.low > 0)
    bars.holds(f"loss by own gradients {loss}, must be below 0", loss.high < 0)
    bars.holds(f"own_gradients gives {' and '.join(outcomes)}, must give fail and pass", outcomes == ["fail", "pass"])


def forgeries(path: Path, file: Path, data: Dataset, count: int, bars: Bars) -> None:
    """Forge witnesses in five ways, and count how many are refused by the check or by the model."""
    base, honest, rng = Base.of(data), WitnessFile.read(path), np.random.default_rng(0)
    lies = []
    for i in range(count):
        one, kind = honest.witnesses[i % len(honest.witnesses)], i % 5
        changes: tuple[dict[str, Any], ...] = (
            {"sample": rng.bytes(16)},
            {"label": (one.label + 1 + int(rng.integers(0, 9))) % 10},
            {"eps": int(rng.choice([3, 5, 9, 16, 64]))},
            {"packed": one.packed[: int(rng.integers(0, len(one.packed)))]},
            {"packed": b"\0" + rng.bytes(len(one.packed) - 1)},
        )
        lies.append(replace(one, **changes[kind]))
    forged = path.with_name("forged.npz")
    forged.write_bytes(WitnessFile(honest.header, tuple(lies)).to_bytes())
    _, found = check(forged, base, {"candidate": honest.header.model})
    with Answers(file, default_preprocess(data), len(data.classes)) as asked:
        counted = int(turned(asked, base, found.sound).sum())
    print(f"  forged witnesses refused: {count - counted} of {count} ({len(found.refused)} without a model)")
    bars.at_least("forged witnesses refused", count - counted, FORGERIES)


def checked(path: Path, file: Path, data: Dataset, bars: Bars) -> int:
    """Check 1,000 witnesses, those of the file over and over."""
    honest = WitnessFile.read(path)
    many: tuple[Witness, ...] = tuple(honest.witnesses[i % len(honest.witnesses)] for i in range(CHECKED))
    filled = path.with_name("many.npz")
    filled.write_bytes(WitnessFile(honest.header, many).to_bytes())
    base = Base.of(data)

    def run() -> int:
        _, found = check(filled, base, {"candidate": honest.header.model})
        with Answers(file, default_preprocess(data), len(data.classes)) as asked:
            return int(turned(asked, base, found.sound).sum())

    held, spent = timed(f"  {CHECKED} witnesses checked", run)
    bars.at_most(f"{CHECKED} witnesses checked in", spent, 2, " CPU-s")
    return int(held)


def square(file: Path, data: Dataset, bars: Bars) -> None:
    """Square by this package and by ART, at equal change and questions, on the same samples."""
    contract, base = default_preprocess(data), Base.of(data)
    places = np.array(base.order[:ASKED])
    images, labels = np.stack([data.test.image(int(i)) for i in places]), data.test.labels[places]
    with Answers(file, contract, len(data.classes)) as asked:
        ask = margins_of(asked, labels)
        mine = SquareAttack(queries=QUERIES)
        (_, left), _ = timed("  Square", lambda: mine.signs(images, SQUARE_EPS, ask))
        print(f"  Square, {QUERIES} questions at {SQUARE_EPS}/255: {100 * np.mean(left > 0):.1f} % stand")
        try:
            from art.attacks.evasion import SquareAttack as Theirs
            from art.estimators.classification import BlackBoxClassifierNeuralNetwork
        except ImportError:
            print("  Left out: the Square attack of ART, which is not installed")
            return
        from compress.attacks.witness_search import _split

        def outputs(x: np.ndarray) -> np.ndarray:
            pixels = np.clip(np.rint(255 * x), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            made: np.ndarray = asked.outputs(_split(pixels, np.zeros(len(pixels), dtype=np.int64)))
            return made

        x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        classifier = BlackBoxClassifierNeuralNetwork(outputs, x.shape[1:], 10, channels_first=True, clip_values=(0, 1))
        attack = Theirs(
            classifier, norm=np.inf, eps=SQUARE_EPS / 255, max_iter=QUERIES, batch_size=ASKED, verbose=False
        )
        found, _ = timed("  Square of ART", lambda: attack.generate(x, np.eye(10, dtype=np.float32)[labels]))
        stand = outputs(found).argmax(1) == labels
        print(f"  Square of ART: {100 * np.mean(stand):.1f} % stand")
        mine_left, count = left > 0, len(stand)
        only = int((mine_left & ~stand).sum()), int((stand & ~mine_left).sum())
        both = int((mine_left & stand).sum())
        more = difference_interval(PairedTable(both, *only, count - both - sum(only)), 0.95)
        interval = f"[{100 * more.low:.1f}, {100 * more.high:.1f}]"
        print(f"  Square leaves {100 * (only[0] - only[1]) / count:.1f} points more {interval}")
        bars.at_most("left standing by Square", float(np.mean(mine_left)), float(np.mean(stand)))


def main() -> int:
    """Print every figure."""
    parser = options(__doc__, "20 samples, one epoch, 500 forgeries, severities of 50 samples")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    bars, forged = Bars(not given.quick), FORGERIES
    if given.quick:
        given.samples, given.epochs, forged = 20, 1, 500
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    if not cifar.DATA.is_dir():
        raise LeftOut(f"{cifar.DATA} is absent (see LEANMARK_BENCH_DATA).")
    data = load(cifar.lossless_data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        making = functools.partial(files, folder, data, given.macs, given.epochs)
        (made, parents), _ = timed("Pruned, recovered and rounded", making)
        paths = {}
        for what, parent in (("original", "original"), ("int8", "original"), ("pruned_int8", "pruned")):
            attack = functools.partial(witnesses, made[what], parents[parent], data, given.samples)
            found, _ = timed(f"Witnesses for {what} on gradients of {parent}", attack)
            paths[what] = folder / f"{what}.npz"
            paths[what].write_bytes(found.to_bytes())
            sizes = [len(one.packed) for one in found.witnesses]
            fell = {eps: sum(one.eps <= eps for one in found.witnesses) for eps in SIZES}
            print(f"  {len(sizes)} witnesses, median {np.median(sizes):.0f} bytes of signs, samples by change {fell}")
        pruned = {"baseline": made["original"], "candidate": made["pruned_int8"]}
        rounded = {"baseline": made["original"], "candidate": made["int8"]}
        both = (paths["original"], paths["pruned_int8"])
        print("Pruned + int8, witnesses of the original alone:")
        alone = judged(pruned, data, StressOptions(witnesses=both[:1]))
        print("Pruned + int8, each on its own gradients:")
        own, _ = timed("  all of it", lambda: judged(pruned, data, StressOptions(witnesses=both)))
        told_apart(alone, own, bars)
        print("int8 alone, each on its own gradients:")
        judged(rounded, data, StressOptions(witnesses=(paths["original"], paths["int8"])))
        print("Pruned + int8, 7 corruptions of 500 samples:")
        _, spent = timed("  all of it", lambda: judged(pruned, data, StressOptions(severities=(3,))))
        bars.at_most("7 corruptions of 500 samples through two files took", spent, 15, " CPU-s")
        print("Witnesses for the pruned + int8 file:")
        print(f"  {checked(paths['pruned_int8'], made['pruned_int8'], data, bars)} of {CHECKED} hold")
        forgeries(paths["pruned_int8"], made["pruned_int8"], data, forged, bars)
        square(made["int8"], data, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run_script(main)
