"""Editions of an assessment: dated constants from its package's YAML files, never edited after release."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TypeVar

from certify.core.errors import CertificateError, UsageError
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import parse_document

T = TypeVar("T")


def edition_files(package: str) -> dict[str, bytes]:
    """Return all edition files of an assessment's package, by name."""
    folder = resources.files(package) / "editions"
    suffix = ".yaml"
    return {
        path.name.removesuffix(suffix): path.read_bytes() for path in folder.iterdir() if path.name.endswith(suffix)
    }


def read_edition(package: str, name: str, constants: type[T]) -> tuple[T, str]:
    """Read an edition by name.

    Args:
        package: package of the assessment; its folder ``editions`` contains the files.
        name: name such as ``2026``.
        constants: dataclass with ``name`` among its fields.

    Returns:
        The constants, and the hex SHA-256 of the file.

    Raises:
        UsageError: the edition is unknown; the nearest name is suggested.
        CertificateError: its file is malformed or has another name (a damaged installation).
    """
    known, assessment = edition_files(package), package.rpartition(".")[2]
    if name not in known:
        raise unknown_name(f"{assessment} edition", name, sorted(known))
    try:
        document = parse_document(known[name], f"Edition {name}")
        found = validated(constants, document.values, "the edition", document.place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    if (stated := document.values["name"]) != name:
        raise CertificateError(
            f"Edition {name} of {assessment} is named '{stated}' in its file; reinstall the package."
        )
    return found, hashlib.sha256(known[name]).hexdigest()
