"""What a model may be used for, what is held about a person, and forgetting: over policy, journal and statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessments.data_use.assessment import DataUse
from certify.attest.keys import SigningKey
from certify.attest.revoked_models import NAME, revoke_models
from certify.attest.verification import Verification
from certify.core.data_use.consent import is_identifier, withdrawals
from certify.core.data_use.decision import Decision, Request, decide
from certify.core.data_use.folder import MadeModel, UseFolder, principal_identifier
from certify.core.data_use.merkle import Absence, prove_absence
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import now
from certify.core.data_use.vocabulary import Action, action, covers
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.core.private_data import DataKey
from certify.data.governed import use_folder


def why_not_permitted(found: Verification, purpose: str, recipient: str = "", time: str | None = None) -> str | None:
    """Say why a verified model may not be used for a purpose; None where its data-use statement permits it.

    What is not stated is not permitted. The policy in the statement is asked again, at the time of asking, about every
    action by which the model saw records.

    Args:
        found: of the model with all its statements.
        purpose: a term of DPV, or an IRI.
        recipient: who wants to use it.
        time: of the use; now by default.
    """
    stated = [one for one in found.certificates if one.assessment.name == DataUse.name]
    if not stated:
        return "No data-use statement lies beside the model, so nothing permits its use; ask its maker for one."
    predicate = stated[0].predicate
    claims = stated[0].audited_claims
    if claims.refused:
        return f"The data-use statement is a refusal: {claims.reasons[0]}"
    use = predicate["use"]
    if not covers(use["purpose"], purpose):
        return f"The model was made for {use['purpose']}, which does not cover {purpose}."
    policy = UsePolicy.from_json(predicate["policy"]["terms"], "the policy of the statement")
    for each in use["actions"]:
        decision = decide(policy, Request(action(each), purpose, recipient, time or now()))
        if not decision.permitted:
            return decision.sentence
    return None


def governing(data: str) -> UseFolder:
    """The folder with the use policy of data.

    Raises:
        UsageError: there is none.
    """
    folder = use_folder(data)
    if folder is None:
        raise UsageError(f"No use policy lies beside the data {data}; bind one with leanmark policy bind.")
    return folder


def check(data: str, what: Action, purpose: str, recipient: str = "", time: str | None = None) -> Decision:
    """Ask the policy of data, as loaders do; nothing is written."""
    folder = governing(data)
    policy, _ = folder.untouched()
    folder.records(policy)
    return decide(policy, Request(what, purpose, recipient, time or now()))


@dataclass(frozen=True)
class Subject:
    """What is held about a person or a record.

    Attributes:
        identifiers: keyed, of the records.
        receipts: about them.
        withdrawn: which of them were withdrawn.
        models: that saw any of them, with how many.
        absences: proofs that a model's list holds none of them, by model and identifier.
        policy: that governs the data.
        uses: decisions of the journal that permitted a use, the same ones once.
    """

    identifiers: tuple[str, ...]
    receipts: tuple[Mapping[str, Any], ...]
    withdrawn: tuple[str, ...]
    models: tuple[tuple[MadeModel, int], ...]
    absences: Mapping[str, Mapping[str, Absence]]
    policy: UsePolicy
    uses: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "records": list(self.identifiers),
            "withdrawn": list(self.withdrawn),
            "suppliers": self.policy.to_json()["suppliers"],
            "controller": {"name": self.policy.controller, "contact": self.policy.contact},
            "legal_basis": self.policy.legal_basis,
            "receipts": [dict(one) for one in self.receipts],
            "uses": [{"action": one[0], "purpose": one[1], "recipient": one[2]} for one in self.uses],
            "models": [
                {"sha256": one.sha256, "role": one.role, "path": one.path, "made": one.made, "records": count}
                for one, count in self.models
            ],
            "not_seen_by": [
                {"sha256": model, "proofs": {one: proof.to_json() for one, proof in proofs.items()}}
                for model, proofs in self.absences.items()
            ],
        }


def subject(folder: UseFolder, ids: Sequence[str], key: DataKey) -> Subject:
    """Gather what is held about a person or about records.

    Args:
        folder: beside the data.
        ids: keyed identifiers of records or persons, or names by which the holder knows persons.
        key: that identifiers were made with.

    Raises:
        UsageError: nothing is held under one of them, or the key is another one.
        CertificateError: something beside the data is malformed or was altered.
    """
    policy, register = folder.untouched()
    records = _records_of(folder, ids, key)
    receipts = {one.record_id: one.to_json() for each in records for one in register.of_record(each)}
    models, absences = [], {}
    for model in folder.models():
        held = set(model.records) & set(records)
        if held:
            models.append((model, len(held)))
        else:
            proofs = ((one, prove_absence(one, model.records)) for one in records)
            absences[model.sha256] = {one: proof for one, proof in proofs if proof is not None}
    uses = dict.fromkeys(
        (str(one["action"]), str(one["purpose"]), str(one["recipient"]))
        for one in folder.journal().entries
        if one["kind"] == "decision" and one["permitted"] is True
    )
    withdrawn = tuple(one for one in records if register.is_withdrawn(one))
    return Subject(tuple(records), tuple(receipts.values()), withdrawn, tuple(models), absences, policy, tuple(uses))


@dataclass(frozen=True)
class Forgotten:
    """What forgetting came to.

    Attributes:
        identifiers: of the records that were withdrawn, keyed.
        models: that saw any of them, and those made from such a model.
        written: statements by which their certificates are revoked.
    """

    identifiers: tuple[str, ...]
    models: tuple[MadeModel, ...]
    written: tuple[Path, ...]


def forget(folder: UseFolder, ids: Sequence[str], key: DataKey, signer: SigningKey) -> Forgotten:
    """Withdraw records, name the models that saw them, and revoke these models' certificates.

    No loader yields the records from now on. What a model has learnt stays in it: it has to be made again.

    Args:
        folder: beside the data.
        ids: as :func:`subject` takes them.
        key: likewise.
        signer: who revokes.

    Raises:
        UsageError: nothing is held under one of the ids, or the key is another one; nothing is written.
        CertificateError: something beside the data is malformed or was altered; nothing is written.
    """
    policy, register = folder.untouched()
    records = _records_of(folder, ids, key)
    models, time = list(folder.models()), now()
    fresh = [one for one in records if not register.is_withdrawn(one)]
    touched = _that_saw(models, set(records))
    if fresh:
        folder.add(withdrawals(register, fresh, time, policy.withdrawal, policy.controller))
    head = folder.register().head
    revoked = [
        {"kind": "revoked", "time": time, "policy": policy.digest, "consent": head, "model": one.sha256,
         "content": one.content}
        for one in touched
    ]  # fmt: skip
    folder.enter({"kind": "withdrawn", "time": time, "policy": policy.digest, "consent": head}, *revoked)
    return Forgotten(tuple(records), tuple(touched), tuple(_revoke(folder, touched, policy, signer)))


def _revoke(folder: UseFolder, models: Sequence[MadeModel], policy: UsePolicy, signer: SigningKey) -> Iterator[Path]:
    """Write one statement about all models beside the data, and beside each model that still lies where it was made."""
    if not models:
        return
    named = {f"{one.role} {one.sha256[:12]}": {"sha256": one.sha256, "leanmarkContent": one.content} for one in models}
    reason = "A record that the model saw was withdrawn; it has to be made again without it."
    content = revoke_models(named, reason, policy.digest, signer).content
    places = [folder.path / NAME, *(Path(one.path).parent / NAME for one in models if Path(one.path).is_file())]
    for place in dict.fromkeys(places):
        write_bytes(place, content)
        yield place


def _that_saw(models: Sequence[MadeModel], records: set[str]) -> list[MadeModel]:
    """Models that saw any of the records, and those that were made from such a model."""
    found = [one for one in models if records & set(one.records)]
    while True:
        names = {name for one in found for name in (one.sha256, one.content, *one.files)}
        more = [one for one in models if one not in found and names & {one.sha256, one.content, *one.parents}]
        if not more:
            return [one for one in models if one in found]
        found += more


def _records_of(folder: UseFolder, ids: Sequence[str], key: DataKey) -> list[str]:
    policy, register = folder.policy(), folder.register()
    if policy.data.key != key.id:
        raise UsageError(f"The policy {policy.name} was made with another data key; name it with --data-key.")
    listed, found = set(folder.records(policy)), []
    for each in ids:
        if is_identifier(each) and (each in listed or register.of_record(each)):
            found.append(each)
            continue
        about = [
            one for receipt in register.of_principal(principal_identifier(key, each)) for one in receipt.pii_records
        ]
        if not about:
            raise UsageError(f"Nothing is held under {each!r}: no record and no receipt bears it.")
        found += about
    return sorted(set(found))


def require_absence(proof: Mapping[str, Any], identifier: str, root: str) -> None:
    """Check a proof that a model's list lacks an identifier, against the root in its signed statement.

    Raises:
        CertificateError: it proves nothing of the kind.
    """
    if not Absence.from_json(proof).holds(identifier, root):
        raise CertificateError(f"The proof does not show that the list lacks {identifier[:16]}.")
