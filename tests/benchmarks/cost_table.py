"""Predicted and measured cost of narrowed networks, in floats and in int8.

    python tests/benchmarks/cost_table.py [resnet20|resnet56|resnet50] [float|int8|formats|sparsity] [--fresh] [--quick]

The ResNets of ``cifar.py`` are the default; ``resnet50`` is the main job's network for mnist5k, with random weights, on
which costs do not depend. For each network and precision a cost table is built; the costs of some networks of random
widths are predicted from it, and each is exported as shipped and measured against the unpruned one, three times, as
processes of the same file differ by where their memory lies. The median counts; the least and the greatest are printed.
The second error is that of the table corrected by the network before, as a narrowing does. With ``formats``, the format
of each block is random too: int8, float or int4 weights. ``sparsity`` measures each network with two of every four
weights set to 0 against itself. Costs are for one thread in ONNX Runtime. They are cached in the user's cache;
``--fresh`` measures them again, and ``--strict`` makes a bar that is not met an error.
"""

from __future__ import annotations

import copy
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _bench import Bars, LeftOut, options, run, several

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from certify.core.progress import Silent
from certify.data import IMAGENET_MEAN, IMAGENET_STD, default_preprocess, load
from certify.measure import machine
from compress.core.context import PassContext, PassData
from compress.core.targets import detect
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import Quantity
from compress.costs.groups import find_narrowable
from compress.costs.items import FLOATS, FULL, INT4, LAYERS
from compress.costs.losses import Narrower
from compress.costs.ratios import share_of
from compress.costs.shipped_form import INTEGERS, KeptNodes, formats_of, whole_model
from compress.costs.table_maker import SAMPLES, table_maker
from compress.costs.timing import Conditions
from compress.job.original import Request, find_original
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.structured_prune import StructuredPrune
from tests.benchmarks import cifar

TRAINED = {"resnet20": cifar.resnet20, "resnet56": cifar.resnet56}
NETWORKS = (*TRAINED, "resnet50")
PRECISIONS = ("float", "int8", "formats", "sparsity")
QUANTITIES: tuple[Quantity, ...] = ("latency", "energy")
CHOICES, SEED, COMPARISONS = 5, 0, 3


def context(name: str, following: tuple[QuantizeStatic, ...]) -> PassContext:
    """What a pass is given for one of the networks."""
    if name in TRAINED:
        dataset = load(cifar.lossless_data())
        contract = replace(default_preprocess(dataset), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        network = cifar.published(TRAINED[name]).eval()
    else:
        dataset = load("mnist5k")
        original = find_original(Request(name), dataset, Silent())
        contract, network = original.preprocess, original.module
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=contract,
        target=detect(),
        teacher=network,
        following=following,
        progress=Silent(),
    )


def compare(name: str, precision: str, choices: int, bars: Bars, *, fresh: bool) -> None:
    """Print the table of one network in one precision, and predictions beside measurements."""
    mixed = precision == "formats"
    around = context(name, () if precision == "float" else (QuantizeStatic(),))
    began = time.process_time(), time.perf_counter()
    formats = formats_of(around.target) if mixed else ()
    found = find_narrowable(StructuredPrune().settings(), around.teacher, around, formats=formats)
    maker = table_maker(Conditions(), None, around, CostCache(fresh=fresh))
    samples = around.samples(SAMPLES)
    table = maker.make(found.model, found.items, around.preprocess, samples)
    spent = f"{time.perf_counter() - began[1]:.0f} s, {time.process_time() - began[0]:.0f} of this process's CPU"
    print(f"\n{name} in {precision}: whole {1e6 * table.whole.duration_s.value:.0f} us; made in {spent}, ")
    print(f"{table.measured} kinds of blocks measured, the others read from the cache")
    for signature, costs in table.costs.items():
        alike = [item for item in table.items if item.signature == signature]
        row = ", ".join(f"{label}: {1e6 * cost.duration_s.value:.1f}" for label, cost in costs.items())
        print(f"  {len(alike)} x {alike[0].path} {alike[0].input.shape[1:]}, us by width: {row}")
    random = np.random.default_rng(SEED)
    print("  share of the unpruned network's time and joules: predicted, measured [range], error, error if corrected")
    narrower, corrected = Narrower(found.items, found.scores), dict.fromkeys(QUANTITIES, table)
    for number in range(choices):
        often = (number + 1) / choices
        chosen = [
            item.variants[random.integers(len(item.variants))] if random.random() < often else FULL
            for item in found.items
        ]
        pruned = narrower(found.model, dict(enumerate(chosen)))
        with tempfile.TemporaryDirectory() as scratch:
            folder, contract = Path(scratch), around.preprocess
            models = {"whole": found.model, "pruned": pruned}
            of_form = [
                [item.path for item, each in zip(found.items, chosen, strict=True) if each.precision == form.precision]
                for form in (FLOATS, INT4)
            ]
            blocks = [*of_form[0], *of_form[1]] if mixed else []
            exported = {label: whole_model(model, contract, folder, blocks) for label, model in models.items()}
            kept = {"whole": INTEGERS, "pruned": KeptNodes(*(exported["pruned"].names(each) for each in of_form))}
            files = {
                label: maker.whole(each, contract, samples, folder, label, kept[label])[1]
                for label, each in exported.items()
            }
            runs = [maker.timer(files) for _ in range(COMPARISONS)]
        for quantity in QUANTITIES:
            expected = table.predicted(chosen, quantity).value
            low, seen, high = sorted(share_of(each["pruned"], each["whole"], quantity).value for each in runs)
            tables = table, corrected[quantity]
            error, later = (100 * (each.predicted(chosen, quantity).value / seen - 1) for each in tables)
            print(
                f"    {quantity:8} {expected:.3f}  {seen:.3f} [{low:.3f}, {high:.3f}]  {error:+.1f} %  {later:+.1f} %",
                flush=True,
            )
            if quantity == "energy":
                bars.at_most("predicted energy is off by", abs(error), 5, " %")
            corrected[quantity] = table.corrected(chosen, quantity, seen)


def compare_sparsity(name: str) -> None:
    """Print the cost of a network with two of every four weights at 0, as a share of its own cost."""
    dense = context(name, ()).teacher
    sparse = copy.deepcopy(dense)
    with torch.no_grad():
        for module in sparse.modules():
            if isinstance(module, LAYERS) and module.weight[0].numel() % 4 == 0:
                fours = module.weight.view(-1, 4)
                fours.scatter_(1, fours.abs().argsort(1)[:, :2], 0.0)
    for precision in ("float", "int8"):
        around = context(name, () if precision == "float" else (QuantizeStatic(),))
        maker, samples = table_maker(Conditions(), None, around), around.samples(SAMPLES)
        with tempfile.TemporaryDirectory() as scratch:
            models = {"dense": dense, "sparse": sparse}
            files = {each: whole_model(model, around.preprocess, Path(scratch)) for each, model in models.items()}
        costs = maker.side_by_side(files, around.preprocess, samples)
        for quantity in QUANTITIES:
            share = share_of(costs["sparse"], costs["dense"], quantity)
            print(f"{name} in {precision}, 2:4 against dense, {quantity}: {share}", flush=True)


def main() -> int:
    """Compare the networks that are named, or those with trained weights."""
    parser = options(__doc__, "one choice of widths for ResNet-20 in floats")
    several(parser, "names", [*NETWORKS, *PRECISIONS])
    parser.add_argument("--fresh", action="store_true", help="measure what is in the cache again")
    given = parser.parse_args()
    bars = Bars(not given.quick)
    torch.set_num_threads(1)
    load_average = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{machine.describe()['processor']}, Python {platform.python_version()}, load average {load_average}")
    names = [each for each in NETWORKS if each in given.names] or list(TRAINED)
    if not cifar.DATA.is_dir() and TRAINED.keys() & set(names):
        raise LeftOut(f"{cifar.DATA} is absent (see LEANMARK_BENCH_DATA).")
    precisions = [each for each in PRECISIONS if each in given.names] or list(PRECISIONS)
    if given.quick:
        names, precisions = names[:1], precisions[:1]
    for name in names:
        for precision in precisions:
            if precision == "sparsity":
                compare_sparsity(name)
                continue
            compare(name, precision, 1 if given.quick else CHOICES, bars, fresh=given.fresh)
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
