"""CycloneDX 1.6 and 1.7: a machine-learning bill of materials (https://cyclonedx.org/docs/1.6/json/).

The library models components, hashes, pedigree and references, and serialises them. It has no classes for model cards,
so that part is written here according to the schema, and the whole document is validated against the library's copy of
the schema before it is returned.
"""

from __future__ import annotations

import functools
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from certify.assessment.claims import later_costs
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.export.cyclonedx_declarations import declarations, definitions
from certify.export.source import ExportSource
from certify.export.wording import figure, levelled, number, signed_fields, subject_matter, unmetered_sentence

if TYPE_CHECKING:
    from cyclonedx.model import ExternalReference, Property
    from cyclonedx.model.component import Component, Pedigree
    from jsonschema_rs import Draft7Validator

Version = Literal["1.6", "1.7"]
JOULES_PER_KWH = 3.6e6
ACTIVITIES = {"distill": "fine-tuning"}
"""Lifecycle activity of a pass; passes without a matching activity are ``other``."""

INCLUDED = (
    "subject.*.digest", "leanmark", "created", "model.name", "edition", "outcome", "workload", "workload_digest",
    "grade.letter", "grade.modelled", "grade.score_db", "grade.upper_ratio", "grade.loss_percent", "grade.reasons",
    "grade.notes", "profile.estimates.*.value", "profile.estimates.*.low", "profile.estimates.*.high",
    "profile.estimates.*.evidence", "profile.estimates.energy_j_candidate", "profile.guards.*.name",
    "profile.guards.*.outcome", "profile.guards.*.sentence",
    "meter.name", "meter.level", "meter.scope", "meter.method", "meter.relative_error",
    "grade.point_letter", "data", "baseline", "preprocess", "evidence.sha256", "lineage.sha256", "companions",
    "attempts", "signer",
)  # fmt: skip
"""Fields of the statement that the document contains."""

INCLUDED_IF_GRADED = ("grade.text",)

SHARED_SCHEMAS = ("spdx", "jsf-0.82", "cryptography-defs")
"""Schemas to which that of the bill of materials refers."""


def write(source: ExportSource) -> str:
    """Return the bill of materials as JSON, in version 1.6; see :func:`document`."""
    return document(source, "1.6")


def document(source: ExportSource, version: Version) -> str:
    """Return the bill of materials as JSON.

    Args:
        source: the certificate.
        version: version of CycloneDX.

    Raises:
        CertificateError: the result does not conform to the official schema of that version.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6, JsonV1Dot7

    claims, model = source.measured, _model(source)
    tool = Component(name="leanmark", type=ComponentType.APPLICATION, version=claims.leanmark)
    # The Z is removed, because `fromisoformat` does not read it before Python 3.11.
    metadata = BomMetaData(component=model, timestamp=datetime.fromisoformat(claims.created[:19] + "+00:00"))
    metadata.tools.components.add(tool)
    # Derived from the certificate instead of random, so that equal input gives equal text.
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{claims.digest}"), metadata=metadata)
    output = JsonV1Dot6(bom) if version == "1.6" else JsonV1Dot7(bom)
    values = json.loads(output.output_as_string())
    values["metadata"]["component"]["modelCard"] = _model_card(source)
    values["definitions"], values["declarations"] = definitions(source), declarations(source)
    # NaN and Infinity are not JSON, although Python's writer emits them by default.
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    _check(text, version)
    return text


@functools.cache
def _validator(version: Version) -> Draft7Validator:
    """Return a validator of the official schema, which the library contains; its own takes seconds to start."""
    import jsonschema_rs

    folder = resources.files("cyclonedx.schema._res")

    def schema(name: str) -> Any:
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_bytes())

    shared = [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name)) for name in SHARED_SCHEMAS]
    registry = jsonschema_rs.Registry(shared, draft=jsonschema_rs.Draft7)
    return jsonschema_rs.Draft7Validator(schema(f"bom-{version}"), registry=registry, validate_formats=True)


def _check(text: str, version: Version) -> None:
    error = next(_validator(version).iter_errors(json.loads(text)), None)
    if error is not None:
        raise CertificateError(f"The certificate does not conform to CycloneDX {version}: {error.message[:300]}")


def _model(source: ExportSource) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    claims = source.measured
    return Component(
        name=claims.model,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        version=f"sha256:{source.file_digest}",
        description=_verdict(claims),
        hashes=[_sha256(source.file_digest)],
        external_references=_references(source),
        properties=_properties(source),
        pedigree=_pedigree(source),
    )


def _verdict(claims: EfficiencyClaims) -> str:
    if claims.refused:
        return f"leanmark gave no grade (edition {claims.edition.name}): {' '.join(claims.grade.reasons)}"
    return f"leanmark grade {claims.text} (edition {claims.edition.name})."


def _references(source: ExportSource) -> Iterator[ExternalReference]:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri

    claims = source.measured
    files = [
        ("certificate.json", ExternalReferenceType.ATTESTATION, claims.digest),
        ("evidence.jsonl", ExternalReferenceType.EVIDENCE, claims.evidence_digest),
    ]
    if claims.lineage_digest is not None:
        files.append(("lineage.json", ExternalReferenceType.BUILD_META, claims.lineage_digest))
    files += [(other.name, ExternalReferenceType.ATTESTATION, other.claims.digest) for other in source.others]
    files += [(name, ExternalReferenceType.OTHER, digest) for name, digest in claims.companions.items()]
    for name, kind, digest in files:
        yield ExternalReference(type=kind, url=XsUri(name), hashes=[_sha256(digest)])


def _properties(source: ExportSource) -> Iterator[Property]:
    """Yield essential facts for which CycloneDX has no field."""
    from cyclonedx.model import Property

    claims, grade = source.measured, source.measured.grade
    values: dict[str, Any] = {
        "edition:digest": claims.edition.digest,
        "grade:letter": grade.letter,
        "grade:point_letter": grade.point_letter,
        "grade:modelled": grade.modelled,
        "grade:score_db": grade.score_db,
        "grade:upper_ratio": grade.upper_ratio,
        "grade:loss_percent": grade.loss_percent,
        "workload_digest": claims.workload_digest,
        "attempts": claims.attempts,
        "signer:algorithm": claims.signer.algorithm,
        "signer:public_key": claims.signer.public_key,
        **{f"workload:{name}": value for name, value in signed_fields(claims.workload).items()},
    }
    if claims.meter is not None:
        names = ("name", "level", "scope", "method", "relative_error")
        values |= {f"meter:{name}": getattr(claims.meter, name) for name in names}
    values["content_digest"] = source.content_digest
    values |= {f"guard:{finding.name}": finding.outcome for finding in claims.findings}
    for other in source.others:
        name = f"statement:{other.claims.assessment}"
        values[name] = other.claims.text
        values |= {f"{name}:guard:{finding.name}": finding.outcome for finding in other.claims.findings}
        values |= {f"{name}:{key}": str(estimate) for key, estimate in other.claims.figures.items()}
    for name, value in values.items():
        if value is not None:
            yield Property(name=f"leanmark:{name}", value=figure(value))


def _pedigree(source: ExportSource) -> Pedigree:
    """Return the baseline as ancestor, with what each pass did as notes."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    baseline = source.measured.baseline
    facts = {
        "content_digest": baseline.content_digest,
        "preprocess": json.dumps(baseline.preprocess, sort_keys=True),
        "contracts_differ": "none declared" if baseline.contracts_differ is None else baseline.contracts_differ,
    }
    ancestor = Component(
        name=f"{source.measured.model} (baseline)",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="baseline",
        description=baseline.provenance,
        hashes=[_sha256(baseline.file_digest)],
        properties=[Property(name=f"leanmark:{name}", value=value) for name, value in facts.items()],
    )
    return Pedigree(ancestors=[ancestor], notes="\n".join(_passes(source)) or None)


def _passes(source: ExportSource) -> Iterator[str]:
    for row in (source.lineage or {}).get("rows", ()):
        accuracy = row["validation_accuracy"]
        scored = "" if accuracy is None else f", validation accuracy {figure(accuracy)}"
        yield (
            f"{row['pass']} version {row['version']} ({row['stage']}): {row['parameters']} parameters, "
            f"{row['macs']} multiply-adds, {row['bytes']} bytes after it{scored}, {figure(row['seconds'])} s"
        )


def _sha256(digest: str) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _model_card(source: ExportSource) -> dict[str, Any]:
    claims = source.measured
    limits = [*claims.grade.reasons, *claims.grade.notes]
    if claims.meter is not None and claims.unmetered:
        limits.insert(0, unmetered_sentence(claims.meter))
    considerations: dict[str, Any] = {"technicalLimitations": limits}
    if energy := list(_energy(source)):
        considerations["environmentalConsiderations"] = {"energyConsumptions": energy}
    return {
        "modelParameters": {
            "task": f"{subject_matter(claims)} classification",
            "datasets": [_dataset(claims)],
            "inputs": [{"format": json.dumps(claims.preprocess, sort_keys=True)}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [_metric(name, figure) for name, figure in claims.figures.items()]
        },
        "considerations": considerations,
    }


def _dataset(claims: EfficiencyClaims) -> dict[str, Any]:
    facts = claims.data.to_json().items()
    rest = [{"name": f"leanmark:{key}", "value": figure(value)} for key, value in facts if value is not None]
    return {
        "type": "dataset",
        "name": claims.data.name,
        "description": "Test set; not used for training or calibration according to the guard test_unseen.",
        "contents": {"properties": rest},
    }


def _metric(name: str, estimate: Estimate) -> dict[str, Any]:
    """Return one estimate; its name includes the unit and the evidence level of energy."""
    ends = {"lowerBound": estimate.low, "upperBound": estimate.high}
    metric: dict[str, Any] = {"type": levelled(name, estimate), "value": figure(number(estimate.value))}
    # An unbounded end has no JSON number, so it is left out.
    if bounds := {end: figure(number(value)) for end, value in ends.items() if math.isfinite(value)}:
        metric["confidenceInterval"] = bounds
    return metric


def _energy(source: ExportSource) -> Iterator[dict[str, Any]]:
    """Yield the energy of one inference of the candidate, and of making it."""
    if (inference := source.measured.figures.energy_j("candidate")) is not None:
        yield _consumption("inference", signed_fields(inference), "one inference, gross")
    lineage = source.lineage or {}
    baseline = lineage.get("baseline", {})
    # The baseline's joules count only if it was trained here; nothing states those of a downloaded model.
    if baseline.get("trained_here") and baseline.get("energy_j"):
        yield _consumption("training", baseline["energy_j"], "training of the baseline")
    for row in lineage.get("rows", ()):
        if row["energy_j"]:
            yield _consumption(ACTIVITIES.get(row["pass"], "other"), row["energy_j"], f"pass {row['pass']}")
    for name, joules in later_costs(source.claims.lineage_digest, source.every).items():
        if joules is not None:
            yield _consumption("other", signed_fields(joules), name)


def _consumption(activity: str, estimate: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the energy of an activity; the schema only has kWh without intervals, so joules are properties."""
    cost = {"value": estimate["value"] / JOULES_PER_KWH, "unit": "kWh"}
    joules = {f"leanmark:energy_j:{key}": value for key, value in estimate.items() if value is not None}
    return {
        "activity": activity,
        "energyProviders": [
            # The schema requires a provider with an energy source, but the mix of the grid was not measured.
            {"organization": {"name": "unknown"}, "energySource": "unknown", "energyProvided": dict(cost)}
        ],
        "activityEnergyCost": cost,
        "properties": [
            {"name": "leanmark:activity", "value": what},
            *({"name": name, "value": figure(value)} for name, value in joules.items()),
        ],
    }
