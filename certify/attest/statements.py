"""Statements of further assessments, stored next to a model rather than in it: ``statements/NAME.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from certify.assessment.registry import assessments
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, LeanmarkError

FOLDER = "statements"
ATTESTATIONS_FOLDER = "attestations"
"""Third-party declarations about properties of a model that cannot be measured; the scorecard reads them."""
MARKS_FOLDER = "marks"
"""Levels that schemes award to a model."""
RECORDS_SUFFIX = ".evidence.jsonl"
MAX_STATEMENTS = 64


def statement_path(folder: Path, assessment: str) -> Path:
    """Return the path of an assessment's statement, next to a model in a folder.

    Example:
        >>> statement_path(Path("graded"), "privacy").as_posix()
        'graded/statements/privacy.json'
    """
    return folder / FOLDER / f"{assessment}.json"


def records_path(statement: Path) -> Path:
    """Return the path of a statement's records.

    Example:
        >>> records_path(Path("graded/statements/privacy.json")).name
        'privacy.evidence.jsonl'
    """
    return statement.with_name(f"{statement.stem}{RECORDS_SUFFIX}")


def statement_files(folders: Sequence[Path]) -> list[Path]:
    """Return the statements next to a model, sorted by name.

    Raises:
        CertificateError: there are more than the limit.
    """
    return files_beside(FOLDER, folders)


def remove_outdated(folder: Path, digests: Mapping[str, str]) -> None:
    """Remove statements in a folder about a model that was replaced there, with their records.

    Args:
        folder: folder of the model.
        digests: digests of the model that is there now.
    """
    for path in statement_files([folder]):
        try:
            outdated = dict(Certificate.read(path).subject_digest) != dict(digests)
        except LeanmarkError:
            continue  # unreadable statement: verification reports it
        if outdated:
            path.unlink()
            records_path(path).unlink(missing_ok=True)


def remove_resting(folder: Path) -> None:
    """Remove the folder's statements that are derived from other statements, because one of those was replaced."""
    for assessment in assessments().values():
        if assessment.rests_on_others:
            path = statement_path(folder, assessment.name)
            path.unlink(missing_ok=True)
            records_path(path).unlink(missing_ok=True)


def files_beside(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return the ``.json`` files in a named folder next to a model, without duplicates, sorted by name.

    Raises:
        CertificateError: there are more than the limit.
    """
    # A file reached by two paths counts once.
    paths = {os.path.realpath(path): path for folder in folders for path in sorted((folder / name).glob("*.json"))}
    if len(paths) > MAX_STATEMENTS:
        raise CertificateError(f"Found {len(paths)} {name}, more than the limit of {MAX_STATEMENTS}; remove some.")
    return list(paths.values())
