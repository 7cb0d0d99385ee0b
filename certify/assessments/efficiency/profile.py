"""The profile: every figure with its interval and every guard, computed from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.assessments.efficiency.accuracy import accuracy_estimates
from certify.assessments.efficiency.classes import class_estimates, class_losses
from certify.assessments.efficiency.cost import cost_estimates
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.size import size_estimates
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.finding import Finding
from certify.core.statistics.ratio import check_windows


@dataclass(frozen=True)
class Profile:
    """What was found out about a pair of models, or one alone.

    Attributes:
        estimates: by name; a figure that could not be had is absent, never 0.
        guards: outcome and sentence of every guard that was asked.
    """

    estimates: Mapping[str, Estimate]
    guards: tuple[Finding, ...]

    def guard(self, name: str) -> Finding | None:
        """A guard's result, or None where it was not judged."""
        return next((guard for guard in self.guards if guard.name == name), None)

    def __repr__(self) -> str:
        lines = [f"  {name}: {estimate}" for name, estimate in self.estimates.items()]
        lines += [f"  {guard.name}: {guard.outcome}" for guard in self.guards]
        return "\n".join(["Profile(", *lines, ")"])

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "estimates": {name: estimate.to_json() for name, estimate in self.estimates.items()},
            "guards": [guard.to_json() for guard in self.guards],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Profile:
        """Inverse of :meth:`to_json`.

        Raises:
            CertificateError: a part is missing, unknown or of the wrong type, or a guard stands twice.
        """
        if not isinstance(fields, Mapping) or set(fields) != {"estimates", "guards"}:
            raise CertificateError("The profile in the certificate should hold estimates and guards.")
        estimates, guards = fields["estimates"], fields["guards"]
        if not isinstance(estimates, Mapping) or not all(isinstance(part, Mapping) for part in estimates.values()):
            raise CertificateError("The profile's estimates should be a mapping of mappings.")
        if not isinstance(guards, list) or not all(isinstance(part, Mapping) for part in guards):
            raise CertificateError("The profile's guards should be a list of mappings.")
        results = tuple(Finding.from_json(part) for part in guards)
        if len({result.name for result in results}) < len(results):
            raise CertificateError("A guard stands twice in the profile of the certificate.")
        return cls({str(name): Estimate.from_json(part) for name, part in estimates.items()}, results)


def derive(evidence: Evidence, edition: Edition) -> Profile:
    """Compute the profile: a pure function, the same to 1e-9 wherever it is computed again.

    Args:
        evidence: everything that was observed.
        edition: constants to judge it by.

    Raises:
        CertificateError: a record holds a value that can't have been observed.
    """
    check_windows(evidence.windows)
    classes = class_losses(evidence, edition)
    estimates = {
        **cost_estimates(evidence, edition),
        **accuracy_estimates(evidence, edition),
        **class_estimates(classes, edition),
        **size_estimates(evidence),
    }
    return Profile(Figures(estimates, classes), judge_guards(evidence, edition))
