"""Statements of further assessments, stored next to a model rather than in it: ``statements/NAME.json``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from certify.assessment.registry import assessments
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, LeanmarkError, UsageError
from certify.core.progress import Progress
from certify.model_file.subject import subject_digests, subject_name

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


def remove_outdated(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """Remove statements in a folder about a model that was replaced there, with their records.

    Args:
        folder: folder of the model.
        digests: digests of the model that is there now.

    Returns:
        The names of the removed statements.
    """
    outdated = [path for path, about in _subjects(folder) if about != dict(digests)]
    for path in outdated:
        path.unlink()
        records_path(path).unlink(missing_ok=True)
    return [path.name for path in outdated]


def discard_outdated(folder: Path, digests: Mapping[str, str], progress: Progress) -> None:
    """Remove statements like :func:`remove_outdated`, and say so."""
    if names := remove_outdated(folder, digests):
        progress.say(f"Removed from {folder / FOLDER}, because another model was there: {', '.join(names)}.")


def require_statements_kept(model: Path, folder: Path, write: Callable[[Path], None]) -> None:
    """Refuse, before anything is measured, to change a file that statements in its folder are about.

    A seal does not change what statements are bound to, but another preprocessing contract does.

    Args:
        model: the file.
        folder: folder into which it will be written again.
        write: writes the file to a path as it will be written, without a seal.

    Raises:
        UsageError: the file would be changed, and the statements, such as that of an audit, would be lost.
    """
    if not (folder / FOLDER).is_dir():
        return  # nothing to lose, so a large file is not read
    digests = subject_digests(model)
    named = [path.name for path, about in _subjects(folder) if about == digests]
    if not named:
        return
    with tempfile.TemporaryDirectory() as temporary:
        written = Path(temporary, subject_name(model))
        write(written)
        if subject_digests(written) == digests:
            return
    raise UsageError(
        f"{', '.join(named)} in {folder / FOLDER} would be lost, because the given preprocessing changes {model.name}; "
        "leave it out, or certify into another folder."
    )


def _subjects(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    for path in statement_files([folder]):
        # An unreadable statement is reported by verification.
        with contextlib.suppress(LeanmarkError):
            yield path, dict(Certificate.read(path).subject_digest)


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
