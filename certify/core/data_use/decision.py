"""Decision of whether a policy permits a use: a pure function, so anybody can recompute it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from certify.core.data_use.policy import Rule, UsePolicy
from certify.core.data_use.vocabulary import Action, covers


@dataclass(frozen=True)
class Request:
    """An intended use.

    Attributes:
        action: intended action.
        purpose: intended purpose.
        recipient: who acts; empty if not named, which only a rule for everybody permits.
        time: time of the use.
    """

    action: Action
    purpose: str
    recipient: str
    time: str


@dataclass(frozen=True)
class Decision:
    """The answer to a request.

    Attributes:
        permitted: whether the use is permitted.
        sentence: the reason, for human readers.
        until: time at which to ask again; None if never.
    """

    permitted: bool
    sentence: str
    until: str | None = None


def decide(policy: UsePolicy, request: Request) -> Decision:
    """Decide on a request; anything that the policy does not permit is forbidden.

    A request for a broad purpose is refused if a narrower one is prohibited, since that may be intended.

    Args:
        policy: the use policy.
        request: the intended use.

    Example:
        >>> from certify.core.data_use.policy import BoundData
        >>> data = BoundData("digits", "00" * 32, "11" * 32)
        >>> policy = UsePolicy("p", "2026-01-01T00:00:00Z", "Clinic", "a@example.org", data, (),
        ...                    (Rule(("train",), ("dpv:ResearchAndDevelopment",)),), (), "dpv:Consent", "required",
        ...                    "by letter", None, True)
        >>> decide(policy, Request("train", "dpv:AcademicResearch", "", "2026-02-01T00:00:00Z")).permitted
        True
        >>> decide(policy, Request("train", "dpv:Marketing", "", "2026-02-01T00:00:00Z")).permitted
        False
    """
    use = f"{request.action} for {request.purpose}" + (f" by {request.recipient}" if request.recipient else "")
    begins = f"The use policy {policy.name} ({policy.digest[:12]})"
    if request.time < policy.issued:
        return Decision(False, f"{begins} permits nothing before {policy.issued}.", policy.issued)
    if policy.retention is not None and request.time >= policy.retention:
        return Decision(False, f"{begins} ended at {policy.retention}: the data may not be used any more.")
    if policy.no_sale and request.action == "sell":
        return Decision(False, f"{begins} forbids every sale.")
    for rule in policy.prohibitions:
        if _about(rule, request) and _forbids(rule, request):
            return Decision(False, f"{begins} prohibits {use}.", rule.until)
    fitting = [rule for rule in policy.permissions if request.action in rule.actions and _permits(rule, request)]
    holding = [rule for rule in fitting if _holds(rule, request.time)]
    if not holding:
        ended = max((rule.until for rule in fitting if rule.until is not None), default=None)
        why = f" since {ended}" if ended is not None else ""
        return Decision(False, f"{begins} does not permit {use}{why}.")
    return Decision(True, f"{begins} permits {use}.", _end(policy, holding, request))


def _about(rule: Rule, request: Request) -> bool:
    return request.action in rule.actions and _holds(rule, request.time)


def _holds(rule: Rule, time: str) -> bool:
    return rule.until is None or time < rule.until


def _forbids(rule: Rule, request: Request) -> bool:
    # A request without a recipient may be for any recipient, so a prohibition for some of them applies.
    met = not rule.recipients or not request.recipient or request.recipient in rule.recipients
    # A prohibited purpose also forbids a broader one, which includes it.
    return met and any(
        covers(purpose, request.purpose) or covers(request.purpose, purpose) for purpose in rule.purposes
    )


def _permits(rule: Rule, request: Request) -> bool:
    met = not rule.recipients or request.recipient in rule.recipients
    return met and any(covers(purpose, request.purpose) for purpose in rule.purposes)


def _end(policy: UsePolicy, holding: list[Rule], request: Request) -> str | None:
    """Return the first time at which the answer may change."""

    def ends() -> Iterator[str]:
        if policy.retention is not None:
            yield policy.retention
        if all(rule.until is not None for rule in holding):
            yield max(rule.until for rule in holding if rule.until is not None)

    return min(ends(), default=None)
