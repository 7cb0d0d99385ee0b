"""Comparison of the totals with the answers that the efficiency evidence lists per sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certify.assessment.assessment import Surroundings
from certify.assessments.social.records import Records, Total
from certify.core.finding import Finding
from certify.core.statistics.proportions import PairedTable

ANSWERS_NAME = "evidence.jsonl"
"""File next to a certified model; its own certificate says whether it is the signed one."""
HEADER, PREDICTION = b'"kind":"header"', b'"kind":"prediction"'


def check_answers(around: Surroundings) -> Iterator[Finding]:
    """Recount the totals from the answers next to the model, if they belong to the same model and samples."""
    name, records = "totals_match_answers", around.records
    path = next((folder / ANSWERS_NAME for folder in around.folders if (folder / ANSWERS_NAME).is_file()), None)
    if not isinstance(records, Records) or path is None or not records.compares:
        yield Finding(name, "skipped", "No answers of both models were found next to the model.")
        return
    try:
        header, predictions = _read(path)
        data = header["data"]
        same = header["models"]["candidate"]["content_digest"] == records.header.model.leanmarkContent
        # Answers of another model do not contradict this one.
        if not same or data["test_digest"] != records.header.data.test_digest:
            yield Finding(name, "skipped", f"The answers in {path.name} belong to another model or other samples.")
            return
        tables = _tables(predictions, records.header.decision == "binary")
    except (OSError, ValueError, TypeError, LookupError) as error:
        yield Finding(name, "fail", f"{path.name} cannot be read: {str(error)[:100]}.")
        return
    yield _agree(name, records, tables)
    columns = data.get("columns")
    if columns is not None:
        follows = columns == records.header.data.columns_digest
        message = "match" if follows else "do not match"
        yield Finding("columns_certified", "pass" if follows else "fail", f"The columns {message} the certificate.")


def _agree(name: str, records: Records, tables: Mapping[int | None, PairedTable]) -> Finding:
    totals = {total.label: total.table for total in records.of(Total)}
    if totals == dict(tables):
        return Finding(name, "pass", "The totals match the answers per sample.")
    label = next(label for label in {*totals, *tables} if totals.get(label) != tables.get(label))
    return Finding(name, "fail", f"The total of label {label} does not match the answers per sample.")


def _read(path: Path) -> tuple[Any, list[Any]]:
    header, predictions = None, []
    with path.open("rb") as lines:
        for line in lines:
            if header is None and HEADER in line:
                header = json.loads(line)
            elif PREDICTION in line:
                predictions.append(json.loads(line))
    if header is None:
        raise ValueError("it has no header")
    # Reversed, so that the first of equal samples is kept, as in the tables.
    first = {prediction["digest"]: prediction for prediction in reversed(predictions)}
    return header, list(first.values())


def _tables(predictions: list[Any], binary: bool) -> dict[int | None, PairedTable]:
    columns = ("label", "baseline_top1", "candidate_top1")
    labels, baseline, candidate = (
        np.array([prediction[name] for prediction in predictions], dtype=np.int64) for name in columns
    )
    # Binary cells are divided by label, so totals are too.
    strata: tuple[int | None, ...] = (0, 1) if binary else (None,)
    found = {}
    for label in strata:
        members = np.ones(len(labels), dtype=np.bool_) if label is None else labels == label
        found[label] = PairedTable.from_correct((baseline == labels)[members], (candidate == labels)[members])
    return found
