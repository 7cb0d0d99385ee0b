"""Governing data by a use policy: bind it to all records, and record consent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certify.core.data_use.consent import Receipt, Register
from certify.core.data_use.folder import UseFolder, principal_identifier
from certify.core.data_use.merkle import root_of
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import now
from certify.core.errors import CertificateError, UsageError
from certify.core.private_data import DataKey
from certify.core.text import clean
from certify.data.data_path import Placed
from certify.data.policy_filter import paths_of, use_folder
from certify.data.specs import load_ungoverned

OPTIONAL: Mapping[str, Any] = {"suppliers": [], "prohibitions": [], "retention": None, "no_sale": True}
"""Optional terms with their defaults; sale is prohibited unless the terms permit it."""
OPTIONAL_OF_RULES: Mapping[str, Any] = {"recipients": [], "until": None}
OPTIONAL_OF_RECEIPTS: Mapping[str, Any] = {
    "schema_version": "leanmark-27560-1", "validity_until": None, "purposes": [], "processing": [],
    "privacy_notice": None, "lawful_basis": "dpv:Consent",
}  # fmt: skip


def bind_policy(data: str | Placed, terms: Mapping[str, Any], key: DataKey) -> tuple[UseFolder, UsePolicy]:
    """Write a use policy next to data and bind it to all their records.

    Records are only digested, which needs no purpose.

    Args:
        data: data specification of files, or data in memory with a place.
        terms: the policy as read from YAML, without ``version`` and ``data``; ``issued`` defaults to now.
        key: data key of the holder.

    Raises:
        UsageError: the data are not in files, the terms are invalid, or the policy has expired; nothing is written.

    Example:
        >>> terms = {
        ...     "name": "people", "controller": "Clinic", "contact": "privacy@example.org",
        ...     "permissions": [{"actions": ["train"], "purposes": ["dpv:ResearchAndDevelopment"]}],
        ...     "legal_basis": "dpv:Consent", "consent": "required", "withdrawal": "by e-mail"}
        >>> folder, policy = bind_policy("npz:test=people.npz", terms, DataKey.new())
        >>> folder.path.name, policy.no_sale
        ('people.npz.use', True)
    """
    # The folder is resolved but the name is not, because a link to data is governed at the place that was named.
    paths = [path.parent.resolve() / path.name for path in paths_of(data) if path.name]
    if not paths or not (isinstance(data, Placed) or all(path.exists() for path in paths)):
        raise UsageError(
            f"The data {data} are not stored in files, so no policy can be written next to them; save them to files, "
            "or give them a place with certify.data.Placed."
        )
    folder = use_folder(data) or UseFolder.beside(paths[0])
    loaded = load_ungoverned(data)
    found = sorted({identifier for split in loaded.parts.values() for identifier in split.record_ids(key)})
    # The root commits to all identifiers without publishing any.
    bound = {"name": loaded.name, "root": root_of(found), "key": key.id}
    policy, time = _policy({"issued": now(), **OPTIONAL, **terms, "version": 1, "data": bound}), now()
    # A policy that has already expired would never permit anything, so it must be a mistake.
    if policy.retention is not None and policy.retention <= time:
        raise UsageError(
            f"The policy {policy.name} expired at {policy.retention} and would permit nothing; set a later retention."
        )
    folder.bind(policy, found, time)
    for path in paths:
        beside = UseFolder.beside(path).path
        # Data in several places share one folder; links let a reader find it from each of them.
        if not os.path.lexists(beside):
            beside.symlink_to(os.path.relpath(folder.path, beside.parent), target_is_directory=True)
    return folder, policy


@dataclass(frozen=True)
class StoredRecord:
    """A record of governed data, for its holder.

    Attributes:
        identifier: keyed identifier, by which receipts name the record.
        part: part of the data.
        place: file, line or index at which it is stored.
    """

    identifier: str
    part: str
    place: str


def list_records(data: str | Placed, key: DataKey) -> list[StoredRecord]:
    """Return the keyed identifiers of all records to which a policy is bound, and where each record is stored.

    Records are only digested, which needs no purpose.

    Args:
        data: data specification.
        key: data key of the holder.

    Raises:
        UsageError: no policy governs the data, or its key differs.
        CertificateError: a file in the use folder is malformed or was altered.

    Example:
        >>> terms = {
        ...     "name": "people", "controller": "Clinic", "contact": "privacy@example.org",
        ...     "permissions": [{"actions": ["train"], "purposes": ["dpv:ResearchAndDevelopment"]}],
        ...     "legal_basis": "dpv:Consent", "consent": "required", "withdrawal": "by e-mail"}
        >>> key = DataKey.new()
        >>> _ = bind_policy("npz:test=people.npz", terms, key)
        >>> found = list_records("npz:test=people.npz", key)
        >>> found[0].part, found[0].place
        ('test', 'index 0')
    """
    folder = _governed(data, key)
    listed = set(folder.records(folder.policy()))
    return [
        StoredRecord(identifier, part, place)
        for part, split in load_ungoverned(data).parts.items()
        for identifier, place in zip(split.record_ids(key), split.places(), strict=True)
        if identifier in listed
    ]


def _governed(data: str | Placed, key: DataKey) -> UseFolder:
    """Return the use folder of data whose policy was written with this key."""
    folder = use_folder(data)
    if folder is None:
        raise UsageError(f"The data {data} have no use policy; bind one with leanmark policy bind.")
    policy, _ = folder.untouched()
    # Identifiers under another key would never match those in the policy.
    if policy.data.key != key.id:
        raise UsageError(f"The policy {policy.name} was written with another data key; pass that key with --data-key.")
    return folder


def _policy(values: dict[str, Any]) -> UsePolicy:
    """Return a policy from terms, with defaults for the optional ones.

    Raises:
        UsageError: the terms are invalid.
    """
    for name in ("permissions", "prohibitions"):
        if isinstance(values.get(name), list):
            rules = [{**OPTIONAL_OF_RULES, **value} if isinstance(value, dict) else value for value in values[name]]
            values[name] = rules
    if isinstance(values.get("suppliers"), list):
        values["suppliers"] = [
            {"digest": None, **supplier} if isinstance(supplier, dict) else supplier for supplier in values["suppliers"]
        ]
    try:
        return UsePolicy.from_json(values, "the policy")
    except CertificateError as error:
        raise UsageError(str(error)) from error


def add_receipts(data: str | Placed, values: Any, name: str, key: DataKey) -> Register:
    """Record consent receipts, which may name persons as the holder knows them.

    Raises:
        UsageError: no policy governs the data, its key differs, or a receipt is invalid, already recorded, or older
            than a withdrawal; nothing is written.
    """
    folder = _governed(data, key)
    policy = folder.policy()
    known = list(folder.register().receipts)
    listed, receipts = set(folder.records(policy)), list[Receipt]()
    if not isinstance(values, list) or not values:
        raise UsageError(f"{name} must contain a JSON list of receipts.")
    for number, value in enumerate(values, start=1):
        place = f"{name}, receipt {number}"
        if not isinstance(value, dict) or not isinstance(value.get("pii_principal_id"), str):
            raise UsageError(f"{place}: the key 'pii_principal_id' is missing; add it.")
        stated = {"withdrawal_method": policy.withdrawal, "party_name": policy.controller}
        # Keyed immediately, so that the name of a person is never written.
        person = {"pii_principal_id": principal_identifier(key, value["pii_principal_id"])}
        try:
            receipt = Receipt.from_json({**OPTIONAL_OF_RECEIPTS, **stated, **value, **person}, place)
        except CertificateError as error:
            sentence = str(error).removeprefix(f"{place}: ")
            raise UsageError(f"{place}: {sentence}") from error
        if not receipt.pii_records:
            raise UsageError(f"{place}: 'pii_records' must name at least one record, as leanmark policy records does.")
        # Consent for a record outside the policy would have no effect.
        if unknown := set(receipt.pii_records) - listed:
            raise UsageError(
                f"{place}: the policy is not bound to the record {min(unknown)[:16]}; correct the receipt."
            )
        _require_new(receipt, [*known, *receipts], place)
        receipts.append(receipt)
    return folder.add(receipts)


def without_effect(register: Register, count: int) -> list[str]:
    """Return the records of the last receipts that consent does not open, since another identifier has withdrawn them.

    Args:
        register: register that ends with these receipts.
        count: number of these receipts.
    """
    about = {each for one in register.receipts[-count:] if one.event_state == "given" for each in one.pii_records}
    return sorted(record for record in about if register.is_withdrawn(record))


def _require_new(receipt: Receipt, earlier: Sequence[Receipt], place: str) -> None:
    """Reject a receipt that is already recorded, or a consent that would undo a later withdrawal.

    The latest line of the register decides, so an old consent entered after a withdrawal would cancel it.
    """
    if any(one.record_id == receipt.record_id for one in earlier):
        raise UsageError(f"{place}: a receipt '{clean(receipt.record_id)[:60]}' is already recorded; remove it.")
    about = set(receipt.pii_records)
    later = [
        one.event_time
        for one in earlier
        if one.event_state == "withdrawn"
        and one.pii_principal_id == receipt.pii_principal_id
        and one.event_time >= receipt.event_time
        and about & set(one.pii_records)
    ]
    if receipt.event_state == "given" and later:
        raise UsageError(
            f"{place}: the consent of {receipt.event_time} is not later than the withdrawal of {max(later)}; only a "
            "later consent ends a withdrawal."
        )
