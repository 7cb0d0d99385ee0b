"""Checks that a maker's ``lineage.json`` belongs to the files that it is given with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.attest.certificate import read_lineage
from certify.core.errors import CertificateError, UsageError
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
    # The lineage may name the file as written or in its normal form.
    stated, found = lineage["artifacts"].get(normal.name), sha256_file(candidate)
    if stated is not None and stated not in (found, sha256_file(normal)):
        raise UsageError(
            f"The lineage must state the digest of {candidate}, {found[:12]}..., got {stated[:12]}...; pass the "
            "lineage.json that was written with it, or omit it."
        )


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
