"""Use policies: permitted actions, purposes, recipients and times for data; canonical JSON, identified by digest.

All contents are statements of the author. Anything that a policy does not permit is forbidden; prohibitions take
precedence over permissions. The format is a small profile of ODRL 2.2 (permission, prohibition, action, constraint).
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
        actions: actions that it covers.
        purposes: DPV terms or IRIs; narrower ones are included.
        recipients: who may, or may not, act; empty for everybody.
        until: time at which it ends; None for the policy's lifetime.
    """

    actions: tuple[Action, ...]
    purposes: tuple[str, ...]
    recipients: tuple[str, ...] = ()
    until: str | None = None


@dataclass(frozen=True)
class Supplier:
    """Supplier of data, as stated.

    Attributes:
        name: name of a person or organisation.
        how: manner and time of the supply.
        digest: hex SHA-256 of a document about it, or None.
    """

    name: str
    how: str
    digest: str | None = None


@dataclass(frozen=True)
class BoundData:
    """The data to which a policy is bound.

    Attributes:
        name: display name.
        root: root of the tree over the keyed identifiers of all records (:mod:`certify.core.data_use.merkle`).
        key: id of the data key of the identifiers.
    """

    name: str
    root: str
    key: str


@dataclass(frozen=True)
class UsePolicy:
    """A use policy of data.

    Attributes:
        name: name of the policy.
        issued: time of issue; nothing is permitted before.
        controller: person or organisation responsible for the data.
        contact: contact for questions and withdrawals.
        data: data to which it is bound.
        suppliers: suppliers of the data, as stated.
        permissions: permitted uses.
        prohibitions: forbidden uses, whatever is permitted.
        legal_basis: a DPV term, as stated.
        consent: whether a record may be used only while a receipt covers it, or unless it was withdrawn.
        withdrawal: how a person withdraws, in words.
        retention: time from which the data may not be used at all; None for no limit.
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
            raise UsageError(
                f"The 'legal_basis' of a policy must be one of {', '.join(BASES)}, got {self.legal_basis!r}."
            )
        if self.legal_basis == "dpv:Consent" and self.consent != "required":
            raise UsageError("The 'consent' of a policy with the legal basis consent must be 'required'.")
        times = [("issued", self.issued), ("retention", self.retention)]
        for rule in (*self.permissions, *self.prohibitions):
            require_purposes(rule.purposes, "The policy")
            times.append(("until", rule.until))
        for field, time in times:
            if time is not None and not is_time(time):
                raise UsageError(
                    f"The '{field}' of a policy must be a time such as 2026-11-26T09:00:00Z, got {time!r}."
                )

    @classmethod
    def parse(cls, content: bytes, name: str) -> UsePolicy:
        """Read a policy.

        Args:
            content: canonical JSON.
            name: name of the file, for errors.

        Raises:
            CertificateError: it is not canonical JSON, or does not match the schema.
        """
        # UseFolder.bind adds a line end, which is not part of the digest.
        return cls.from_json(parse_canonical(content.removesuffix(b"\n"), name), name)

    @classmethod
    def from_json(cls, values: Any, name: str) -> UsePolicy:
        """Make a policy from JSON values, in the format of :meth:`to_json`.

        Raises:
            CertificateError: they do not match the schema.
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
        """Return JSON values that match the schema ``use-policy-1``."""
        values: dict[str, Any] = _listed({"version": VERSION, **asdict(self)})
        return values

    def content(self) -> bytes:
        """Return the canonical JSON."""
        return rfc8785.dumps(self.to_json())

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON: the policy's name in journals and statements."""
        return hashlib.sha256(self.content()).hexdigest()


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
