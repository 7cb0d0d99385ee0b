"""Padded baselines after simplification: ``python tests/benchmarks/padded_baselines.py`` prints one row per
baseline."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import onnx

sys.path[:0] = [str(Path(__file__).parents[1] / "certify" / "measure")]

import padded  # noqa: E402
import padded_hidden  # noqa: E402
import recognisers  # noqa: E402
from _bench import options, run  # noqa: E402

from certify.assessments.efficiency.edition import load_edition  # noqa: E402
from certify.core.progress import Silent  # noqa: E402
from certify.core.run_observations import Simplified  # noqa: E402
from certify.data.contract_slot import normalise  # noqa: E402
from certify.measure.plan import Plan  # noqa: E402
from certify.measure.simplify import simplify  # noqa: E402


def main() -> None:
    """Simplify each, and print its cost against that of the honest net, before and after."""
    options(__doc__).parse_args()
    data, rules = recognisers.textures(0), load_edition().plan
    whole = None
    made = {**padded.PADDED, **padded.NEEDLESS, **padded_hidden.HIDDEN}
    for name, make in {"the honest net": recognisers.net, **made}.items():
        with tempfile.TemporaryDirectory() as folder:
            given, path = Path(folder, "given.onnx"), Path(folder, "baseline.onnx")
            onnx.save(make(), str(given))
            normalise(given, path, recognisers.CONTRACT)
            found = Simplified(**simplify(path, recognisers.CONTRACT, data, Plan(), rules, Silent()).values)
        before, after = found.given_cost or 0.0, found.cost or 0.0
        whole = whole or before
        shares = (found.removed_share, found.removed_bytes_share, found.needless_share)
        fewer = " | ".join(f"{100 * share:.0f} %" for share in shares)
        print(f"| {name} | {before / whole:.2f} | {after / whole:.2f} | {fewer} |")


if __name__ == "__main__":
    run(main)
