"""Permitted uses of a model, stored data about a person, and forgetting: over policy, journal and statements."""

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
from certify.data.policy_filter import use_folder


def why_not_permitted(found: Verification, purpose: str, recipient: str = "", time: str | None = None) -> str | None:
    """Return why a verified model may not be used for a purpose; None if its data-use statement permits it.

    What is not stated is not permitted. The policy in the statement is queried again, for the current time, about every
    action by which the model saw records.

    Args:
        found: verification of the model with all its statements.
        purpose: a DPV term, or an IRI.
        recipient: name of the user.
        time: time of use. Default: now.

    Example:
        >>> from certify.attest.verify import verify
        >>> why_not_permitted(verify("graded/model.onnx", trust=["maker.pub"]), "dpv:ResearchAndDevelopment")
        'The model has no data-use statement, so its use is not permitted; ask its maker for one.'
    """
    stated = [certificate for certificate in found.certificates if certificate.assessment.name == DataUse.name]
    # A revoked or altered model is not permitted for anything.
    if stated and not found.valid:
        return "What is stated about the model is not valid, so its use is not permitted."
    if not stated:
        return "The model has no data-use statement, so its use is not permitted; ask its maker for one."
    # The derived claims are read, because signed claims need not follow from the records.
    predicate = stated[0].predicate
    claims = stated[0].audited_claims
    if claims.refused:
        return f"The data-use statement is a refusal: {claims.reasons[0]}"
    use = predicate["use"]
    if not covers(use["purpose"], purpose):
        # The purpose is checked first, because actions only matter within it.
        return f"The model was made for {use['purpose']}, which does not cover {purpose}."
    policy = UsePolicy.from_json(predicate["policy"]["terms"], "the policy of the statement")
    for each in use["actions"]:
        decision = decide(policy, Request(action(each), purpose, recipient, time or now()))
        if not decision.permitted:
            return decision.sentence
    return None


def governing(data: str) -> UseFolder:
    """Return the folder with the use policy of data.

    Raises:
        UsageError: the data have no use policy.
    """
    folder = use_folder(data)
    if folder is None:
        raise UsageError(f"The data {data} have no use policy; bind one with leanmark policy bind.")
    return folder


def check(data: str, what: Action, purpose: str, recipient: str = "", time: str | None = None) -> Decision:
    """Query the policy of data as loaders do; nothing is written."""
    folder = governing(data)
    policy, _ = folder.untouched()
    folder.records(policy)
    return decide(policy, Request(what, purpose, recipient, time or now()))


@dataclass(frozen=True)
class Subject:
    """Stored data about a person or a record.

    Attributes:
        identifiers: keyed identifiers of the records.
        receipts: consent receipts about them.
        withdrawn: withdrawn records among them.
        models: models that saw any of them, with the number of records.
        revoked: SHA-256 of the models among them that were revoked.
        unseen: models that saw none of them.
        absences: proofs that the list of such a model lacks them, by model and identifier.
        policy: policy that governs the data.
        uses: distinct decisions in the journal that permitted a use.
    """

    identifiers: tuple[str, ...]
    receipts: tuple[Mapping[str, Any], ...]
    withdrawn: tuple[str, ...]
    models: tuple[tuple[MadeModel, int], ...]
    revoked: frozenset[str]
    unseen: tuple[MadeModel, ...]
    absences: Mapping[str, Mapping[str, Absence]]
    policy: UsePolicy
    uses: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "records": list(self.identifiers),
            "withdrawn": list(self.withdrawn),
            "suppliers": self.policy.to_json()["suppliers"],
            "controller": {"name": self.policy.controller, "contact": self.policy.contact},
            "legal_basis": self.policy.legal_basis,
            "receipts": [dict(receipt) for receipt in self.receipts],
            "uses": [{"action": use[0], "purpose": use[1], "recipient": use[2]} for use in self.uses],
            "models": [
                {
                    "sha256": model.sha256,
                    "role": model.role,
                    "path": model.path,
                    "made": model.made,
                    "records": count,
                    "revoked": model.sha256 in self.revoked,
                }
                for model, count in self.models
            ],
            "not_seen_by": [
                {
                    "sha256": model.sha256,
                    "role": model.role,
                    "path": model.path,
                    "proofs": {record: proof.to_json() for record, proof in self.absences[model.sha256].items()},
                }
                for model in self.unseen
            ],
        }


def subject(folder: UseFolder, ids: Sequence[str], key: DataKey) -> Subject:
    """Gather the stored data about a person or about records.

    Args:
        folder: use folder next to the data.
        ids: keyed identifiers of records or persons, or names by which the holder knows persons.
        key: data key that keyed the identifiers.

    Raises:
        UsageError: nothing is stored under one of them, or the key differs.
        CertificateError: a file in the use folder is malformed or was altered.
    """
    policy, register = folder.untouched()
    records = _records_of(folder, ids, key)
    receipts = {receipt.record_id: receipt.to_json() for each in records for receipt in register.of_record(each)}
    models, unseen, absences = [], [], {}
    for model in folder.models():
        named = set(model.records) & set(records)
        if named:
            models.append((model, len(named)))
        else:
            unseen.append(model)
            # A model that did not see the record gets a proof of absence instead of a mere no.
            proofs = ((record, prove_absence(record, model.records)) for record in records)
            absences[model.sha256] = {record: proof for record, proof in proofs if proof is not None}
    entries = folder.journal().entries
    revoked = frozenset(str(entry["model"]) for entry in entries if entry["kind"] == "revoked")
    uses = dict.fromkeys(
        (str(entry["action"]), str(entry["purpose"]), str(entry["recipient"]))
        for entry in entries
        if entry["kind"] == "decision" and entry["permitted"] is True
    )
    time = now()
    withdrawn = tuple(record for record in records if register.is_withdrawn(record, time))
    return Subject(
        tuple(records), tuple(receipts.values()), withdrawn, tuple(models), revoked, tuple(unseen), absences, policy,
        tuple(uses),
    )  # fmt: skip


@dataclass(frozen=True)
class Forgotten:
    """Result of forgetting.

    Attributes:
        identifiers: keyed identifiers of the withdrawn records.
        models: models that saw any of them, and models made from such a model.
        written: statements that revoke their certificates.
    """

    identifiers: tuple[str, ...]
    models: tuple[MadeModel, ...]
    written: tuple[Path, ...]


def forget(folder: UseFolder, ids: Sequence[str], key: DataKey, signer: SigningKey) -> Forgotten:
    """Withdraw records, list the models that saw them, and revoke these models' certificates.

    Loaders skip the records from now on. A model keeps what it has learned, so it must be trained again without them.

    Args:
        folder: use folder next to the data.
        ids: as in :func:`subject`.
        key: likewise.
        signer: key that signs the revocations.

    Raises:
        UsageError: nothing is stored under one of the ids, or the key differs; nothing is written.
        CertificateError: a file in the use folder is malformed or was altered; nothing is written.
    """
    policy, register = folder.untouched()
    records = _records_of(folder, ids, key)
    list(folder.models())  # refuse a broken list before anything is written
    # Records already withdrawn keep their first receipt.
    time, fresh = now(), [record for record in records if not register.is_withdrawn(record)]
    if fresh:
        folder.add(withdrawals(register, fresh, time, policy.withdrawal, policy.controller))
    # Listed after the withdrawal: a job that enters its model now will find the records withdrawn.
    touched = _that_saw(list(folder.models()), set(records))
    head = folder.register().head
    # One journal entry per model, so that each can be found by its digest.
    revoked = [
        {"kind": "revoked", "time": time, "policy": policy.digest, "consent": head, "model": model.sha256,
         "content": model.content}
        for model in touched
    ]  # fmt: skip
    folder.enter({"kind": "withdrawn", "time": time, "policy": policy.digest, "consent": head}, *revoked)
    return Forgotten(tuple(records), tuple(touched), tuple(_revoke(folder, touched, policy, signer)))


def _revoke(folder: UseFolder, models: Sequence[MadeModel], policy: UsePolicy, signer: SigningKey) -> Iterator[Path]:
    """Write one statement about all models next to the data, and next to each model that is still at its place."""
    if not models:
        return
    named = {
        f"{model.role} {model.sha256[:12]}": {"sha256": model.sha256, "leanmarkContent": model.content}
        for model in models
    }
    reason = "A record that the model saw was withdrawn; the model must be trained again without it."
    content = revoke_models(named, reason, policy.digest, signer).content
    # Also written next to the models, because a model may have been copied without the data.
    places = [folder.path / NAME, *(Path(model.path).parent / NAME for model in models if Path(model.path).is_file())]
    for place in dict.fromkeys(places):
        write_bytes(place, content)
        yield place


def _that_saw(models: Sequence[MadeModel], records: set[str]) -> list[MadeModel]:
    """Return models that saw any of the records, and models made from such a model."""
    found = [model for model in models if records & set(model.records)]
    while True:
        names = {name for model in found for name in (model.sha256, model.content, *model.files)}
        # Models made from such a model saw the records indirectly.
        more = [
            model for model in models if model not in found and names & {model.sha256, model.content, *model.parents}
        ]
        if not more:
            return [model for model in models if model in found]
        found += more


def _records_of(folder: UseFolder, ids: Sequence[str], key: DataKey) -> list[str]:
    policy, register = folder.policy(), folder.register()
    if policy.data.key != key.id:
        raise UsageError(f"The policy {policy.name} was written with another data key; pass that key with --data-key.")
    listed, found = set(folder.records(policy)), []
    for each in ids:
        if is_identifier(each) and (each in listed or register.of_record(each)):
            found.append(each)
            continue
        about = [
            record
            for receipt in register.of_principal(principal_identifier(key, each))
            # A receipt may name several records, which all belong to the person.
            for record in receipt.pii_records
        ]
        if not about:
            raise UsageError(f"Nothing is stored under {each!r}: no record or receipt has this identifier; check it.")
        found += about
    return sorted(set(found))


def require_absence(proof: Mapping[str, Any], identifier: str, root: str) -> None:
    """Check a proof that a model's list lacks an identifier, against the root in its signed statement.

    Raises:
        CertificateError: the proof does not show that.
    """
    if not Absence.from_json(proof).holds(identifier, root):
        raise CertificateError(f"The proof does not show that {identifier[:16]} is absent from the list.")
