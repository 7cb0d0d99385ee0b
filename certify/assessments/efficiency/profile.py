"""The profile: every figure with its interval and every guard, computed from the evidence alone."""

from __future__ import annotations

from certify.assessment.profile import Profile
from certify.assessments.efficiency.accuracy import accuracy_estimates
from certify.assessments.efficiency.classes import class_estimates, class_losses
from certify.assessments.efficiency.cost import cost_estimates
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.size import size_estimates
from certify.core.evidence import Evidence
from certify.core.statistics.ratio import check_windows


def figures(evidence: Evidence, edition: Edition) -> Figures:
    """Derive every figure of a pair of models, or of one alone.

    Raises:
        CertificateError: a record holds a value that cannot have been observed.
    """
    check_windows(evidence.windows)
    classes = class_losses(evidence, edition)
    estimates = {
        **cost_estimates(evidence, edition),
        **accuracy_estimates(evidence, edition),
        **class_estimates(classes, edition),
        **size_estimates(evidence),
    }
    return Figures(estimates, classes)


def derive(evidence: Evidence, edition: Edition) -> Profile:
    """Compute the profile: a pure function, the same to 1e-9 wherever it is computed again.

    Args:
        evidence: everything that was observed.
        edition: constants to judge it by.

    Raises:
        CertificateError: a record holds a value that cannot have been observed.
    """
    return Profile(figures(evidence, edition), judge_guards(evidence, edition))
