"""Consent receipts and withdrawals: a hash-chained register per data set, with keyed identifiers alone.

The fields are named after ISO/IEC TS 27560:2023, as the guide of the DPV Community Group lists them. No name, address
or signature of a person is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """That a person consented, or withdrew their consent.

    Attributes:
        schema_version: of this form.
        record_id: of the receipt.
        pii_principal_id: keyed identifier of the person.
        pii_records: keyed identifiers of the samples that are about the person.
        event_type: ``explicit`` consent, or ``withdrawal``.
        event_state: ``given`` or ``withdrawn``.
        event_time: since when it holds.
        validity_until: the time from which consent no longer holds; None until it is withdrawn.
        purposes: that it is for, with their narrower ones; empty in a withdrawal, which is for all.
        processing: actions that it is for; empty in a withdrawal.
        privacy_notice: hex SHA-256 of the notice that was shown; None where that is not known.
        lawful_basis: ``dpv:Consent``.
        withdrawal_method: how it can be withdrawn.
        party_name: the controller.
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
        for one in (self.pii_principal_id, *self.pii_records):
            if not is_identifier(one):
                raise UsageError(f"A receipt names {one[:70]!r}, not a keyed identifier of 64 hexadecimal digits.")
        if not is_time(self.event_time) or not (self.validity_until is None or is_time(self.validity_until)):
            raise UsageError("A receipt's event_time and validity_until are times such as 2026-11-26T09:00:00Z.")
        require_purposes(self.purposes, "A receipt")
        given = self.event_state == "given"
        if given != (self.event_type == "explicit") or given != bool(self.purposes and self.processing):
            raise UsageError("A receipt gives explicit consent to purposes and processing, or withdraws all of it.")

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str) -> Receipt:
        """Read a receipt.

        Raises:
            CertificateError: a field is missing, unknown, or holds what it cannot.
        """
        try:
            receipt = validated(cls, dict(values), "the receipt", lambda *_: place)
        except UsageError as error:
            raise CertificateError(str(error)) from error
        if missing := asdict(receipt).keys() - values.keys():
            raise CertificateError(f"{place}: the receipt lacks the field '{min(missing)}'.")
        return receipt

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}


def is_identifier(text: str) -> bool:
    """Whether a text is a keyed identifier."""
    return len(text) == 64 and set(text) <= HEX


@dataclass(frozen=True)
class Register:
    """All receipts of a data set, in the order in which they were entered.

    Attributes:
        receipts: all of them.
        head: digest of the last line.
    """

    receipts: tuple[Receipt, ...]
    head: str
    _by_record: Mapping[str, tuple[Receipt, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, chain: Chain, name: str) -> Register:
        """Read a register from its log.

        Raises:
            CertificateError: a receipt is malformed.
        """
        receipts = tuple(Receipt.from_json(one, f"{name}, line {n + 1}") for n, one in enumerate(chain.entries))
        by_record: dict[str, list[Receipt]] = {}
        for receipt in receipts:
            for identifier in receipt.pii_records:
                by_record.setdefault(identifier, []).append(receipt)
        return cls(receipts, chain.head, {one: tuple(found) for one, found in by_record.items()})

    def of_record(self, identifier: str) -> tuple[Receipt, ...]:
        """Receipts about a record."""
        return self._by_record.get(identifier, ())

    def of_principal(self, identifier: str) -> tuple[Receipt, ...]:
        """Receipts of a person."""
        return tuple(one for one in self.receipts if one.pii_principal_id == identifier)

    def withdrawn(self) -> frozenset[str]:
        """Records whose last word is a withdrawal by anybody whom they are about."""
        return frozenset(one for one in self._by_record if self.is_withdrawn(one))

    def is_withdrawn(self, identifier: str) -> bool:
        """Whether somebody whom a record is about has withdrawn, and not consented again since."""
        return any(one.event_state == "withdrawn" for one in self._last(identifier))

    def allows(self, identifier: str, action: Action, purpose: str, time: str, required: bool) -> bool:
        """Whether a record may be used, as far as those whom it is about have a say.

        Args:
            identifier: of the record, keyed.
            action: what is to be done.
            purpose: what for.
            time: when.
            required: whether there must be consent, or only no withdrawal.
        """
        last = self._last(identifier)
        if any(one.event_state == "withdrawn" for one in last):
            return False
        if not last:
            return not required
        return all(_gives(one, action, purpose, time) for one in last) if required else True

    def _last(self, identifier: str) -> Iterable[Receipt]:
        """The last receipt of each person whom a record is about."""
        return {one.pii_principal_id: one for one in self.of_record(identifier)}.values()


def _gives(receipt: Receipt, action: Action, purpose: str, time: str) -> bool:
    in_time = receipt.event_time <= time and (receipt.validity_until is None or time < receipt.validity_until)
    return in_time and action in receipt.processing and any(covers(one, purpose) for one in receipt.purposes)


def withdrawals(register: Register, records: Sequence[str], time: str, method: str, party: str) -> list[Receipt]:
    """A withdrawal for each person whom any of the records is about, and for records that are about nobody known.

    A withdrawal is about those records alone.
    """
    people: dict[str, list[str]] = {}
    for identifier in records:
        for principal in {one.pii_principal_id for one in register.of_record(identifier)} or {identifier}:
            people.setdefault(principal, []).append(identifier)
    return [
        Receipt(f"withdrawal-{time}-{principal[:12]}", principal, tuple(sorted(about)), "withdrawal", "withdrawn", time,
                None, (), (), None, "dpv:Consent", method, party)
        for principal, about in sorted(people.items())
    ]  # fmt: skip
