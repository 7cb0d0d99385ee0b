"""Comparison of the records with the lineage next to the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Surroundings
from certify.assessments.federation.records import Records, Step
from certify.core.errors import CertificateError
from certify.core.files import sha256_file
from certify.core.finding import Finding
from certify.core.schema import validate

LINEAGE = "lineage.json"
MODEL = "model.onnx"
NAME = "runs_match_lineage"


def steps_of(lineage: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the passes of a lineage of schema ``lineage-1``."""
    return tuple(
        Step(row["pass"], row["stage"], row["model_digest_in"], row["model_digest_out"]) for row in lineage["rows"]
    )


def beside(around: Surroundings) -> Iterator[Finding]:
    """Check that ``lineage.json`` has the passes of the records and ends in the model."""
    records: Records | None = around.records
    if records is None:
        yield Finding(NAME, "skipped", "There are no records to compare the lineage with.")
        return
    path = _find(around.folders)
    if records.header.lineage is None or path is None:
        yield Finding(NAME, "skipped", f"{LINEAGE} is not named in the records, or is not next to the model.")
        return
    yield _compared(records, path, around.digests.get("sha256"))


def _find(folders: Sequence[Path]) -> Path | None:
    return next((folder / LINEAGE for folder in folders if (folder / LINEAGE).is_file()), None)


def _compared(records: Records, path: Path, model: str | None) -> Finding:
    # A valid lineage may still belong to another model.
    if sha256_file(path) != records.header.lineage:
        return Finding(NAME, "fail", f"{path.name} is not the lineage that was recorded.")
    try:
        values = json.loads(path.read_bytes())
        validate(values, "lineage-1")
    except (ValueError, RecursionError) as error:
        return Finding(NAME, "fail", f"{path.name} is not valid JSON: {str(error)[:100]}.")
    except CertificateError as error:
        return Finding(NAME, "fail", str(error))
    if steps_of(values) != records.steps:
        return Finding(NAME, "fail", f"The passes of {path.name} are not those that were recorded.")
    if records.central is not None and values["data"]["digests"].get("test") != records.central.test_digest:
        return Finding(NAME, "fail", f"The central run was scored on a different test part from that of {path.name}.")
    if values["artifacts"].get(MODEL) not in (None, model):
        return Finding(NAME, "fail", f"{path.name} ends with a model that the statement is not about.")
    return Finding(NAME, "pass", f"The runs are passes of {path.name}, which ends with this model.")
