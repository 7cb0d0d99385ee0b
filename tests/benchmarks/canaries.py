"""Lower bounds on epsilon by canaries, for plain and for private training, by leanmark audit-privacy.

    OMP_NUM_THREADS=1 python tests/benchmarks/canaries.py [plain private] [--canaries N] [--quick] [--strict]

mnist5k, a thousand test images with wrong labels, each in the twin's training by a coin; 200 coins are guessed.
Expected are a bound of 3 or more for plain training, and of less than 1 for training under a claim of epsilon 8.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _bench import Bars, options, run, several
from private import Small

from certify.attest.keys import new_key
from certify.core.private_data import DataKey
from certify.data import load
from compress.auditing.audit import AuditSettings, audit
from compress.auditing.canaries import Claim, Plan
from compress.job import pipeline
from compress.training import baseline
from compress.training.config import TrainingConfig

PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
MEMORISING = TrainingConfig(epochs=40, augment=False, label_smoothing=0.0, keep="last", lr=2e-3)
PASSES: dict[str, list[Any]] = {
    "plain": [{"trim_kernels": {}}],
    "private": [{"dp_finetune": {"epsilon": 8.0, "steps": 300, "sampling_rate": 0.2}}],
}


def network(num_classes: int = 10) -> Any:
    """Return the network for noisy training of ``private.py``, for images of three channels and 32 pixels."""
    from torch import nn

    made = Small()
    first = made.body[0]
    made.body[0] = nn.Conv2d(3, first.out_channels, 8, 2, 3)
    made.body[7] = nn.Linear(32 * 25, made.body[7].out_features)
    return made


def main() -> int:
    """Audit each case that is named."""
    parser = options(__doc__, "plain training alone")
    several(parser, "cases", PASSES)
    parser.add_argument("--canaries", type=int, default=1000)
    given = parser.parse_args()
    bars = Bars(given.canaries >= 1000)
    sys.path.insert(0, str(Path(__file__).parent))
    baseline.FROM_SCRATCH = MEMORISING
    dataset = load("mnist5k")
    for case in given.cases[:1] if given.quick else given.cases:
        key = DataKey.new() if case == "private" else None
        with tempfile.TemporaryDirectory() as scratch:
            out, began = Path(scratch) / "out", time.process_time()
            job = {"recipe": {"name": case, "passes": PASSES[case]}, "preprocess": PIXELS, "measure": False}
            pipeline.run(
                "canaries:network", data=dataset, out=out, cache=Path(scratch), progress=False, data_key=key, **job
            )
            asked = AuditSettings(0, Plan(given.canaries), None if key else Claim(None))
            # If the data were private, only the auditor would see these figures; mnist5k is public.
            show(out, dataset, asked, key, bars)
            print(f"  {time.process_time() - began:.0f} CPU-seconds", flush=True)
    return bars.code(given.strict)


def show(out: Path, dataset: Any, asked: AuditSettings, key: DataKey | None, bars: Bars) -> None:
    """Print the figures, from the auditor file if there is one."""
    from certify.assessment.assessment import profile_of
    from certify.assessments.privacy_audit.assessment import PrivacyAudit
    from certify.assessments.privacy_audit.edition import load_edition
    from certify.assessments.privacy_audit.records import parse

    found = audit(out / "model.onnx", dataset, asked, data_key=key, signer=new_key(), progress=False)
    figures = found.statement.claims.figures
    if "auditor" in found.files:
        records = parse(found.files["auditor"].read_bytes(), "auditor")
        figures = dict(profile_of(PrivacyAudit(), records, load_edition()).estimates)
    print("private, epsilon 8" if key else "plain", flush=True)
    for name, one in figures.items():
        print(f"  {name}: {one}", flush=True)
    shown = figures["canary_epsilon_shown"].value
    if key:
        bars.holds(f"epsilon shown {shown:.3g}, must be below 1", shown < 1)
    else:
        bars.at_least("epsilon shown", shown, 3)


if __name__ == "__main__":
    run(main)
