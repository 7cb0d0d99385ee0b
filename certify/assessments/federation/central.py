"""A central run next to a federated one, derived from the lineages and measurements of both jobs.

Both jobs must have the same data, passes and settings, except that one trained on clients where the other trained in
one place, from the same model. Costs are those of the passes in which they differ, and accuracy is that of the finished
models on the same test samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from certify.assessments.federation.figures import SIMULATED
from certify.assessments.federation.records import Central, Records
from certify.core.errors import UsageError
from certify.core.estimate import EvidenceLevel, weakest
from certify.core.evidence import Evidence
from certify.core.federation.fields import Level
from certify.core.observations import TargetValues
from certify.core.statistics.proportions import PairedTable

MODEL = "model.onnx"
FEDERATED = "federated_"
"""Start of the names of passes that train on clients."""
COMPARED = ("pass", "version", "stage", "config")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredJob:
    """A measured job.

    Attributes:
        name: its folder, for errors.
        lineage: lineage of schema ``lineage-1``.
        lineage_digest: hex SHA-256 of the lineage's file.
        evidence: its measurement.
    """

    name: str
    lineage: Mapping[str, Any]
    lineage_digest: str
    evidence: Evidence

    @property
    def rows(self) -> Sequence[Row]:
        """Passes of the lineage."""
        rows: Sequence[Row] = self.lineage["rows"]
        return rows


def central_run(records: Records, federated: MeasuredJob, central: MeasuredJob) -> Central:
    """Return the record of a central run.

    Args:
        records: records of the federated job.
        federated: the federated job.
        central: the job that trained in one place.

    Raises:
        UsageError: the jobs differ in more than where they trained, or one of them does not state what is compared.
    """
    if any(run.opening.message.transport != SIMULATED for run in records.runs):
        raise UsageError(
            "The clients of a fleet keep their samples, so no file shows that a central run had the same ones; compare "
            "a simulation on the same data instead."
        )
    if federated.lineage_digest != records.header.lineage:
        raise UsageError(f"The lineage of {federated.name} is not the one in its records; run the job again.")
    _require_same_data(federated, central)
    rows = _central_rows(records, federated, central)
    table = _paired(federated, central)
    cpu_s = [float(row.get("cpu_s") or 0.0) for row in rows]
    # A cost of 0 would make federated training look infinitely expensive.
    if not all(cpu_s):
        raise UsageError(
            f"The lineage of {central.name} does not state the CPU-seconds of '{rows[0]['pass']}', for example since "
            "the job was interrupted; run it again."
        )
    energy_j, level = _energy(rows)
    stated = central.lineage
    return Central(
        **asdict(table), model=stated["artifacts"][MODEL], test_digest=stated["data"]["digests"]["test"],
        cpu_s=sum(cpu_s), energy_j=energy_j, level=level,
    )  # fmt: skip


def _require_same_data(federated: MeasuredJob, central: MeasuredJob) -> None:
    mine, other = (job.lineage["data"]["digests"] for job in (federated, central))
    # Train and test are always checked, and first, because the comparison depends on them.
    for part in ("train", "test", *sorted({*mine, *other})):
        if part in ("train", "test") and mine.get(part) is None:
            raise UsageError(f"The lineage of {federated.name} has no digest of the {part} part, so data are unknown.")
        if mine.get(part) != other.get(part):
            raise UsageError(f"{central.name} has a different {part} part from {federated.name}; use the same data.")


def _central_rows(records: Records, federated: MeasuredJob, central: MeasuredJob) -> Sequence[Row]:
    """Return the passes of the central job that stand in place of the federated ones."""
    runs = [
        (run.opening.message.model, None if run.end is None else run.end.message.model) for run in records.runs
    ]  # fmt: skip
    models = [(row["model_digest_in"], row["model_digest_out"]) for row in federated.rows]
    # The runs must be consecutive passes, each starting from the model of the one before it.
    first = next((n for n in range(len(models)) if models[n : n + len(runs)] == runs), None)
    if first is None:
        raise UsageError(f"The federated passes of {federated.name} do not follow one another in its lineage.")
    after = federated.rows[first + len(runs) :]
    last = len(central.rows) - len(after)
    before, rows, then = central.rows[:first], central.rows[first:last], central.rows[last:]
    # Only the place of training may differ; any other difference could explain the change in accuracy.
    if _settings(before) != _settings(federated.rows[:first]) or _settings(then) != _settings(after):
        raise UsageError(
            f"{central.name} and {federated.name} differ in more than where they trained; use recipes whose other "
            "passes have the same settings."
        )
    if not rows or rows[0]["model_digest_in"] != runs[0][0]:
        raise UsageError(f"The training of {central.name} began with a different model from that of {federated.name}.")
    for row in rows:
        if row["pass"].startswith(FEDERATED) or not (row.get("touched") or {}).get("train"):
            raise UsageError(f"The pass '{row['pass']}' of {central.name} is not training in one place.")
    return rows


def _settings(rows: Sequence[Row]) -> list[list[Any]]:
    return [[row[name] for name in COMPARED] for row in rows]


def _paired(federated: MeasuredJob, central: MeasuredJob) -> PairedTable:
    """Return the counts of correct answers of both finished models on the same test samples."""
    for job in (federated, central):
        facts = job.evidence.header.models.get("candidate")
        if facts is None or facts.file_digest != job.lineage["artifacts"].get(MODEL):
            raise UsageError(f"The measurement in {job.name} is not of its lineage's model; measure it again.")
        if not job.evidence.predictions or job.evidence.observed(TargetValues) is not None:
            raise UsageError(f"The measurement in {job.name} has no class per test sample to compare.")
    mine, other = ({each.digest: each for each in job.evidence.samples} for job in (federated, central))
    # Labels are compared too, because equal samples could have been scored against different labels.
    if {key: sample.label for key, sample in mine.items()} != {key: sample.label for key, sample in other.items()}:
        raise UsageError(f"{central.name} and {federated.name} were scored on different test samples.")
    right = [np.array([of[key].candidate_top1 == of[key].label for key in sorted(of)]) for of in (other, mine)]
    return PairedTable.from_correct(*right)


def _energy(rows: Sequence[Row]) -> tuple[float | None, Level | None]:
    """Return the joules of passes and their evidence level; None unless every pass states them."""
    stated = [row["energy_j"] for row in rows]
    if any(energy is None for energy in stated):
        return None, None
    level = weakest(EvidenceLevel(energy["evidence"]) for energy in stated)
    return float(sum(energy["value"] for energy in stated)), cast(Level, level.value)
