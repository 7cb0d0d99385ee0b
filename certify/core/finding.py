"""Findings: results of named checks, such as guards, checks of files, and checks of signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from certify.core.errors import CertificateError

FindingOutcome = Literal["pass", "fail", "unknown", "skipped", "note"]

SIGNED: tuple[FindingOutcome, ...] = ("pass", "fail", "unknown")
"""Outcomes of findings over records, which are signed; the other two occur only in checks of files."""

_MARKS = {"pass": "+", "fail": "X", "unknown": "?", "skipped": ".", "note": "!"}
_LEGEND = {"pass": "holds", "fail": "FAILED", "unknown": "not recorded", "skipped": "not checked", "note": "note"}


@dataclass(frozen=True)
class Finding:
    """A named check and its result.

    Attributes:
        name: name of the check.
        outcome: ``unknown`` if the records do not allow the check; ``skipped`` if it was not possible; ``note`` is not
            a failure, but something that readers should know.
        sentence: explanation of the result.

    Example:
        >>> print(Finding("signature", "pass", "Signed by key 0123456789abcdef."))
        + signature: Signed by key 0123456789abcdef.
    """

    name: str
    outcome: FindingOutcome
    sentence: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Finding:
        """Read a signed finding.

        Raises:
            CertificateError: a field is missing, unknown or not text, or the outcome is not a signed one.
        """
        if set(fields) != {"name", "outcome", "sentence"} or not all(isinstance(v, str) for v in fields.values()):
            raise CertificateError(
                "A finding in the certificate must have the strings 'name', 'outcome' and 'sentence', and no other "
                "fields."
            )
        if fields["outcome"] not in SIGNED:
            raise CertificateError(
                f"The outcome of finding {fields['name']} must be one of {', '.join(SIGNED)}, got "
                f"'{fields['outcome']}'."
            )
        return cls(fields["name"], fields["outcome"], fields["sentence"])

    def __str__(self) -> str:
        return f"{_MARKS[self.outcome]} {self.name}: {self.sentence}"


def legend(findings: Iterable[Finding]) -> str:
    """Return a legend of the marks that occur in some findings.

    Example:
        >>> legend([Finding("lineage_digest", "skipped", "lineage.json is not next to the file.")])
        '. = not checked'
    """
    outcomes = {finding.outcome for finding in findings}
    return ", ".join(f"{mark} = {_LEGEND[name]}" for name, mark in _MARKS.items() if name in outcomes)


def by_name(findings: Iterable[Finding], name: str) -> Finding | None:
    """Return the first finding of a name, or None."""
    return next((finding for finding in findings if finding.name == name), None)
