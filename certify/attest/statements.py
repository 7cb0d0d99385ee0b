"""Statements of further assessments, which lie beside a model rather than in it: ``statements/NAME.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from certify.assessment.registry import assessments
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, LeanmarkError

FOLDER = "statements"
RECORDS_SUFFIX = ".evidence.jsonl"
MAX_STATEMENTS = 64


def statement_path(folder: Path, assessment: str) -> Path:
    """Where the statement of an assessment lies, beside a model in a folder."""
    return folder / FOLDER / f"{assessment}.json"


def records_path(statement: Path) -> Path:
    """Where the records of a statement lie."""
    return statement.with_name(f"{statement.stem}{RECORDS_SUFFIX}")


def statement_files(folders: Sequence[Path]) -> list[Path]:
    """Find the statements beside a model, in the order of their names.

    Raises:
        CertificateError: there are more than anybody would look through.
    """
    return files_beside(FOLDER, folders)


def remove_outdated(folder: Path, digests: Mapping[str, str]) -> None:
    """Remove the statements of a folder that are about a model that another has replaced there, with their records.

    Args:
        folder: of the model.
        digests: of the model that lies there now.
    """
    for path in statement_files([folder]):
        try:
            outdated = dict(Certificate.read(path).subject_digest) != dict(digests)
        except LeanmarkError:
            continue  # not a statement that can be read: verification names it
        if outdated:
            path.unlink()
            records_path(path).unlink(missing_ok=True)


def remove_resting(folder: Path) -> None:
    """Remove the statements of a folder that count others, since one of those was replaced."""
    for room in assessments().values():
        if room.rests_on_others:
            path = statement_path(folder, room.name)
            path.unlink(missing_ok=True)
            records_path(path).unlink(missing_ok=True)


def files_beside(name: str, folders: Sequence[Path]) -> list[Path]:
    """Find the ``.json`` files in the folder of a name beside a model, each once, in the order of their names.

    Raises:
        CertificateError: there are more than anybody would look through.
    """
    paths = {os.path.realpath(path): path for folder in folders for path in sorted((folder / name).glob("*.json"))}
    if len(paths) > MAX_STATEMENTS:
        raise CertificateError(f"There are {len(paths)} {name}; at most {MAX_STATEMENTS} are read.")
    return list(paths.values())
