"""Checks that a maker's ``lineage.json`` belongs to the files that it is given with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.attest.certificate import CERTIFICATE_NAME, Certificate, read_lineage
from certify.core.errors import CertificateError, LeanmarkError, UsageError
from certify.core.files import sha256_file
from certify.model_file.model_file import has_model_suffix


def users_lineage(path: Path) -> Mapping[str, Any]:
    """Read the ``lineage.json`` given by a user.

    Raises:
        UsageError: the file cannot be read, or is not a lineage.
    """
    try:
        return read_lineage(path)
    except CertificateError as error:
        raise UsageError(
            f"{path} is not a lineage.json written by leanmark compress ({str(error).rstrip('.')}); pass that file, or "
            "omit it."
        ) from error


def require_same_file(lineage: Mapping[str, Any], candidate: Path, normal: Path) -> None:
    """Reject a lineage of a different model, or of a different baseline.

    Args:
        lineage: parsed lineage.
        candidate: the given file, or the baseline.
        normal: the same model in normal form, under the name that it gets when sealed.

    Raises:
        UsageError: the lineage states the digest of another file.
    """
    # The lineage may name the file as written, in its normal form, or before an earlier measurement simplified it.
    stated, found = lineage["artifacts"].get(normal.name), sha256_file(candidate)
    if stated is not None and stated not in (found, sha256_file(normal), _before_simplifying(candidate, found)):
        raise UsageError(
            f"The lineage must state the digest of {candidate}, {found[:12]}..., got {stated[:12]}...; pass the "
            "lineage.json that was written with it, or omit it."
        )


def _before_simplifying(baseline: Path, digest: str) -> str | None:
    """Return the digest of the baseline that was simplified to this file, by the certificate next to it.

    The signature is not checked, because a lineage is the maker's own statement, too.
    """
    beside = baseline.with_name(CERTIFICATE_NAME)
    try:
        signed = Certificate.read(beside).predicate.get("baseline", {}) if beside.is_file() else {}
    except LeanmarkError:
        return None
    simplified = signed.get("simplified") if signed.get("file_digest") == digest else None
    return None if simplified is None else str(simplified["given_digest"])


def unchanged_beside(lineage: Mapping[str, Any], path: Path, out: Path) -> dict[str, Path]:
    """Return the unchanged files in ``out`` that a lineage lists, by name, except models.

    Args:
        lineage: parsed lineage.
        path: path of the lineage.
        out: folder of the results.
    """
    if path.resolve().parent != out.resolve():
        return {}
    stated: Mapping[str, str] = lineage["artifacts"]
    beside = {name: out / name for name in stated if not has_model_suffix(Path(name))}
    return {name: file for name, file in beside.items() if file.is_file() and sha256_file(file) == stated[name]}
