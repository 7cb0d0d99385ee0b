"""SPDX 3.0.1 with the AI profile (https://spdx.github.io/spdx-spec/v3.0.1/model/AI/), as JSON-LD.

Written through the SPDX project's bindings, which are generated from the specification's SHACL model and reject wrong
types, unknown values and missing properties.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from certify.assessment.claims import later_costs
from certify.assessments.efficiency.claims import BaselineClaim, EfficiencyClaims
from certify.core.estimate import EvidenceLevel
from certify.export.source import ExportSource
from certify.export.wording import figure, number, signed_fields, subject_matter, unmetered_sentence

SPEC = "3.0.1"
NAMESPACE = "https://leanmark.org/secure/spdx"
JOULES_PER_MEGAJOULE = 1e6

INCLUDED = (
    "subject.*.digest", "leanmark", "created", "model.name", "edition", "outcome", "grade.reasons", "grade.notes",
    "profile.estimates.*.value", "profile.estimates.*.low", "profile.estimates.*.high", "profile.estimates.*.unit",
    "profile.estimates.*.n", "profile.estimates.*.evidence", "profile.guards", "workload", "device", "meter", "data",
    "baseline", "preprocess", "evidence.sha256", "lineage.sha256", "companions", "signer",
)  # fmt: skip
"""Fields of the statement that the document contains."""

INCLUDED_IF_GRADED = ("grade.text", "grade.score_db", "grade.point_letter")

QUANTITY = "ai_energyQuantity"


def write(source: ExportSource) -> str:
    """Return the document as JSON-LD."""
    from spdx_python_model import v3_0_1 as spdx

    document = _Document(spdx, source)
    model = document.model()
    document.relate(model, "descendantOf", [document.baseline()])
    document.relate(model, "testedOn", [document.dataset()])
    document.relate(model, "hasEvidence", list(document.sidecars()))
    for name, part in _circumstances(source.measured).items():
        document.annotate(model, name, part)
    if further := later_costs(source.claims.lineage_digest, source.every):
        # The AI profile only has fields for the energy of training, fine-tuning and inference.
        joules = {name: None if one is None else signed_fields(one) for name, one in further.items()}
        document.annotate(model, "further-energy", joules)
    for other in source.others:
        document.annotate(model, f"statement-{other.claims.assessment}", other.to_json())
    document.close(model)
    # Written as a graph even for one element, so that readers always find the same structure.
    written = spdx.JSONLDSerializer().serialize_data(spdx.SHACLObjectSet(document.elements), force_at_graph=True)
    return json.dumps(_without_exponents(written), indent=2, allow_nan=False) + "\n"


def _without_exponents(value: Any) -> Any:
    """Return JSON values with quantities as xsd:decimal; the bindings write small ones as 8e-10."""
    if isinstance(value, list):
        return [_without_exponents(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: format(Decimal(item), "f") if key == QUANTITY else _without_exponents(item) for key, item in value.items()
    }


class _Document:
    """Elements of one document, which share namespace and creation info."""

    def __init__(self, spdx: Any, source: ExportSource) -> None:
        self._spdx = spdx
        self._source = source
        self._claims = claims = source.measured
        self.elements: list[Any] = []
        # Cut to seconds, as SPDX requires.
        self._created = datetime.fromisoformat(claims.created[:19] + "+00:00")
        self._creation = spdx.CreationInfo(specVersion=SPEC, created=self._created)
        self._signer = self._add(
            spdx.Agent,
            "signer",
            name=f"Holder of the {claims.signer.algorithm} key {claims.signer.public_key}",
        )
        tool = self._add(spdx.Tool, "leanmark", name=f"leanmark {claims.leanmark}")
        self._creation.createdBy = [self._signer]
        self._creation.createdUsing = [tool]

    def _add(self, kind: Any, fragment: str, /, **fields: Any) -> Any:
        # Derived from the certificate's digest, so that equal input gives equal identifiers.
        identity = f"{NAMESPACE}/{self._claims.digest}#{fragment}"
        stated = {key: value for key, value in fields.items() if value is not None}
        element = kind(spdxId=identity, creationInfo=self._creation, **stated)
        self.elements.append(element)
        return element

    def _sha256(self, digest: str) -> list[Any]:
        return [self._spdx.Hash(algorithm=self._spdx.HashAlgorithm.sha256, hashValue=digest)]

    def _package(self, kind: Any, fragment: str, digest: str, /, **fields: Any) -> Any:
        """Add a package named by its digest; a certificate does not state a download location."""
        return self._add(
            kind,
            fragment,
            software_packageVersion=f"sha256:{digest}",
            software_downloadLocation=_digest_uri(digest),
            releaseTime=self._created,
            suppliedBy=self._signer,
            **fields,
        )

    def model(self) -> Any:
        """Add the graded model."""
        spdx, source, claims = self._spdx, self._source, self._claims
        return self._package(
            spdx.ai_AIPackage,
            "model",
            source.file_digest,
            name=claims.model,
            summary=_verdict(claims),
            comment=_content(source.content_digest),
            verifiedUsing=self._sha256(source.file_digest),
            software_primaryPurpose=spdx.software_SoftwarePurpose.model,
            ai_domain=[f"{subject_matter(claims)} classification"],
            ai_informationAboutApplication=_application(claims),
            ai_informationAboutTraining="\n".join(_passes(source)) or None,
            ai_limitation="\n".join(_limits(claims)),
            ai_metric=self._entries(_metrics(claims)),
            ai_energyConsumption=self._energy(),
        )

    def _entries(self, pairs: Iterator[tuple[str, str]]) -> list[Any]:
        return [self._spdx.DictionaryEntry(key=key, value=value) for key, value in pairs]

    def _energy(self) -> Any:
        """Return the joules per inference and of the passes; the profile has no field for interval or method."""
        spdx, lineage = self._spdx, self._source.lineage or {}
        energy = self._claims.figures.energy_j("candidate")
        inference = [] if energy is None else [energy.value]
        spent = [row["energy_j"] for row in lineage.get("rows", ())]
        # A partial sum would be mistaken for the whole.
        passes = [] if None in spent else [joules["value"] for joules in spent]
        baseline = lineage.get("baseline", {})
        trained = [baseline["energy_j"]["value"]] if baseline.get("trained_here") and baseline.get("energy_j") else []
        if not inference + passes + trained:
            return None
        return spdx.ai_EnergyConsumption(
            ai_inferenceEnergyConsumption=self._quantities(inference),
            ai_finetuningEnergyConsumption=self._quantities(passes),
            ai_trainingEnergyConsumption=self._quantities(trained),
        )

    def _quantities(self, joules: Sequence[float]) -> list[Any]:
        return [
            self._spdx.ai_EnergyConsumptionDescription(
                ai_energyQuantity=value / JOULES_PER_MEGAJOULE, ai_energyUnit=self._spdx.ai_EnergyUnitType.megajoule
            )
            for value in joules
        ]

    def baseline(self) -> Any:
        """Add the original model."""
        baseline = self._claims.baseline
        return self._package(
            self._spdx.ai_AIPackage,
            "baseline",
            baseline.file_digest,
            name="baseline",
            summary=baseline.provenance,
            comment=f"{_content(baseline.content_digest)}; {_contracts(baseline)}",
            verifiedUsing=self._sha256(baseline.file_digest),
            software_primaryPurpose=self._spdx.software_SoftwarePurpose.model,
        )

    def dataset(self) -> Any:
        """Add the test samples; their digest is over a list of digests, so it is not a file hash."""
        spdx, data = self._spdx, self._claims.data
        rest = {key: value for key, value in data.to_json().items() if key not in ("name", "test_samples")}
        return self._package(
            spdx.dataset_DatasetPackage,
            "test-data",
            data.test_digest,
            name=data.name,
            comment="; ".join(f"{key} {figure(value)}" for key, value in rest.items() if value is not None),
            dataset_datasetType=[getattr(spdx.dataset_DatasetType, subject_matter(self._claims))],
            dataset_datasetSize=data.test_samples,
            dataset_intendedUse="testing",
            software_primaryPurpose=spdx.software_SoftwarePurpose.data,
            originatedBy=[self._signer],
            builtTime=self._created,
        )

    def sidecars(self) -> Iterator[Any]:
        """Yield the certificate and the files that it binds."""
        claims = self._claims
        files = {"certificate.json": claims.digest, "evidence.jsonl": claims.evidence_digest}
        if claims.lineage_digest is not None:
            files["lineage.json"] = claims.lineage_digest
        files |= {other.name: other.claims.digest for other in self._source.others}
        for name, digest in {**files, **claims.companions}.items():
            yield self._add(
                self._spdx.software_File,
                f"file-{name.replace('/', '-')}",
                name=name,
                verifiedUsing=self._sha256(digest),
            )

    def relate(self, origin: Any, kind: str, to: list[Any]) -> None:
        """Add a relationship from one element to others."""
        relationship = getattr(self._spdx.RelationshipType, kind)
        self._add(self._spdx.Relationship, kind, from_=origin, relationshipType=relationship, to=to)

    def annotate(self, subject: Any, name: str, part: Any) -> None:
        """Attach a part of the certificate as JSON."""
        self._add(
            self._spdx.Annotation,
            name,
            subject=subject,
            annotationType=self._spdx.AnnotationType.other,
            contentType="application/json",
            statement=json.dumps({name: part}, sort_keys=True),
        )

    def close(self, root: Any) -> None:
        """Add the document element."""
        profiles = self._spdx.ProfileIdentifierType
        conformance = [profiles.core, profiles.software, profiles.ai, profiles.dataset]
        # Copied before the document is added, because the document must not list itself.
        inside = list(self.elements)
        self._add(
            self._spdx.SpdxDocument,
            "document",
            name=f"Certificate of {root.name}",
            rootElement=[root],
            element=inside,
            profileConformance=conformance,
        )


def _digest_uri(digest: str) -> str:
    """Return a URI for bytes by their digest (RFC 6920)."""
    encoded = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"ni:///sha-256;{encoded}"


def _content(digest: str) -> str:
    return f"leanmark content digest {digest}"


def _circumstances(claims: EfficiencyClaims) -> dict[str, Any]:
    """Return circumstances of the measurement for which SPDX has no property."""
    meter = {} if claims.meter is None else {"meter": signed_fields(claims.meter)}
    guards = [finding.to_json() for finding in claims.findings]
    return {"workload": signed_fields(claims.workload), "device": claims.device, **meter, "guards": guards}


def _verdict(claims: EfficiencyClaims) -> str:
    edition = f"edition {claims.edition.name}, sha256:{claims.edition.digest}"
    if claims.refused:
        return f"leanmark gave no grade ({edition})"
    point = f"{claims.grade.point_letter} at the measured point"
    return f"leanmark grade {claims.text} ({edition}), score {claims.grade.score_db} dB, {point}"


def _limits(claims: EfficiencyClaims) -> Iterator[str]:
    if claims.meter is not None and claims.unmetered:
        yield unmetered_sentence(claims.meter)
    yield from claims.grade.reasons
    yield from claims.grade.notes
    yield from (f"Guard {g.name}: {g.outcome}. {g.sentence}" for g in claims.findings if g.outcome != "pass")


def _application(claims: EfficiencyClaims) -> str:
    return f"Preprocessing contract: {json.dumps(claims.preprocess, sort_keys=True)}"


def _contracts(baseline: BaselineClaim) -> str:
    note = f" (differs, its maker says: {baseline.contracts_differ})" if baseline.contracts_differ is not None else ""
    return f"preprocessing contract: {json.dumps(baseline.preprocess, sort_keys=True)}{note}"


def _passes(source: ExportSource) -> Iterator[str]:
    for row in (source.lineage or {}).get("rows", ()):
        yield f"{row['pass']} version {row['version']}: {json.dumps(row['config'], sort_keys=True)}"


def _metrics(claims: EfficiencyClaims) -> Iterator[tuple[str, str]]:
    """Yield each estimate with its interval in square brackets."""
    for name, estimate in claims.figures.items():
        ends = ", ".join(
            figure(number(end)) if math.isfinite(end) else "unbounded" for end in (estimate.low, estimate.high)
        )
        unit = "" if estimate.unit == "1" else f" {estimate.unit}"
        kind = "" if estimate.evidence is EvidenceLevel.DIRECT else f", {estimate.evidence.value}"
        yield name, f"{figure(number(estimate.value))} [{ends}]{unit}, n {estimate.n}{kind}"
