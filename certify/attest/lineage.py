"""Whether a ``lineage.json``, which a maker writes, belongs to the files that it is given with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.attest.certificate import read_lineage
from certify.core.errors import CertificateError, UsageError
from certify.core.files import sha256_file


def given_lineage(path: Path) -> Mapping[str, Any]:
    """Read the ``lineage.json`` that a user names.

    Raises:
        UsageError: the file can't be read, or is something else.
    """
    try:
        return read_lineage(path)
    except CertificateError as error:
        raise UsageError(
            f"{path} is not a lineage.json that leanmark compress wrote ({str(error).rstrip('.')}); give that one, or "
            "leave it out."
        ) from error


def require_same_file(lineage: Mapping[str, Any], candidate: Path, normal: Path) -> None:
    """Refuse a lineage that is about another model.

    Args:
        lineage: as it was read.
        candidate: the file that was given.
        normal: the same in its normal form, under the name that it gets when it is sealed.

    Raises:
        UsageError: the lineage states the digest of another file.
    """
    stated, found = lineage["artifacts"].get(normal.name), sha256_file(candidate)
    if stated is not None and stated not in (found, sha256_file(normal)):
        raise UsageError(
            f"The lineage is about another file than {candidate} (it states the digest {stated[:12]}..., found "
            f"{found[:12]}...); give the lineage.json that was written with it, or leave it out."
        )


def unchanged_beside(lineage: Mapping[str, Any], path: Path, out: Path) -> dict[str, Path]:
    """What lies beside a lineage in ``out`` as its maker wrote it, by name; models aside.

    Args:
        lineage: as it was read.
        path: where it was read.
        out: the folder of the results.
    """
    if path.resolve().parent != out.resolve():
        return {}
    stated: Mapping[str, str] = lineage["artifacts"]
    beside = {name: out / name for name in stated if not name.endswith((".onnx", ".pt2"))}
    return {name: file for name, file in beside.items() if file.is_file() and sha256_file(file) == stated[name]}
