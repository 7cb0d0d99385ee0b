"""Sidecar files of a model with a privacy statement: the lineage of its ledger, and files that could reveal too much.

A privacy claim implies private data. Publishing a digest of the private splits, their size if it must be hidden, or the
seed of the training next to the claim undermines it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Surroundings
from certify.assessments.privacy.records import Records, touches_of
from certify.core.errors import CertificateError
from certify.core.files import sha256_file
from certify.core.finding import Finding
from certify.core.schema import validate

LINEAGE = "lineage.json"
EVIDENCE = "evidence.jsonl"
MAX_HEADER_BYTES = 1 << 20


def beside(around: Surroundings) -> Iterator[Finding]:
    """Check the lineage and the evidence next to the model."""
    records, name = around.records, "beside_private"
    if records is None:
        for skipped in ("touches_match_lineage", name):
            yield Finding(skipped, "skipped", "The records to compare the files with are missing.")
        return
    path = _find(around, LINEAGE)
    yield _ledger_check(records, path)
    try:
        problems = [*_by_lineage(records, path), *_by_evidence(records, _find(around, EVIDENCE))]
    except CertificateError as error:
        yield Finding(name, "fail", str(error))
        return
    if problems:
        sentence = f"Public files reveal private data: {'; '.join(problems)}. Write them with --private-data."
        yield Finding(name, "fail", sentence)
    else:
        yield Finding(
            name, "pass", "The lineage and the evidence next to the model reveal neither private samples nor a seed."
        )


def _find(around: Surroundings, name: str) -> Path | None:
    return next((folder / name for folder in around.folders if (folder / name).is_file()), None)


def _by_lineage(records: Records, path: Path | None) -> Iterator[str]:
    if path is None:
        return
    lineage = _lineage(path)
    # The seed of the training would let anybody repeat its random choices.
    if lineage["seed"] is not None:
        yield f"{LINEAGE} states the seed"
    header = records.header
    # Under add-remove N is hidden, but the rate and the public batch size would give it away.
    if header.adjacency == "add-remove" and any("sampling_rate" in row["config"] for row in lineage["rows"]):
        yield f"{LINEAGE} states a sampling rate"
    withheld = {mechanism.id for mechanism in records.sgd if mechanism.noise_multiplier is None}
    # The rate follows from the noise and the public epsilon.
    if any("noise" in row["done"] and row["done"].get("mechanism") in withheld for row in lineage["rows"]):
        yield f"{LINEAGE} states the noise, from which the sampling rate follows"
    for part in header.private_parts:
        if lineage["data"]["digests"].get(part) is not None:
            yield f"{LINEAGE} states a digest of {part}"
        if header.adjacency == "add-remove" and part in lineage["data"]["counts"]:
            yield f"{LINEAGE} states the number of samples in {part}"


def _by_evidence(records: Records, path: Path | None) -> Iterator[str]:
    """Yield a leak: efficiency evidence lists every test sample, unless it was written with keyed identifiers."""
    if path is None or "test" not in records.header.private_parts:
        return
    with path.open("rb") as stream:
        # Only the header is read, up to a limit, because the evidence may have millions of lines.
        line = stream.readline(MAX_HEADER_BYTES)
    try:
        header = json.loads(line)
        private = header.get("auditor") is not None and header["seed"] is None
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise CertificateError(f"{path.name} does not begin with a header.") from error
    if not private:
        yield f"{EVIDENCE} lists the samples of test"


def _ledger_check(records: Records, path: Path | None) -> Finding:
    name = "touches_match_lineage"
    if records.header.lineage is None or path is None:
        return Finding(name, "skipped", f"{LINEAGE} is not bound by the records, or was not found next to the model.")
    if sha256_file(path) != records.header.lineage:
        return Finding(name, "fail", f"{path.name} is not the lineage of the recorded ledger.")
    try:
        stated = touches_of(_lineage(path))
    except CertificateError as error:
        return Finding(name, "fail", str(error))
    if stated != records.touches:
        # Missing reads are named first, because a maker would want to hide them.
        missing = [f"{touch.step} ({touch.part})" for touch in stated if touch not in records.touches]
        problems = f"it lacks {', '.join(missing[:5])}" if missing else "it has reads that the lineage does not have"
        return Finding(name, "fail", f"The ledger does not match the lineage: {problems}.")
    return Finding(name, "pass", f"The ledger matches {path.name}, {len(stated)} reads.")


def _lineage(path: Path) -> Mapping[str, Any]:
    try:
        values: Mapping[str, Any] = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{path.name} is not valid JSON: {error}.") from error
    validate(values, "lineage-1")
    return values
