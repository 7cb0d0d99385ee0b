"""A named check and what it found: the one form of every guard, check of a file, and check of a signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from certify.core.errors import CertificateError

FindingOutcome = Literal["pass", "fail", "unknown", "skipped", "note"]

SIGNED: tuple[FindingOutcome, ...] = ("pass", "fail", "unknown")
"""Outcomes of findings over records, which are signed; the other two occur only while a file is checked."""

_MARKS = {"pass": "+", "fail": "X", "unknown": "?", "skipped": ".", "note": "!"}
_LEGEND = {"pass": "holds", "fail": "FAILED", "unknown": "not recorded", "skipped": "not checked", "note": "to know"}


@dataclass(frozen=True)
class Finding:
    """One question and its answer.

    Attributes:
        name: of the question.
        outcome: ``unknown`` if nothing that answers it was recorded; ``skipped`` if it could not be asked; ``note`` is
            not a failure, but something that a reader should know.
        sentence: what was found.

    Example:
        >>> print(Finding("signature", "pass", "Signed by key 0123456789abcdef."))
        + signature: Signed by key 0123456789abcdef.
    """

    name: str
    outcome: FindingOutcome
    sentence: str

    def to_json(self) -> dict[str, str]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Finding:
        """Read a signed finding.

        Raises:
            CertificateError: a field is missing, unknown or not text, or the outcome is not one that is signed.
        """
        if set(fields) != {"name", "outcome", "sentence"} or not all(isinstance(v, str) for v in fields.values()):
            raise CertificateError("A finding in the certificate should have the texts name, outcome and sentence.")
        if fields["outcome"] not in SIGNED:
            raise CertificateError(f"Finding {fields['name']} has the outcome '{fields['outcome']}', not pass or fail.")
        return cls(fields["name"], fields["outcome"], fields["sentence"])

    def __str__(self) -> str:
        return f"{_MARKS[self.outcome]} {self.name}: {self.sentence}"


def legend(findings: Iterable[Finding]) -> str:
    """What the marks of some findings mean, those that occur.

    Example:
        >>> legend([Finding("lineage_digest", "skipped", "lineage.json does not lie beside the file.")])
        '. not checked'
    """
    outcomes = {finding.outcome for finding in findings}
    return ", ".join(f"{mark} {_LEGEND[name]}" for name, mark in _MARKS.items() if name in outcomes)


def by_name(findings: Iterable[Finding], name: str) -> Finding | None:
    """The first finding of a name; None where there is none."""
    return next((finding for finding in findings if finding.name == name), None)
