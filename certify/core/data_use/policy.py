"""A use policy: what may be done with data, what for, by whom and until when; canonical JSON, named by its digest.

Everything in it is as its author states it. What a policy does not permit is not permitted; a prohibition outweighs
every permission. The form is a small profile of ODRL 2.2 (permission, prohibition, action, constraint).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import BASES, Action, require_purposes
from certify.core.errors import CertificateError, UsageError
from certify.core.schema import validate
from certify.core.validation import validated

SCHEMA = "use-policy-1"
VERSION = 1


@dataclass(frozen=True)
class Rule:
    """A permission or a prohibition.

    Attributes:
        actions: that it is about.
        purposes: terms of DPV, or IRIs; narrower ones are covered.
        recipients: who may act, or who may not; empty for everybody.
        until: the time from which it no longer holds; None for as long as the policy does.
    """

    actions: tuple[Action, ...]
    purposes: tuple[str, ...]
    recipients: tuple[str, ...] = ()
    until: str | None = None


@dataclass(frozen=True)
class Supplier:
    """Who supplied data, as stated.

    Attributes:
        name: of a person or organisation.
        how: in which way, and when.
        digest: hex SHA-256 of a document about it; None where there is none.
    """

    name: str
    how: str
    digest: str | None = None


@dataclass(frozen=True)
class BoundData:
    """The data that a policy is about.

    Attributes:
        name: for people.
        root: of the tree over the keyed identifiers of all records (:mod:`certify.core.data_use.merkle`).
        key: id of the data key of the identifiers.
    """

    name: str
    root: str
    key: str


@dataclass(frozen=True)
class UsePolicy:
    """What may be done with data.

    Attributes:
        name: of the policy.
        issued: time at which it was issued; it permits nothing before.
        controller: who answers for the data.
        contact: where to ask, and to withdraw.
        data: that it is bound to.
        suppliers: of the data, as stated.
        permissions: what is permitted.
        prohibitions: what is not, whatever is permitted.
        legal_basis: a term of DPV, as stated.
        consent: whether a record may be used only while a receipt covers it, or unless it was withdrawn.
        withdrawal: how a person withdraws, in words.
        retention: the time from which the data may not be used at all; None without a limit.
        no_sale: whether the data may never be sold, whatever is permitted.

    Example:
        >>> rule = Rule(("train",), ("dpv:AcademicResearch",))
        >>> data = BoundData("digits", "00" * 32, "11" * 32)
        >>> one = UsePolicy("p", "2026-01-01T00:00:00Z", "Clinic", "a@example.org", data, (), (rule,), (),
        ...                 "dpv:Consent", "required", "by letter", None, True)
        >>> UsePolicy.parse(one.content(), "policy.json") == one
        True
    """

    name: str
    issued: str
    controller: str
    contact: str
    data: BoundData
    suppliers: tuple[Supplier, ...]
    permissions: tuple[Rule, ...]
    prohibitions: tuple[Rule, ...]
    legal_basis: str
    consent: Literal["required", "unless-withdrawn"]
    withdrawal: str
    retention: str | None
    no_sale: bool

    def __post_init__(self) -> None:
        if self.legal_basis not in BASES:
            raise UsageError(f"The policy's legal basis {self.legal_basis!r} is none of {', '.join(BASES)}.")
        if self.legal_basis == "dpv:Consent" and self.consent != "required":
            raise UsageError("The policy rests on consent, so its field 'consent' must be 'required'.")
        times = [("issued", self.issued), ("retention", self.retention)]
        for rule in (*self.permissions, *self.prohibitions):
            require_purposes(rule.purposes, "The policy")
            times.append(("until", rule.until))
        for field, time in times:
            if time is not None and not is_time(time):
                raise UsageError(f"The policy's '{field}' is {time!r}, not a time such as 2026-11-26T09:00:00Z.")

    @classmethod
    def parse(cls, content: bytes, name: str) -> UsePolicy:
        """Read a policy.

        Args:
            content: canonical JSON.
            name: of the file, for errors.

        Raises:
            CertificateError: it is not canonical JSON of the schema.
        """
        return cls.from_json(parse_canonical(content.removesuffix(b"\n"), name), name)

    @classmethod
    def from_json(cls, values: Any, name: str) -> UsePolicy:
        """Read a policy from JSON values, in the form of :meth:`to_json`.

        Raises:
            CertificateError: they do not fit the schema.
        """
        try:
            validate(values, SCHEMA)
            fields = {key: value for key, value in values.items() if key != "version"}
            return validated(cls, fields, "the policy", lambda *_: name)
        except UsageError as error:
            raise CertificateError(str(error)) from error
        except CertificateError as error:
            raise CertificateError(f"{name}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """JSON values of the schema ``use-policy-1``."""
        values: dict[str, Any] = _listed({"version": VERSION, **asdict(self)})
        return values

    def content(self) -> bytes:
        """Canonical JSON."""
        return rfc8785.dumps(self.to_json())

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON: the policy's name in journals and statements."""
        return hashlib.sha256(self.content()).hexdigest()


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value
