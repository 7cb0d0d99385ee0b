"""Editions of the data-use statement: dated constants, read from the package's own YAML, never edited after release."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

from certify.core.errors import CertificateError, UsageError
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import parse_document


@dataclass(frozen=True)
class _Constants:
    """What stands in the file, with what each constant means beside it."""

    name: str
    date: str
    may_wait_for_auditor: tuple[str, ...]


@dataclass(frozen=True)
class Edition(_Constants):
    """All constants.

    Attributes:
        digest: hex SHA-256 of the bytes of the edition's file.
    """

    digest: str


@functools.cache
def load_edition(name: str = "2026") -> Edition:
    """Load an edition by name.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: the edition's file is malformed (a damaged installation).
    """
    folder = resources.files("certify.assessments.data_use") / "editions"
    names = sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))
    if name not in names:
        raise unknown_name("edition of data_use", name, names)
    content = (folder / f"{name}.yaml").read_bytes()
    try:
        document = parse_document(content, f"Edition {name}")
        constants = validated(_Constants, document.values, "the edition", document.place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    return Edition(**vars(constants), digest=hashlib.sha256(content).hexdigest())
