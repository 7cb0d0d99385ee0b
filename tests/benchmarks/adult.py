"""Effect of int8 on groups in the Adult data, and time of the social assessment.

    LEANMARK_ADULT=FOLDER python tests/benchmarks/adult.py [--out build/adult] [--certify] [--seeds 1] [--first-seed 0]
        [--quick] [--strict]

FOLDER holds ``adult.data`` and ``adult.test`` of the UCI repository. An MLP of 128 and 64 hidden units is trained in
torch, exported, and quantized to 8 bits by ONNX Runtime's ``quantize_static`` (unsigned activations, signed weights by
channel, 512 calibration rows). It prints accuracy, cells that are shown to be worse, disparate-impact ratios and
exchanged answers; with ``--certify``, the CPU seconds of ``certify`` with and without groups, in turn, and those that
the code for groups used. The bar is on the latter: two runs of ``certify`` differ by a quarter, because each measures
until its intervals are narrow enough.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from _bench import Bars, LeftOut, options, run
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import certify
from certify import Plan
from certify.data import Dataset, load
from certify.workflows.group_audit import Fairness
from certify.workflows.group_records import Grouping
from certify.workflows.group_statement import state_groups

GROUPS = "sex,race"
HARMED = "sex=Male, false negatives"
"""The cell in which int8 must be shown to do harm."""
EPOCHS, BATCH = 12, 128


def arrays(dataset: Dataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels of a part."""
    split = dataset.parts[part]
    return np.stack([split.arrays(i)["x"] for i in range(len(split))]), split.labels


def train(dataset: Dataset, seed: int, epochs: int = EPOCHS) -> torch.nn.Module:
    """Train the MLP; the epoch that is best on validation is kept."""
    torch.manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in arrays(dataset, "train"))
    held_x, held_y = (torch.from_numpy(part) for part in arrays(dataset, "validation"))
    layers = [torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(x) // BATCH + 1))
    best, kept = 0.0, model.state_dict()
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        right = float((model(held_x).argmax(1) == held_y).float().mean())
        if right > best:
            best, kept = right, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval()


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Rows of the calibration part, one batch of 32 at a time."""

    def __init__(self, rows: np.ndarray) -> None:
        self._batches = iter(np.array_split(rows, max(1, len(rows) // 32)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"x": batch}


def make(dataset: Dataset, seed: int, out: Path, epochs: int = EPOCHS) -> tuple[Path, Path]:
    """Train, export and quantize."""
    out.mkdir(parents=True, exist_ok=True)
    paths = out / f"float-{seed}.onnx", out / f"int8-{seed}.onnx"
    model, x = train(dataset, seed, epochs), torch.zeros(2, len(dataset.test.features))
    torch.onnx.export(
        model, (x,), paths[0], input_names=["x"], output_names=["output"],
        dynamic_axes={"x": {0: "n"}, "output": {0: "n"}}, dynamo=False, opset_version=17,
    )  # fmt: skip
    onnx.checker.check_model(onnx.load(paths[0]))
    quantize_static(
        str(paths[0]), str(paths[1]), Calibration(arrays(dataset, "calibration")[0]), per_channel=True,
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return paths


def tell(found: Fairness, seed: int, bars: Bars) -> None:
    """Print what was found, and whether harm to men was."""
    figures = found.profile.estimates
    print(f"\nseed {seed}: {found.outcome.text}")
    for name in ("accuracy_baseline", "accuracy_candidate", "accuracy_change_points", "brier_difference", "turned"):
        print(f"  {name:28} {figures[name]}")
    for number, one in enumerate(found.cells, start=1):
        points = figures[f"cell_{number:03d}_change_points"]
        print(f"  {one.name:48} {one.cell.table.n:6} {points!s:32} p {one.p:.2g} {one.verdict}")
        if one.name == HARMED:
            harmed = one.p, one.verdict
    for stem in ("sex", "race"):
        for kind in ("selection_ratio", "equalised_odds", "flips"):
            before, after = (figures.get(f"{stem}_{kind}_{arm}") for arm in ("baseline", "candidate"))
            print(f"  {stem} {kind:24} {before!s:28} {after!s}")
    change = figures["accuracy_change_points"]
    bars.at_most(f"{HARMED}, verdict '{harmed[1]}', p", harmed[0], 1e-3)
    bars.holds(f"change of accuracy {change}, must include 0", change.low <= 0 <= change.high)


def cpu_s() -> float:
    """CPU seconds of this process and of its workers that ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def group_seconds() -> Iterator[list[float]]:
    """Collect the CPU seconds that ``certify`` spends on groups: checking, recording answers, signing the result."""
    seconds: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*args: Any, **named: Any) -> Any:
            before = cpu_s()
            try:
                return call(*args, **named)
            finally:
                seconds.append(cpu_s() - before)

        return run_timed

    with (
        patch.object(Grouping, "of", timed(Grouping.of)),
        patch.object(Grouping, "look", timed(Grouping.look)),
        patch("certify.api.state_groups", timed(state_groups)),
    ):
        yield seconds


def referee(paths: tuple[Path, Path], spec: str, out: Path, bars: Bars) -> None:
    """CPU and wall seconds of certify with groups and without, in turn, and the part that groups took."""
    plan, taken, shares = Plan(batch=32, time_limit_s=60), {"": [], GROUPS: []}, []  # type: ignore[var-annotated]
    for groups in ("", GROUPS, GROUPS, ""):
        before, start = cpu_s(), time.perf_counter()
        with group_seconds() as used:
            certify.certify(
                paths[1], baseline=paths[0], data=spec, out=out / f"graded-{bool(groups)}", plan=plan,
                groups=groups or None, progress=False,
            )  # fmt: skip
        taken[groups].append((cpu_s() - before, time.perf_counter() - start))
        if groups:
            shares.append(100 * sum(used) / (taken[groups][-1][0] - sum(used)))
            print(f"groups took {sum(used):.2f} CPU s in {len(used)} calls")
    for groups, times in taken.items():
        cpu, wall = (sum(part) / len(times) for part in zip(*times, strict=True))
        print(f"certify {'with groups' if groups else 'without groups':16} {cpu:8.2f} CPU s {wall:8.2f} s")
    bars.at_most("groups cost the referee, of the CPU time of all else,", max(shares), 5, " %")


def main() -> int:
    """Run it."""
    parser = options(__doc__, "two epochs")
    parser.add_argument("--out", type=Path, default=Path("build/adult"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--certify", action="store_true")
    given = parser.parse_args()
    folder = os.environ.get("LEANMARK_ADULT", "")
    if not Path(folder, "adult.test").is_file():
        raise LeftOut("set LEANMARK_ADULT to the folder with adult.data and adult.test of the UCI repository.")
    bars = Bars(not given.quick)
    spec = f"adult:{folder}"
    dataset = load(spec)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        paths = make(dataset, seed, given.out, 2 if given.quick else EPOCHS)
        found = certify.fairness(paths[1], against=paths[0], data=spec, groups=GROUPS, batch=64, progress=False)
        tell(found, seed, bars)
    if given.certify:
        referee(paths, spec, given.out, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
