"""Named checks of a data-use statement: each decision is derived again from the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from certify.assessments.data_use.records import Records, entries_of
from certify.core.data_use.chain import START, chained
from certify.core.data_use.decision import Request, decide
from certify.core.data_use.merkle import root_of
from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import ACTIONS
from certify.core.finding import Finding

Answer = tuple[bool | None, str]
WITHHELD: Answer = (None, "Identifiers of records are only in the auditor file.")


def judge(records: Records) -> tuple[Finding, ...]:
    """Run every check."""
    found = []
    for name, check in CHECKS.items():
        holds, sentence = check(records)
        found.append(Finding(name, "unknown" if holds is None else "pass" if holds else "fail", sentence))
    return tuple(found)


def _policy_bound(records: Records) -> Answer:
    stated, found = records.header.policy, records.policy.digest
    if stated != found:
        return False, f"The policy has the digest {found[:12]}, but {stated[:12]} was stated."
    if not any(entry.get("policy") == stated for entry in entries_of(records, "policy")):
        return False, f"The journal does not say that the policy {records.policy.name} was bound to the data."
    return True, f"The policy {records.policy.name} is the stated one ({found[:12]})."


def _journal_unbroken(records: Records) -> Answer:
    if records.journal.head != records.header.journal:
        return False, "The journal does not have the stated end: a line was altered, added or removed."
    return True, f"All {len(records.journal.entries)} lines of the journal form a chain to the stated end."


def _decisions_follow(records: Records) -> Answer:
    others, number, bound = 0, 0, None
    for entry in records.journal.entries:
        bound = entry.get("policy") if entry["kind"] == "policy" else bound
        if entry["kind"] != "decision":
            continue
        number += 1
        # In a journal spliced from two, decisions follow a policy that they were not made under.
        if entry.get("permitted") is True and entry.get("policy") != bound:
            return False, f"Decision {number} of the journal was made under a policy that was not bound at that time."
        # Decisions under an earlier policy cannot be derived from this one; they are only counted.
        if entry.get("policy") != records.policy.digest:
            others += 1
            continue
        request = _request(entry)
        if request is None:
            return False, f"Decision {number} of the journal does not record the request."
        decision = decide(records.policy, request)
        # Refusing a use that the policy permits harms nobody, so only permissions are checked.
        if entry.get("permitted") is True and not decision.permitted:
            return False, f"Decision {number} permits a use that the policy does not: {decision.sentence}"
    rest = f" {others} were made under another policy." if others else ""
    return True, f"Every use that the journal permits under this policy is permitted by the policy.{rest}"


def _actions_permitted(records: Records) -> Answer:
    header = records.header
    entry = _model_entry(records)
    if entry is None:
        return False, "The journal does not mention the model."
    permitted = {
        journalled.get("action")
        for journalled in entries_of(records, "decision")
        if journalled.get("permitted") is True
        and (journalled.get("policy"), journalled.get("purpose"), journalled.get("recipient"))
        == (header.policy, header.purpose, header.recipient)
        # Permissions given after the model was made do not count. Times have one format, so they compare as strings.
        and str(journalled.get("time")) <= str(entry.get("time"))
    }
    if missing := [action for action in header.actions if action not in permitted]:
        return False, f"No decision before the model was made permits the action '{missing[0]}' for {header.purpose}."
    return True, f"The journal permits {', '.join(header.actions)} for {header.purpose}."


def _model_entered(records: Records) -> Answer:
    entry = _model_entry(records)
    if entry is None:
        return False, "The journal does not mention the model."
    if (entry.get("root"), entry.get("policy")) != (records.header.root, records.header.policy):
        return False, "The journal lists different records or a different policy for the model."
    return True, "The journal lists the model and, by their Merkle root, the records that it saw."


def _not_revoked(records: Records) -> Answer:
    content = records.header.model["leanmarkContent"]
    for entry in entries_of(records, "revoked"):
        if entry.get("content") == content:
            return False, f"The model was revoked at {entry.get('time')}, because it saw a record that was withdrawn."
    return True, "The journal does not revoke the model."


def _records_listed(records: Records) -> Answer:
    if records.records is None or records.listed is None:
        return WITHHELD
    # Both lists are bound by their roots, so neither can be swapped.
    if root_of(records.records) != records.header.root or root_of(records.listed) != records.policy.data.root:
        return False, "The lists of records do not match the Merkle roots that bind them."
    if not set(records.records) <= set(records.listed):
        return False, "The model saw records that the policy does not cover."
    return True, f"All {len(records.records)} records that the model saw are covered by the policy."


def _consent_covers(records: Records) -> Answer:
    if records.records is None or records.register is None:
        return WITHHELD
    header, policy = records.header, records.policy
    # The hash at the register's end binds every receipt before it.
    if records.register.head != header.consent:
        return False, "The consent register does not have the stated end: a receipt was altered, added or removed."
    known = {START, *chained([receipt.to_json() for receipt in records.register.receipts]).heads}
    if any(entry.get("consent", START) not in known for entry in records.journal.entries):
        return False, "The consent register lacks receipts on which lines of the journal were based."
    required = policy.consent == "required"
    without = [
        record
        for record in records.records
        if not any(
            records.register.allows(record, action, header.purpose, header.created, required)
            for action in header.actions
        )
    ]
    if not required and not without:
        return True, "The policy does not need receipts, except after a withdrawal."
    if without:
        return False, f"No receipt covers {len(without)} of {len(records.records)} records for {header.purpose}."
    return True, f"Receipts cover all {len(records.records)} records for {header.purpose}."


def _withdrawn_excluded(records: Records) -> Answer:
    if records.records is None or records.register is None:
        return WITHHELD
    withdrawn = records.register.withdrawn(records.header.created)
    if seen := withdrawn & set(records.records):
        return False, f"The model saw {len(seen)} withdrawn records; retrain it without them."
    return True, f"The model's list contains none of {len(withdrawn)} withdrawn records."


CHECKS: Mapping[str, Callable[[Records], Answer]] = {
    "policy_bound": _policy_bound,
    "journal_unbroken": _journal_unbroken,
    "decisions_follow": _decisions_follow,
    "actions_permitted": _actions_permitted,
    "model_entered": _model_entered,
    "not_revoked": _not_revoked,
    "records_listed": _records_listed,
    "consent_covers": _consent_covers,
    "withdrawn_excluded": _withdrawn_excluded,
}


def _request(entry: Mapping[str, Any]) -> Request | None:
    fields = [entry.get(name) for name in ("action", "purpose", "recipient", "time")]
    if not all(isinstance(field, str) for field in fields):
        return None
    action, purpose, recipient, time = map(str, fields)
    known = next((name for name in ACTIONS if name == action), None)
    return None if known is None or not is_time(time) else Request(known, purpose, recipient, time)


def _model_entry(records: Records) -> Mapping[str, Any] | None:
    content = records.header.model["leanmarkContent"]
    found = [entry for entry in entries_of(records, "model") if entry.get("content") == content]
    return found[-1] if found else None
