"""Vocabulary of use policies: leanmark's actions, and purposes and legal bases of the W3C Data Privacy Vocabulary.

DPV is at https://w3id.org/dpv. A purpose is a DPV term (``dpv:AcademicResearch``), or any other IRI, which covers only
itself. RDF is not read: only the part of the hierarchy listed here counts.
"""

from __future__ import annotations

from typing import Literal, get_args

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name

Action = Literal[
    "train", "finetune", "distil", "calibrate", "evaluate", "publish-weights", "publish-evidence", "share", "sell"
]
ACTIONS: tuple[Action, ...] = get_args(Action)

ACTION_OF_PART: dict[str, Action] = {
    "train": "train",
    "calibration": "calibrate",
    "validation": "evaluate",
    "test": "evaluate",
}
"""Default action for reads of each part of a data set."""

BASES = (
    "dpv:Consent",
    "dpv:Contract",
    "dpv:LegalObligation",
    "dpv:LegitimateInterest",
    "dpv:OfficialAuthorityOfController",
    "dpv:PublicInterest",
    "dpv:VitalInterest",
)

BROADER: dict[str, str | None] = {
    "dpv:ResearchAndDevelopment": None,
    "dpv:AcademicResearch": "dpv:ResearchAndDevelopment",
    "dpv:CommercialResearch": "dpv:ResearchAndDevelopment",
    "dpv:NonCommercialResearch": "dpv:ResearchAndDevelopment",
    "dpv:Marketing": None,
    "dpv:Advertising": "dpv:Marketing",
    "dpv:PersonalisedAdvertising": "dpv:Advertising",
    "dpv:TargetedAdvertising": "dpv:PersonalisedAdvertising",
    "dpv:DirectMarketing": "dpv:Marketing",
    "dpv:ServiceProvision": None,
    "dpv:PublicBenefit": None,
    "dpv:EnforceSecurity": None,
}
"""Next broader purpose of each purpose."""

SHORT = {
    "research": "dpv:ResearchAndDevelopment",
    "academic-research": "dpv:AcademicResearch",
    "commercial-research": "dpv:CommercialResearch",
    "non-commercial-research": "dpv:NonCommercialResearch",
    "marketing": "dpv:Marketing",
    "advertising": "dpv:Advertising",
    "service": "dpv:ServiceProvision",
    "public-benefit": "dpv:PublicBenefit",
    "security": "dpv:EnforceSecurity",
}
"""Short names of terms for the command line."""


def purpose(text: str) -> str:
    """Return a purpose as written in policies, from a short name, a DPV term or an IRI.

    Raises:
        UsageError: it is none of these; the nearest is suggested.

    Example:
        >>> purpose("research"), purpose("https://example.org/triage")
        ('dpv:ResearchAndDevelopment', 'https://example.org/triage')
    """
    if text in SHORT:
        return SHORT[text]
    if text in BROADER or "://" in text:
        return text
    raise unknown_name("purpose", text, [*SHORT, *BROADER], "Any IRI of your own is also a valid purpose.")


def action(text: str) -> Action:
    """Return an action by its name.

    Raises:
        UsageError: unknown name; the nearest is suggested.
    """
    found = next((action for action in ACTIONS if action == text), None)
    if found is None:
        raise unknown_name("action", text, ACTIONS)
    return found


def covers(broad: str, narrow: str) -> bool:
    """Return whether a purpose equals another one or is broader.

    Example:
        >>> covers("dpv:Marketing", "dpv:TargetedAdvertising"), covers("dpv:AcademicResearch", "dpv:Marketing")
        (True, False)
    """
    at: str | None = narrow
    while at is not None:
        if at == broad:
            return True
        at = BROADER.get(at)
    return False


def require_purposes(purposes: tuple[str, ...], where: str) -> None:
    """Refuse purposes that are neither known terms nor IRIs.

    Raises:
        UsageError: a purpose is invalid; the message names the first one and its location.
    """
    for purpose in purposes:
        if purpose not in BROADER and "://" not in purpose:
            raise UsageError(f"{where}: a purpose must be a known DPV term or an IRI, got {purpose!r}.")
