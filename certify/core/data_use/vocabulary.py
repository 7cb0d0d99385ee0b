"""Words of a use policy: actions of leanmark's own; purposes and legal bases of the W3C Data Privacy Vocabulary.

DPV is at https://w3id.org/dpv. A purpose is a term of it (``dpv:AcademicResearch``), or any other IRI, which covers
itself alone. No RDF is read: of the hierarchy, the part that stands here counts.
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
"""What reading a part of a data set is for, where nothing else is said."""

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
"""Purposes by the next broader one."""

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
"""Names that the command takes for terms."""


def purpose(text: str) -> str:
    """A purpose as policies write it, from a short name, a term of DPV, or an IRI.

    Raises:
        UsageError: it is none of them; the nearest is named.

    Example:
        >>> purpose("research"), purpose("https://example.org/triage")
        ('dpv:ResearchAndDevelopment', 'https://example.org/triage')
    """
    if text in SHORT:
        return SHORT[text]
    if text in BROADER or "://" in text:
        return text
    raise unknown_name("purpose", text, [*SHORT, *BROADER], "An IRI of your own also names a purpose.")


def action(text: str) -> Action:
    """An action by its name.

    Raises:
        UsageError: there is none of that name; the nearest is named.
    """
    found = next((one for one in ACTIONS if one == text), None)
    if found is None:
        raise unknown_name("action", text, ACTIONS)
    return found


def covers(broad: str, narrow: str) -> bool:
    """Whether a purpose is another one, or a broader one of it.

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
    """Refuse what is neither a known term nor an IRI.

    Raises:
        UsageError: names the first one, and the place.
    """
    for one in purposes:
        if one not in BROADER and "://" not in one:
            raise UsageError(f"{where}: the purpose {one!r} is neither a known term of DPV nor an IRI; write one.")
