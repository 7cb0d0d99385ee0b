"""Honest pairs before the referee: none may be refused, and each one's distance from the limits of all findings.

Run ``python tests/benchmarks/honest_set.py FOLDER [--only WORD ...] [--again] [--nncf PYTHON] [--time-limit SECONDS]
[--precision PERCENT] [--quick]``; it prints two Markdown tables and is not a test. Pairs whose certificate is in the
folder are skipped, so that a stopped run resumes; ``--again`` measures them again, with the existing models. The whole
set takes an hour or two on two cores.

The pairs, in the order of their names, alternate between the half by which constants were chosen and the half that
checks them. NNCF quantizes in a separate environment, whose interpreter is given by ``--nncf``. Pairs with missing
packages or data (see the imported benchmarks) are skipped with a message.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import cifar
import efficientnet_lite
import minilm
import numpy as np
import small_vit
import torch
from _bench import options, run
from torch import nn

import compress
from certify import api
from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.grade import Grade, grade
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import EVIDENCE_NAME
from certify.core.errors import LeanmarkError
from certify.core.evidence import Evidence
from certify.core.evidence_file import read_evidence
from certify.data import Dataset, default_preprocess, load
from certify.data.own_data import from_mapping
from certify.measure import experiment
from certify.measure.plan import Plan
from compress.exchange.onnx_export import export
from compress.job import recipe

TIMES = "times.json"
FACTORS = [2 ** (step / 4) for step in range(29)]
"""By which limits are made stricter until a finding fails: 1 to 128."""
WIDE_ENOUGH = 2.0
FAR = (math.inf, "")
LOWER = ("distinct_inputs", "input_std", "input_correlation", "input_repetition")
"""Limits that a pair must not fall below; of those in SHARES and RATIOS, the distance from 1 is what may be used up."""
SHARES = ("fused_share", "baseline_same_on_changed", "least_cpu_share")
RATIOS = ("latency_factor",)
NO_LIMITS = ("near_tie", "time_limit_used", "minimum_test_samples", "minimum_fresh_samples", "fresh_loss")
"""What sorts samples or asks for data, and no property of a pair."""
BY_MACHINE = (
    "foreign_cpu_share", "steal_share", "idle_workers_cpu_share", "settings_tolerance", "least_cpu_share",
    "cpu_time_excess", "throttled_time_share", "equal_durations_share",
)  # fmt: skip
"""Limits that a busy machine comes near to, whatever the pair."""
OF_MACHINE = ("device_alone", "steal_low", "null_holds", "enough_windows", "sessions_isolated")
"""Findings that a busy machine fails, or a short run, whatever the pair."""

INT8 = "quantize_static: {calibration: mse, samples: 256}"
RECOVER = "distill: {epochs: 3, lr: 1e-3, flip: true}"
NNCF = """
import sys, nncf, numpy, onnx
model = onnx.load(sys.argv[1])
rows = nncf.Dataset(numpy.load(sys.argv[2]), lambda row: {model.graph.input[0].name: row[None]})
onnx.save(nncf.quantize(model, rows, subset_size=256), sys.argv[3])
"""

Make = Callable[[Path, Plan], object]


@dataclass(frozen=True)
class Pair:
    """How a pair is made and certified, and why it cannot be here; None if it can."""

    make: Make
    missing: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Row:
    """What the referee made of a pair: its margins by constant, and the seconds that its parts took."""

    grade: Grade
    failed: tuple[str, ...]
    margins: dict[str, float]
    times: dict[str, float]

    @property
    def share_of_checks(self) -> float:
        """Share of a certificate's time that changed samples and the simplification of the baseline take."""
        before = self.times["simplify"]
        return (self.times["look"] + before) / (self.times["measure"] + before)


class ChannelsLast(nn.Module):
    """A network that is fed as Keras feeds it: images (n, H, W, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x.permute(0, 3, 1, 2))


def images() -> Dataset:
    return from_mapping(cifar.lossless_data(), "cifar10", "cifar.lossless_data", 0)


def job(model: object, dataset: Dataset, folder: Path, plan: Plan, passes: tuple[str, ...], **more: Any) -> object:
    """The maker's whole way: passes, export, certificate."""
    asked = recipe.parse("passes:\n" + "\n".join(f"  - {line}" for line in passes), "honest_set.py")
    return compress.run(model, asked, dataset, out=folder, plan=plan, **more)


def of_cifar(factory: Callable[[], nn.Module], *passes: str, **settings: int) -> Pair:
    def make(folder: Path, plan: Plan) -> object:
        dataset = images()
        contract = default_preprocess(dataset)
        return job(cifar.published(factory), dataset, folder, replace(plan, **settings), passes, preprocess=contract)

    return Pair(make, cifar_missing)


def cifar_missing() -> str | None:
    return None if cifar.DATA.is_dir() else f"{cifar.DATA} is absent (see LEANMARK_BENCH_DATA)."


def nhwc(folder: Path, plan: Plan) -> object:
    dataset, file = images(), folder / "keras.onnx"
    contract = replace(default_preprocess(dataset), layout="NHWC")
    export(ChannelsLast(cifar.published(cifar.resnet20)), contract, file, classes=len(dataset.classes))
    return job(file, dataset, folder, plan, (INT8,), preprocess=contract)


def nncf(python: str | None) -> Pair:
    def make(folder: Path, plan: Plan) -> object:
        dataset, names = images(), ("float.onnx", "samples.npy", "nncf.onnx")
        contract, files = default_preprocess(dataset), [folder / name for name in names]
        export(cifar.published(cifar.resnet56), contract, files[0], classes=len(dataset.classes))
        np.save(files[1], contract.batch(dataset.calibration, range(256)))
        subprocess.run([python, "-c", NNCF, *map(str, files)], check=True, capture_output=True)
        return api.certify(files[2], baseline=files[0], data=dataset, out=folder, preprocess=contract, plan=plan)

    return Pair(make, lambda: cifar_missing() or (None if python else "say with --nncf which Python has NNCF."))


def lite(*passes: str) -> Pair:
    def make(folder: Path, plan: Plan) -> object:
        file, names = folder / "lite0.onnx", tuple(map(str, range(efficientnet_lite.CLASSES)))
        parts = efficientnet_lite.images(100, 50)  # leaves the 500 test images that a letter needs
        efficientnet_lite.export_float(file)
        dataset = Dataset("imagenet_val", "bench", names, None, *parts, input_size=(224, 224))
        return job(file, dataset, folder, plan, passes, preprocess=efficientnet_lite.CONTRACT)

    return Pair(make, efficientnet_lite.missing)


def sentences(*passes: str) -> Pair:
    def make(folder: Path, plan: Plan) -> object:
        built, dataset = minilm.fitted(folder)
        return job(built.model, dataset, folder, plan, passes)

    return Pair(make, minilm.missing)


def transformer_passes() -> tuple[str, ...]:
    return tuple(json.dumps({each.name: each.config()}) for each in recipe.load("transformer").passes)


def digits(model: str, name: str) -> Pair:
    """The main job: the network is trained here first."""
    return Pair(lambda folder, plan: compress.run(model, name, out=folder, plan=plan))


def vit(folder: Path, plan: Plan) -> object:
    dataset = load("mnist5k")
    contract = default_preprocess(dataset)
    return compress.run(
        small_vit.trained(dataset, 10), "transformer", dataset, out=folder, plan=plan, preprocess=contract
    )


def pairs(python: str | None) -> dict[str, Pair]:
    student = f"distill: {{student: 'cifar:resnet20', student_weights: {cifar.DATA}/resnet20.safetensors, epochs: 2}}"
    made = {
        "EfficientNet-Lite0 fp16": lite("half"),
        "EfficientNet-Lite0 int8": lite(INT8),
        "MiniLM int8": sentences(*transformer_passes()),
        "MiniLM int8, scales found while it runs": sentences("quantize_dynamic"),
        "ResNet-18 main job": digits("resnet18", "balanced"),
        "ResNet-18 pruned": digits("resnet18", "prune"),
        "ResNet-20 fp16": of_cifar(cifar.resnet20, "half"),
        "ResNet-20 int8": of_cifar(cifar.resnet20, INT8),
        "ResNet-20 int8, batches of 8": of_cifar(cifar.resnet20, INT8, batch=8),
        "ResNet-20 int8, fed as Keras does": Pair(nhwc, cifar_missing),
        "ResNet-20 int8 weights": of_cifar(cifar.resnet20, "quantize_weights"),
        "ResNet-20 low rank": of_cifar(cifar.resnet20, "low_rank: {energy: 0.9}", RECOVER),
        "ResNet-20 pruned": of_cifar(cifar.resnet20, "structured_prune: {macs: 0.75}", RECOVER),
        "ResNet-20 taught by ResNet-56": of_cifar(cifar.resnet56, student),
        "ResNet-50 main job": digits("resnet50", "balanced"),
        "ResNet-56 int8": of_cifar(cifar.resnet56, INT8),
        "ResNet-56 int8 by NNCF": nncf(python),
        "ResNet-56 low rank": of_cifar(cifar.resnet56, "low_rank: {energy: 0.9}", RECOVER),
        "ResNet-56 pruned": of_cifar(cifar.resnet56, "structured_prune: {macs: 0.6}", RECOVER),
        "ResNet-56 pruned int8": of_cifar(cifar.resnet56, "structured_prune: {macs: 0.6}", RECOVER, INT8),
        "ResNet-56 shallower": of_cifar(cifar.resnet56, "depth_prune: {macs: 0.8}", RECOVER),
        "small ViT int8": Pair(vit),
    }
    return dict(sorted(made.items()))


@contextlib.contextmanager
def timed(module: object, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that a function takes."""
    function = getattr(module, name)

    def run(*args: Any, **named: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*args, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.monotonic() - began

    with mock.patch.object(module, name, run):
        yield


def certified(folder: Path, pair: Pair, plan: Plan) -> None:
    """Make and certify a pair, and note how long the parts took; looking at changed samples is a part of measuring."""
    folder.mkdir(parents=True, exist_ok=True)
    spent: dict[str, float] = {}
    with timed(api, "simplify", spent), timed(api, "measure", spent), timed(experiment, "look", spent):
        pair.make(folder, plan)
    (folder / TIMES).write_text(json.dumps(spent))


def row(folder: Path, edition: Edition) -> Row:
    evidence = read_evidence(folder / EVIDENCE_NAME)
    graded = grade(derive(evidence, edition), edition)
    failed = tuple(one.name for one in judge_guards(evidence, edition) if one.outcome == "fail")
    margins = {name: margin(name, evidence, edition) for name in vars(edition.thresholds) if name not in NO_LIMITS}
    return Row(graded, failed, margins, json.loads((folder / TIMES).read_text()))


def margin(name: str, evidence: Evidence, edition: Edition) -> float:
    """How many times as strict a constant may become before one more finding fails; infinite where none does."""
    before = _passed(evidence, edition)
    place = bisect.bisect_left(FACTORS, True, key=lambda by: _passed(evidence, stricter(edition, name, by)) < before)
    return math.inf if place == len(FACTORS) else FACTORS[max(0, place - 1)]


def stricter(edition: Edition, name: str, factor: float) -> Edition:
    limit = getattr(edition.thresholds, name)
    least = 1 if name in (*SHARES, *RATIOS) else 0
    changed = limit * factor if name in LOWER else least + (limit - least) / factor
    return replace(edition, thresholds=replace(edition.thresholds, **{name: changed}))


def _passed(evidence: Evidence, edition: Edition) -> set[str]:
    return {one.name for one in judge_guards(evidence, edition) if one.outcome == "pass"}


def show(rows: dict[str, Row], halves: dict[str, str], edition: Edition) -> None:
    """Print the two tables, and the sentence that sums them up."""
    print("| pair | half | letter | at the measured point | refused by | time for changed samples | for all checks |")
    print("|---|---|---|---|---|---|---|")
    wrongly = 0
    for name, one in rows.items():
        share = one.times["look"] / one.times["measure"]
        own = [failed for failed in one.failed if failed not in OF_MACHINE]
        lost = one.grade.loss_percent is None or one.grade.loss_percent > edition.grading.largest_loss_percent
        reasons = [*own, *(["the loss"] if lost else []), *(["the machine"] if len(own) < len(one.failed) else [])]
        wrongly += bool(own)
        letters = f"{one.grade.text} | {one.grade.point_letter or '-'}"
        shares = f"{share:.0%} | {one.share_of_checks:.0%}"
        print(f"| {name} | {halves[name]} | {letters} | {', '.join(reasons) or '-'} | {shares} |")
    print(
        "\n| limit | its value | nearest in the half that chose | nearest in the half that checks |\n|---|---|---|---|"
    )
    near = []
    for limit in sorted(name for name in next(iter(rows.values())).margins):
        cells = []
        for half in ("chose", "checks"):
            factor, name = min(((one.margins[limit], n) for n, one in rows.items() if halves[n] == half), default=FAR)
            cells.append("far" if factor == math.inf else f"{factor:.1f} ({name})")
            if half == "checks" and factor < WIDE_ENOUGH and limit not in BY_MACHINE:
                near.append(limit)
        if cells != ["far", "far"]:
            print(f"| `{limit}` | {getattr(edition.thresholds, limit):g} | {' | '.join(cells)} |")
    refused = sum(one.grade.refused for one in rows.values())
    print(f"\n{refused} of {len(rows)} refused, {wrongly} by more than the machine; ", end="")
    print("within a factor of two, in the half that checks: ", end="")
    print(", ".join(near) or "none")


def main() -> None:
    """Make what is missing, then print what the referee said of all that is there."""
    parser = options(__doc__, "few windows, and without --only one pair")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/honest"))
    parser.add_argument("--only", nargs="*", help="words of which a pair's name must hold one")
    parser.add_argument("--again", action="store_true", help="measure again what has been certified")
    parser.add_argument("--nncf", help="interpreter of an environment with NNCF")
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds of the main run")
    parser.add_argument("--precision", type=float, default=5.0, help="wanted half-width of the ratio, in percent")
    given = parser.parse_args()
    plan = Plan(time_limit_s=given.time_limit, wanted_half_width=given.precision / 100)
    known, edition = pairs(given.nncf), load_edition()
    halves = {name: ("chose", "checks")[place % 2] for place, name in enumerate(known)}
    if given.quick:
        plan = Plan(time_limit_s=1, min_blocks=3, yardstick=False)
    words = given.only or (["ResNet-20 int8 weights"] if given.quick else [""])
    rows = {}
    for name, pair in known.items():
        folder = given.folder / name.replace(",", "").replace(" ", "-")
        if not any(word in name for word in words):
            continue
        if (sentence := pair.missing()) is not None:
            print(f"{name}: {sentence}")
            continue
        if given.again or not (folder / TIMES).is_file():
            try:
                certified(folder, pair, plan)
            except LeanmarkError as error:
                print(f"{name}: {error}")
                continue
        rows[name] = row(folder, edition)
        print(f"{name}: {rows[name].grade.text} (load {os.getloadavg()[0]:.1f})", flush=True)
    if rows:
        show(rows, halves, edition)


if __name__ == "__main__":
    run(main)
