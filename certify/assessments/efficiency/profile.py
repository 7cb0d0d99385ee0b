"""The profile: all figures with their intervals and all guards, computed from the evidence alone."""

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
    """Derive all figures of a pair of models, or of a single one.

    Raises:
        CertificateError: a record has a value that cannot have been observed.
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
    """Compute the profile: a pure function, reproducible to 1e-9 anywhere.

    Args:
        evidence: all recorded observations.
        edition: edition with the constants.

    Raises:
        CertificateError: a record has a value that cannot have been observed.
    """
    return Profile(figures(evidence, edition), judge_guards(evidence, edition))
