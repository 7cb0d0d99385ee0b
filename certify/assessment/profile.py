"""The profile of an assessment: all figures with intervals and all findings derived from its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.dataframe import dataframe, figure_rows
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.finding import Finding, by_name


@dataclass(frozen=True)
class Profile:
    """Figures and findings.

    Attributes:
        estimates: estimates by name; an unavailable figure is absent, never 0.
        guards: outcome and sentence of every named check of the records.
    """

    estimates: Mapping[str, Estimate]
    guards: tuple[Finding, ...]

    def guard(self, name: str) -> Finding | None:
        """Return a guard's finding; None if it was not evaluated."""
        return by_name(self.guards, name)

    def __getitem__(self, name: str) -> Estimate:
        """Return a figure by its name, such as ``profile["energy_ratio"]``."""
        return self.estimates[name]

    def to_dataframe(self) -> Any:
        """Return the figures as a ``pandas.DataFrame``, one per row.

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> from certify.core.estimate import Estimate
            >>> profile = Profile({"macs_ratio": Estimate.exact(0.5, "1", "count")}, ())
            >>> profile.to_dataframe()  # doctest: +SKIP
            >>> float(profile["macs_ratio"])
            0.5
        """
        return dataframe(figure_rows(self.estimates))

    def __repr__(self) -> str:
        rows = [("figure", "value", "95 % interval", "unit")]
        for name, estimate in self.estimates.items():
            ends = "" if estimate.low == estimate.high else f"{estimate.low:.4g} to {estimate.high:.4g}"
            rows.append((name, f"{estimate.value:.4g}", ends, "" if estimate.unit == "1" else estimate.unit))
        first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
        lines = [f"{a:<{first}}  {b:>{second}}  {c:>{third}}  {d}".rstrip() for a, b, c, d in rows]
        passed = sum(guard.outcome == "pass" for guard in self.guards)
        lines += [
            f"{guard.name}: {guard.outcome}. {guard.sentence}" for guard in self.guards if guard.outcome != "pass"
        ]
        return "\n".join([*lines, f"{passed} of {len(self.guards)} checks passed"])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "estimates": {name: estimate.to_json() for name, estimate in self.estimates.items()},
            "guards": [guard.to_json() for guard in self.guards],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Profile:
        """Parse the JSON of :meth:`to_json`.

        Raises:
            CertificateError: a part is missing, unknown or of the wrong type, or a guard appears twice.
        """
        if not isinstance(fields, Mapping) or set(fields) != {"estimates", "guards"}:
            raise CertificateError("The profile in the certificate must have estimates and guards.")
        estimates, guards = fields["estimates"], fields["guards"]
        if not isinstance(estimates, Mapping) or not all(isinstance(part, Mapping) for part in estimates.values()):
            raise CertificateError("The profile's estimates must be a mapping of mappings.")
        if not isinstance(guards, list) or not all(isinstance(part, Mapping) for part in guards):
            raise CertificateError("The profile's guards must be a list of mappings.")
        results = tuple(Finding.from_json(part) for part in guards)
        # guard() returns the first match, which would hide a second guard of that name.
        if len({result.name for result in results}) < len(results):
            raise CertificateError("A guard appears twice in the profile of the certificate.")
        return cls({str(name): Estimate.from_json(part) for name, part in estimates.items()}, results)
