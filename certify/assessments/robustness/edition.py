"""Editions of the robustness assessment: dated constants from the package's own YAML."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen

from certify.core.errors import CertificateError, UsageError
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import parse_document

NEWEST = "2026"
Positive = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class _Constants:
    """What stands in the file; what each constant means stands beside it there."""

    name: str
    date: str
    confidence: Annotated[float, Gt(0), Lt(1)]
    margin_points: Annotated[float, Gt(0)]
    corruption_set: str
    corruptions: Annotated[tuple[str, ...], MinLen(1)]
    most_samples: Positive
    broken_eps: Positive
    most_standing: Share
    least_held: Share
    most_copied: Share


@dataclass(frozen=True)
class RobustnessEdition(_Constants):
    """The constants of an edition.

    Attributes:
        digest: hex SHA-256 of the bytes of the edition's file.

    Example:
        >>> load_edition().most_samples
        500
    """

    digest: str


def load_edition(name: str = NEWEST) -> RobustnessEdition:
    """Load an edition by name.

    Raises:
        UsageError: there is no edition of that name; the nearest is named.
        CertificateError: its file is malformed.
    """
    folder = resources.files("certify.assessments.robustness") / "editions"
    known = {one.name.removesuffix(".yaml"): one for one in folder.iterdir() if one.name.endswith(".yaml")}
    if name not in known:
        raise unknown_name("edition of robustness", name, sorted(known))
    content = known[name].read_bytes()
    try:
        document = parse_document(content, f"Edition {name}")
        constants = validated(_Constants, document.values, "the edition", document.place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    return RobustnessEdition(**vars(constants), digest=hashlib.sha256(content).hexdigest())
