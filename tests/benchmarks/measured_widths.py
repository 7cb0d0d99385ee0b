"""Energy and accuracy of a main job whose widths follow measured costs, relative to the same job with uniform widths.

    python tests/benchmarks/measured_widths.py [resnet50] [--energy 0.45] [--recipe balanced] [--out FOLDER] [--strict]

Both jobs run the shipped recipe on mnist5k with the same seed; in the second one ``structured_prune`` has a target of
energy instead of multiply-adds. Both files are then certified as a pair, the uniform one as the baseline, so that the
ratio, the accuracies and their intervals are those of a certificate. Finished jobs in FOLDER are not run again.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from _bench import Bars, LeftOut, options, run

import certify
import compress
from certify.core.progress import Silent
from certify.measure.machine import describe
from compress.job import recipe as recipes
from compress.passes.structured_prune import StructuredPrune

DATA, PRUNE = "mnist5k", StructuredPrune.name
STATED = ("macs_share", "asked", "predicted_share", "measured_share", "divergence", "dropped", "blocks_measured")
"""What is printed of the record of the pruning."""
MOST, LEAST_POINTS = 0.85, -0.5
"""What the ratio may be at most, and the lowest change of accuracy that counts as equal, in points."""


def with_energy(name: str, share: float) -> dict:
    """A shipped recipe whose pruning has a target of energy instead of multiply-adds."""
    shipped = recipes.load(name).to_json()
    for each in shipped["passes"]:
        if PRUNE in each:
            each[PRUNE] = {**{key: value for key, value in each[PRUNE].items() if key != "macs"}, "energy": share}
    return {**shipped, "name": f"{name}-energy"}


def main() -> int:
    """Run both jobs, and certify the second file against the first."""
    parser = options(__doc__, "nothing, unless FOLDER has both jobs, which take half an hour")
    parser.add_argument("network", nargs="?", default="resnet50")
    parser.add_argument("--recipe", default="balanced", help="A shipped recipe that prunes.")
    parser.add_argument("--energy", type=float, default=0.45, help="Share of the energy of the unpruned int8 file.")
    parser.add_argument("--out", type=Path, help="Folder that keeps the files.")
    arguments = parser.parse_args()
    print(f"{arguments.network} on {describe()['processor']}, load {os.getloadavg()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        made = {}
        jobs = {"uniform": arguments.recipe, "by cost": with_energy(arguments.recipe, arguments.energy)}
        if arguments.quick and not all((folder / what.replace(" ", "-") / "model.onnx").is_file() for what in jobs):
            raise LeftOut("The two jobs take half an hour; run it without --quick.")
        for what, recipe in jobs.items():
            out = folder / what.replace(" ", "-")
            made[what] = out / "model.onnx"
            if not made[what].is_file():
                compress.run(arguments.network, recipe, DATA, out=out, measure=False, progress=Silent())
            first = json.loads((out / "lineage.json").read_text())["rows"][0]
            shown = {key: first["done"][key] for key in STATED if key in first["done"]} or first["declined"]
            print(f"{what}: {made[what].stat().st_size / 1e6:.2f} MB; {shown}", flush=True)
        pair = certify.certify(
            made["by cost"], baseline=made["uniform"], data=DATA, out=folder / "pair", progress=Silent()
        )
    print(f"The pair's grade: {pair.grade.text}")
    for name in ("energy_ratio", "duration_ratio", "accuracy_difference_points"):
        figure = pair.profile[name]
        print(f"{name} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]", flush=True)
    print(f"Load at the end: {os.getloadavg()}")
    bars = Bars(not arguments.quick)
    bars.at_most("energy relative to uniform widths", pair.profile["energy_ratio"].value, MOST)
    bars.at_least("change of accuracy", pair.profile["accuracy_difference_points"].value, LEAST_POINTS, " points")
    return bars.code(arguments.strict)


if __name__ == "__main__":
    run(main)
