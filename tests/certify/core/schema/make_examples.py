"""Regenerate the published examples from synthetic evidence: ``python tests/certify/core/schema/make_examples.py``.

Run it after a change of an unreleased schema or of the guards; the tests say when.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parents[4]
EXAMPLES = ROOT / "certify" / "core" / "schema" / "examples"
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / "certify" / name) for name in ("attest", "efficiency"))]

from conftest import contract, lineage_values  # type: ignore[import-not-found]  # noqa: E402
from synthetic import make_evidence  # type: ignore[import-not-found]  # noqa: E402

from certify.assessments.efficiency.assessment import Efficiency  # noqa: E402
from certify.assessments.efficiency.edition import load_edition  # noqa: E402
from certify.assessments.efficiency.grade import grade  # noqa: E402
from certify.assessments.efficiency.profile import derive  # noqa: E402
from certify.assessments.efficiency.remeasurement import compare_measurements  # noqa: E402
from certify.attest.countersignature import SCHEMA  # noqa: E402
from certify.attest.envelope import parse_envelope  # noqa: E402
from certify.attest.key_statements import hand_over, revoke  # noqa: E402
from certify.attest.keys import SigningKey  # noqa: E402
from certify.attest.revoked_models import revoke_models  # noqa: E402
from certify.attest.signed import Signed, sign_statement  # noqa: E402
from certify.attest.statement import Binding, build_statement  # noqa: E402
from certify.attest.trust import TrustStore  # noqa: E402
from certify.core.data_use.policy import BoundData, Rule, Supplier, UsePolicy  # noqa: E402
from certify.core.evidence import Evidence  # noqa: E402
from certify.core.evidence_file import evidence_bytes  # noqa: E402
from certify.scorecard.mark import Scheme, withdraw  # noqa: E402

EDITION = load_edition("2026")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def key(name: str) -> SigningKey:
    """A key that everybody can make, so it is worth nothing."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


MAKER, LAB, SUCCESSOR, BODY = key("maker"), key("lab"), key("successor"), key("body")


def evidence(**knobs: Any) -> Evidence:
    head = make_evidence().header
    models = {
        arm: replace(facts, file_digest=digest(arm), content_digest=digest(f"{arm}, content"))
        for arm, facts in head.models.items()
    }
    data = {**head.data, "test_digest": digest("samples"), "fresh": "no"}
    made: Evidence = make_evidence(
        header={"models": models, "data": data, "created": "2026-11-22T12:00:00Z"},
        observations={"fresh_data": None},
        **knobs,
    )
    return made


def certificate(made: Evidence) -> dict[str, Any]:
    """The signed statement of a certificate."""
    profile, records = derive(made, EDITION), evidence_bytes(made)
    binding = Binding(
        model="resnet18",
        metadata=digest("metadata"),
        subject="model.onnx",
        digests=Efficiency().subject(made),
        evidence=(hashlib.sha256(records).hexdigest(), len(records)),
        lineage=digest("lineage"),
        companions={"baseline.onnx": digest("companion")},
        stated={"preprocess": contract().to_json(), "label": {"renderer": "resvg_py 0.5.0"}},
        signer=MAKER.public,
    )
    statement: dict[str, Any] = json.loads(
        build_statement(Efficiency(), made, profile, grade(profile, EDITION), EDITION, binding)
    )
    return statement


def dated(signed: Signed) -> dict[str, Any]:
    """The signed statement, with a time that stays."""
    statement: dict[str, Any] = json.loads(parse_envelope(signed.content).payload)
    statement["predicate"]["created"] = "2026-11-22T13:00:00Z"
    return statement


def countersignature(first: Evidence, second: Evidence, certified: dict[str, Any]) -> dict[str, Any]:
    agreement, records = compare_measurements(first, second, EDITION), evidence_bytes(second)
    differs = [figure.name for figure in agreement.figures if figure.outcome == "differs"]
    predicate = {
        "leanmark": "0.1.0",
        "maker": MAKER.public.key_id,
        "grade": {"certified": certified["predicate"]["grade"]["text"], "found": agreement.text},
        "checked": "reproduced",
        "agrees": not differs,
        "differs": differs,
        "figures": [figure.to_json() for figure in agreement.figures],
        "device": dict(second.header.device),
        "fresh_data": second.header.data["fresh"],
        "evidence": {"sha256": hashlib.sha256(records).hexdigest(), "bytes": len(records)},
        "remark": None,
    }
    subject = [certified["subject"][0], {"name": "certificate.json", "digest": {"sha256": digest("certificate")}}]
    return dated(sign_statement(SCHEMA, subject, predicate, LAB))


def revoked_models() -> dict[str, Any]:
    """Of one model."""
    model = {"sha256": digest("model"), "leanmarkContent": digest("content")}
    reason = "A record that the model saw was withdrawn; it has to be made again without it."
    return dated(revoke_models({"model.onnx": model}, reason, use_policy().digest, MAKER))


def use_policy() -> UsePolicy:
    """Of a clinic that lets its data be used for research."""
    actions = ("train", "finetune", "calibrate", "evaluate")
    return UsePolicy(
        name="clinic-digits", issued="2026-01-01T00:00:00Z", controller="Clinic of Example Town",
        contact="privacy@example.org", data=BoundData("digits", digest("records"), digest("data key")),
        suppliers=(Supplier("patients of the clinic", "on paper forms in 2025"),),
        permissions=(Rule(actions, ("dpv:ResearchAndDevelopment",), (), "2027-01-01T00:00:00Z"),),
        prohibitions=(Rule(("train", "finetune", "distil"), ("dpv:Marketing",)),), legal_basis="dpv:Consent",
        consent="required", withdrawal="by e-mail to the contact, at any time", retention="2030-01-01T00:00:00Z",
        no_sale=True,
    )  # fmt: skip


def attestation(certified: dict[str, Any]) -> dict[str, Any]:
    """Of an institute that saw what nobody can measure."""
    text = "We took part in both meetings with tenants, and the model was changed after them."
    predicate = {"name": "Example Institute", "credits": ["S7"], "text": text}
    return dated(sign_statement("attestation-1", [certified["subject"][0]], predicate, LAB))


SCHEME = Scheme(
    "Example scheme", "Example Foundation", "https://example.org/terms", "Example Certification Ltd",
    "ISO/IEC 17065, number 123 of the national accreditation body", "complaints@example.org",
)  # fmt: skip


def mark(certified: dict[str, Any]) -> dict[str, Any]:
    """A level that a scheme awards after a verifier measured again."""
    predicate = {
        "scheme": SCHEME.to_json(), "level": "gold", "checked": "reproduced", "verifier": LAB.public.key_id,
        "fresh_data": "imagefolder:unseen", "until": "2028-01-01T00:00:00Z",
        "edition": {"name": "secure-2026", "digest": digest("edition")},
    }  # fmt: skip
    about = [certified["subject"][0], {"name": "scorecard.json", "digest": {"sha256": digest("scorecard")}}]
    return dated(sign_statement("mark-1", about, predicate, BODY))


def withdrawn_marks() -> dict[str, Any]:
    """Of one mark."""
    return dated(withdraw({digest("mark"): "The energy was not confirmed."}, SCHEME, BODY))


def witnesses(certified: dict[str, Any]) -> dict[str, Any]:
    """What a stranger signs who found witnesses for a model."""
    found = {"name": "0123456789abcdef.npz", "digest": {"sha256": digest("witnesses")}}
    predicate = {
        "leanmark": "0.1.0",
        "test_digest": digest("samples"),
        "arm": "candidate",
        "witnesses": 150,
        "held": 148,
        "remark": "APGD, 20 steps",
    }
    return dated(sign_statement("witnesses-1", [certified["subject"][0], found], predicate, LAB))


def main() -> None:
    """Write every example."""
    first, second = evidence(), evidence(seed=2)
    changed = [replace(one, candidate_top1=(one.candidate_top1 + 1) % 10) for one in second.predictions[:87]]
    other = replace(second, predictions=(*changed, *second.predictions[87:]))
    graded = certificate(first)
    store = TrustStore(
        {"acme": MAKER.public},
        ((MAKER.public, SUCCESSOR.public),),
        {LAB.public: "found on an old disk"},
        {"bench": digest("bench.py")},
        {"example-scheme": BODY.public},
    )
    examples = {
        "attestation-1": attestation(graded),
        "mark-1": mark(graded),
        "withdrawn-marks-1": withdrawn_marks(),
        "certificate-1.graded": graded,
        "certificate-1.refused": certificate(evidence(null_bias=0.2)),
        "countersignature-1.agrees": countersignature(first, second, graded),
        "countersignature-1.disagrees": countersignature(first, other, graded),
        "handover-1": dated(hand_over(MAKER, SUCCESSOR.public)),
        "lineage-1": lineage_values(),
        "release-1": dated(
            sign_statement(
                "release-1",
                [{"name": "example-1.0.tar.gz", "digest": {"sha256": digest("archive")}}],
                {"release": "example 1.0"},
                MAKER,
            )
        ),
        "revocation-1": dated(revoke(MAKER, "the laptop was stolen")),
        "revoked-models-1": revoked_models(),
        "trust-store-1": store.to_json(),
        "use-policy-1": use_policy().to_json(),
        "witnesses-1": witnesses(graded),
    }
    for name, values in examples.items():
        (EXAMPLES / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
