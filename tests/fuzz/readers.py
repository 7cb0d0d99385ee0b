"""Readers of certificates, sidecar files, models and keys, which get hostile input."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import rfc8785
from declared import CARD, Declared
from graded import Graded
from markup import Unsafe, refuse_script

from certify.attest.audit import audit
from certify.attest.certificate import Certificate, read_lineage
from certify.attest.countersignature import countersign
from certify.attest.envelope import parse_envelope, sign
from certify.attest.key_statements import KEY_STATEMENTS_NAME, hand_over, read_key_statements, revoke
from certify.attest.keys import generate
from certify.attest.trust import STORE_NAME, TrustStore, load_store, trusted
from certify.attest.verify import verify
from certify.core.errors import LeanmarkError
from certify.core.evidence_file import parse_evidence
from certify.core.folders import config_folder
from certify.data.contract_slot import normalise, stored_contract
from certify.data.preprocess import Preprocess
from certify.export import FORMATS, export
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import inputs, load_model
from certify.model_file.onnx_graph.zero_channels import zero_channels
from certify.present.label.sidecars import label_of
from certify.present.report import Sidecars, page
from certify.workflows.issuance import issue
from compress.job import recipe


class Readers:
    """Runs one input each.

    Args:
        home: a graded folder, whose files are replaced by hostile ones.
    """

    def __init__(self, home: Graded) -> None:
        self.home = home
        self.folder = home.folder
        self.records = parse_evidence((home.folder / "evidence.jsonl").read_bytes())
        self.statement_before = json.loads(parse_envelope((home.folder / "certificate.json").read_bytes()).payload)
        self.bare = Graded(home.folder.parent / "bare", home.key)
        self.bare.folder.mkdir()
        (self.bare.folder / "link").symlink_to(self.folder.parent / mutations.SECRET)
        (self.bare.folder / "weights.bin").write_bytes(bytes(1000))
        os.mkfifo(self.bare.folder / "fifo")
        self.unsealed = (home.folder / "baseline.onnx").read_bytes()
        self.file = self.bare.folder / "file"
        self.verifier, self.successor = (generate(home.folder.parent / "others" / f"{n}.key") for n in ("lab", "new"))
        _, written = countersign(audit(home.model), self.verifier)
        self.countersigned = written["countersignature"]
        self.said = b"".join(
            statement.content + b"\n"
            for statement in (hand_over(home.key, self.successor.public), revoke(self.verifier, "stolen"))
        )

    @functools.cached_property
    def _declared(self) -> Declared:
        return Declared(self.home)

    @property
    def declared(self) -> bytes:
        """A good file of declarations."""
        return self._declared.file

    @property
    def declaration_statement(self) -> bytes:
        """A good statement of them."""
        return self._declared.statement

    @property
    def declaration_records(self) -> bytes:
        """Good records of them."""
        return self._declared.records

    card = CARD

    def declarations(self, content: bytes) -> None:
        """What a maker declares, signed beside the model and shown in every way there is."""
        certificate = self._declared.judge_file(content)
        main = Certificate.read(self._declared.home.model)
        if certificate is not None:
            shown = Sidecars(main, self.records, None, (), (certificate,))
            _draw(main, shown, ("hf-model-card",), (certificate,))  # the other formats are JSON, and slow to check

    def signed_declarations(self, payload: bytes) -> None:
        """A statement of declarations that its maker signed properly."""
        if self._declared.accepts(payload, self._declared.records) and payload != self._declared.statement:
            _refuse_other_words(json.loads(payload), json.loads(self._declared.statement))

    def signed_records(self, content: bytes) -> None:
        """Records of declarations, under a statement that binds them and did not follow from them."""
        self._declared.judge_records(content)
        if self._declared.sign_records(content) and content != self._declared.records:
            raise Unsafe("other records were accepted under a statement that does not follow from them")

    def model_card(self, content: bytes) -> None:
        """A model card from anywhere."""
        self._declared.read_card(content)

    def countersignature(self, content: bytes) -> None:
        """A countersignature from anywhere, beside a good certificate."""
        self.countersigned.write_bytes(content)
        self.home.verify().to_json()

    def signed_countersignature(self, payload: bytes) -> None:
        """What a verifier that the reader trusts signed properly."""
        self.countersigned.write_bytes(sign(payload, self.verifier).to_bytes())
        verification = verify(self.home.model, trust=[self.home.key.public, self.verifier.public])
        if verification.valid and verification.certificate is not None:
            _draw(verification.certificate, Sidecars(verification.certificate, None, None, verification.signatures), ())

    def key_statements(self, content: bytes) -> None:
        """Handovers and revocations from anywhere."""
        path = self.bare.folder / KEY_STATEMENTS_NAME
        path.write_bytes(content)
        trusted([self.home.key.public], read_key_statements(path)).standing(self.successor.public)

    def trust_store(self, content: bytes) -> None:
        """A trust store that somebody else wrote."""
        path = config_folder() / STORE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(content)
        try:
            store = load_store()
            for key in (self.home.key.public, self.successor.public, *store.keys.values()):
                store.standing(key)
            store.save()
        finally:
            path.unlink()

    def store_before(self) -> bytes:
        """A good trust store."""
        maker, lab, new = self.home.key.public, self.verifier.public, self.successor.public
        return json.dumps(TrustStore({"acme": maker, "lab": lab}, ((maker, new),), {lab: "stolen"}).to_json()).encode()

    def envelope(self, content: bytes) -> None:
        """A certificate from anywhere: verified beside a model without seal, drawn, exported."""
        self.bare.model.write_bytes(self.unsealed)
        path = self.bare.folder / "certificate.json"
        path.write_bytes(content)
        self.bare.verify().to_json()
        _draw(Certificate.read(path))

    def statement(self, payload: bytes) -> None:
        """A statement that its maker signed properly."""
        content = sign(payload, self.home.key).to_bytes()
        self.home.reseal(content)
        valid = self.home.verify().valid
        _draw(Certificate(content), Sidecars(Certificate(content), self.records, None) if valid else None)

    def evidence(self, content: bytes) -> None:
        """Evidence that nobody signed."""
        parse_evidence(content)

    def signed_evidence(self, content: bytes) -> None:
        """Evidence that its maker signed properly: the whole judgement runs over it."""
        statement = json.loads(json.dumps(self.statement_before))
        statement["predicate"]["evidence"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (self.folder / "evidence.jsonl").write_bytes(content)
        envelope = sign(rfc8785.dumps(statement), self.home.key).to_bytes()
        self.home.reseal(envelope)
        if self.home.verify().valid:
            _draw(Certificate(envelope), Sidecars(Certificate(envelope), parse_evidence(content), None), formats=())

    def texts(self, content: bytes) -> None:
        """A measurement that is honest but for its texts, judged, signed, and shown in every way there is."""
        evidence = parse_evidence(content)
        evidence = replace(evidence, header=replace(evidence.header, edition="2026"))
        bare, out = self.home.folder.parent / "candidate.onnx", self.home.folder.parent / "issued"
        name = evidence.header.baseline_origin[:256]
        contract = Preprocess.from_json(self.statement_before["predicate"]["preprocess"])
        lineage = self.folder / "lineage.json"
        certificate = issue(bare, evidence, lineage, contract, {}, out, self.home.key, model_name=name)
        _draw(certificate, Sidecars(certificate, evidence, read_lineage(lineage)))

    def lineage(self, content: bytes) -> None:
        """A lineage that its maker signed properly."""
        self.file.write_bytes(content)
        lineage = read_lineage(self.file)
        certificate = Certificate(sign(rfc8785.dumps(self.statement_before), self.home.key).to_bytes())
        _draw(certificate, Sidecars(certificate, None, lineage))

    def recipe(self, content: bytes) -> None:
        """A recipe."""
        self.file.with_suffix(".yaml").write_bytes(content)
        recipe.load(self.file.with_suffix(".yaml")).digest()

    def contract(self, content: bytes) -> None:
        """A preprocessing contract."""
        self.file.write_bytes(content)
        Preprocess.from_yaml(self.file)

    def model(self, content: bytes) -> None:
        """An ONNX file: verified, digested, brought into the normal form, checked, counted, and looked at."""
        path = self.bare.model
        path.write_bytes(content)
        for read in (self._verified, _digested, self._normalised, _counted):
            with contextlib.suppress(LeanmarkError):
                read(path)

    def _verified(self, path: Path) -> None:
        (path.parent / "certificate.json").write_bytes((self.folder / "certificate.json").read_bytes())
        self.bare.verify().to_json()

    def _normalised(self, path: Path) -> None:
        target = path.with_name("normal.onnx")
        normalise(path, target, Preprocess.from_json(self.statement_before["predicate"]["preprocess"]))
        if b"secret" * 3 in target.read_bytes():
            raise Unsafe("a file outside of the model's folder was read into it")
        target.unlink()


FREE = (("predicate", "model"), ("predicate", "lineage"), ("predicate", "companions"))
"""What a statement says besides what follows from its records."""


def _refuse_other_words(altered: Any, signed: Any) -> None:
    """Refuse a statement that says anything else that should follow from records, and was accepted."""
    for *owners, last in FREE:
        for statement in (altered, signed):
            place = statement
            for owner in owners:
                place = place[owner]
            place.pop(last, None)
    for statement in (altered, signed):  # words of findings may differ; they are noted, and shown as they follow
        statement["predicate"]["profile"]["guards"] = [
            (one["name"], one["outcome"]) for one in statement["predicate"]["profile"]["guards"]
        ]
        for one in statement["predicate"]["profile"]["estimates"].values():
            one.pop("method")
        result = statement["predicate"]["result"]
        statement["predicate"]["result"] = {"text": result["text"], "n": [len(result[k]) for k in ("reasons", "notes")]}
    if altered != signed:
        raise Unsafe("a statement that does not follow from its records was accepted")


def _digested(path: Path) -> None:
    stored_contract(path)
    content_digest(parse_model(path), path.parent)


def _counted(path: Path) -> None:
    model = load_model(path)
    if any(b"secret" * 3 in tensor.raw_data for tensor in model.graph.initializer):
        raise Unsafe("a file outside of the model's folder was read into a tensor")
    inputs(model)
    count(model, (3, 8, 8))
    zero_channels(model)


def _draw(
    certificate: Certificate,
    sidecars: Sidecars | None = None,
    formats: Iterable[str] = tuple(FORMATS),
    others: Sequence[Certificate] = (),
) -> None:
    """Everything that is made from a certificate for people and for tools; whoever signed it may not script any.

    The report is drawn only from sidecar files that verify calls valid, the rest from any certificate that can be read.
    """
    lineage = None if sidecars is None else sidecars.lineage
    made: list[Callable[[], str]] = [
        lambda: label_of(certificate, others),
        *(lambda name=name: export(certificate, name, lineage, others).content for name in formats),  # type: ignore[misc]
    ]
    if sidecars is not None:
        made.append(lambda: page(sidecars))
    for make_one in made:
        with contextlib.suppress(LeanmarkError):
            text = make_one()
            if text.lstrip().startswith("<"):
                refuse_script(text)
