"""Consent receipts and withdrawals: a hash-chained register per data set, with keyed identifiers only.

The fields are named after ISO/IEC TS 27560:2023, as listed in the guide of the DPV Community Group. Names, addresses
and signatures of people are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from certify.core.data_use.chain import Chain
from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import Action, covers, require_purposes
from certify.core.errors import CertificateError, UsageError
from certify.core.validation import validated

SCHEMA_VERSION: Literal["leanmark-27560-1"] = "leanmark-27560-1"
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Receipt:
    """Record of a person's consent or withdrawal.

    Attributes:
        schema_version: version of this format.
        record_id: id of the receipt.
        pii_principal_id: keyed identifier of the person.
        pii_records: keyed identifiers of the samples about the person.
        event_type: ``explicit`` consent, or ``withdrawal``.
        event_state: ``given`` or ``withdrawn``.
        event_time: time from which it holds.
        validity_until: time at which consent ends; None for until withdrawn.
        purposes: permitted purposes, including narrower ones; empty in a withdrawal, which covers all.
        processing: permitted actions; empty in a withdrawal.
        privacy_notice: hex SHA-256 of the notice that was shown; None if unknown.
        lawful_basis: ``dpv:Consent``.
        withdrawal_method: how consent can be withdrawn.
        party_name: name of the controller.
    """

    record_id: str
    pii_principal_id: str
    pii_records: tuple[str, ...]
    event_type: Literal["explicit", "withdrawal"]
    event_state: Literal["given", "withdrawn"]
    event_time: str
    validity_until: str | None
    purposes: tuple[str, ...]
    processing: tuple[Action, ...]
    privacy_notice: str | None
    lawful_basis: Literal["dpv:Consent"]
    withdrawal_method: str
    party_name: str
    schema_version: Literal["leanmark-27560-1"] = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for identifier in (self.pii_principal_id, *self.pii_records):
            if not is_identifier(identifier):
                raise UsageError(
                    "A receipt must name people and records by keyed identifiers of 64 hexadecimal digits, got "
                    f"{identifier[:70]!r}."
                )
        if not is_time(self.event_time) or not (self.validity_until is None or is_time(self.validity_until)):
            raise UsageError(
                "The 'event_time' and 'validity_until' of a receipt must be times such as 2026-11-26T09:00:00Z."
            )
        require_purposes(self.purposes, "A receipt")
        consented = self.event_state == "given"
        if consented != (self.event_type == "explicit") or consented != bool(self.purposes and self.processing):
            raise UsageError(
                "A receipt must either give explicit consent to purposes and processing, or withdraw all of it."
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str) -> Receipt:
        """Read a receipt.

        Raises:
            CertificateError: a field is missing, unknown or invalid.
        """
        try:
            receipt = validated(cls, dict(values), "the receipt", lambda *_: place)
        except UsageError as error:
            raise CertificateError(str(error)) from error
        if missing := asdict(receipt).keys() - values.keys():
            raise CertificateError(f"{place}: the receipt has no field '{min(missing)}'.")
        return receipt

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def is_identifier(text: str) -> bool:
    """Return whether a text is a keyed identifier."""
    return len(text) == 64 and set(text) <= HEX


@dataclass(frozen=True)
class Register:
    """All receipts of a data set, in the order of entry.

    Attributes:
        receipts: all of them.
        head: digest of the last line.
    """

    receipts: tuple[Receipt, ...]
    head: str
    _by_record: Mapping[str, tuple[Receipt, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, chain: Chain, name: str) -> Register:
        """Make a register from its log.

        Raises:
            CertificateError: a receipt is malformed.
        """
        receipts = tuple(Receipt.from_json(entry, f"{name}, line {n + 1}") for n, entry in enumerate(chain.entries))
        by_record: dict[str, list[Receipt]] = {}
        for receipt in receipts:
            for identifier in receipt.pii_records:
                by_record.setdefault(identifier, []).append(receipt)
        return cls(receipts, chain.head, {record: tuple(found) for record, found in by_record.items()})

    def of_record(self, identifier: str) -> tuple[Receipt, ...]:
        """Return the receipts about a record."""
        return self._by_record.get(identifier, ())

    def of_principal(self, identifier: str) -> tuple[Receipt, ...]:
        """Return the receipts of a person."""
        return tuple(receipt for receipt in self.receipts if receipt.pii_principal_id == identifier)

    def withdrawn(self, time: str) -> frozenset[str]:
        """Return the records that were withdrawn at a time; see :meth:`is_withdrawn`."""
        return frozenset(record for record in self._by_record if self.is_withdrawn(record, time))

    def is_withdrawn(self, identifier: str, time: str | None = None) -> bool:
        """Return whether a person in a record has withdrawn and not consented again since.

        Args:
            identifier: keyed identifier of the record.
            time: time at which a new consent must have begun; None counts one that begins later, too.
        """
        return any(
            receipts[-1].event_state == "withdrawn"
            or (time is not None and _has_withdrawn(receipts) and receipts[-1].event_time > time)
            for receipts in self._by_person(identifier)
        )

    def allows(self, identifier: str, action: Action, purpose: str, time: str, required: bool) -> bool:
        """Return whether the people in a record permit its use.

        A new consent after a withdrawal permits only what it names, also if the absence of a withdrawal is enough.

        Args:
            identifier: keyed identifier of the record.
            action: intended action.
            purpose: intended purpose.
            time: time of the use.
            required: whether consent is required, or only the absence of a withdrawal.
        """
        people = self._by_person(identifier)
        if any(receipts[-1].event_state == "withdrawn" for receipts in people):
            return False
        if not people:
            return not required
        return all(
            _gives(receipts[-1], action, purpose, time) for receipts in people if required or _has_withdrawn(receipts)
        )

    def _by_person(self, identifier: str) -> list[list[Receipt]]:
        """Return the receipts of each person in a record, in order of entry: a later one replaces an earlier one."""
        people: dict[str, list[Receipt]] = {}
        for receipt in self.of_record(identifier):
            people.setdefault(receipt.pii_principal_id, []).append(receipt)
        return list(people.values())


def _has_withdrawn(receipts: Sequence[Receipt]) -> bool:
    return any(receipt.event_state == "withdrawn" for receipt in receipts)


def _gives(receipt: Receipt, action: Action, purpose: str, time: str) -> bool:
    # All times have one format, so they compare as strings.
    in_time = receipt.event_time <= time and (receipt.validity_until is None or time < receipt.validity_until)
    return (
        in_time and action in receipt.processing and any(covers(consented, purpose) for consented in receipt.purposes)
    )


def withdrawals(register: Register, records: Sequence[str], time: str, method: str, party: str) -> list[Receipt]:
    """Return a withdrawal for each person in any of the records, and for records about unknown people.

    A withdrawal covers only those records.
    """
    people: dict[str, list[str]] = {}
    for identifier in records:
        for principal in {receipt.pii_principal_id for receipt in register.of_record(identifier)} or {identifier}:
            people.setdefault(principal, []).append(identifier)
    return [
        Receipt(f"withdrawal-{time}-{principal[:12]}", principal, tuple(sorted(about)), "withdrawal", "withdrawn", time,
                None, (), (), None, "dpv:Consent", method, party)
        for principal, about in sorted(people.items())
    ]  # fmt: skip
