"""CycloneDX 1.6: a machine-learning bill of materials (https://cyclonedx.org/docs/1.6/json/).

The library models components, hashes, pedigree and references, and writes them; it has no classes for model cards, so
that part is written here as the schema says, and the whole document is checked against the library's own copy of the
schema before it is given away.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from certify.core.errors import CertificateError
from certify.export.source import Path, Source
from certify.export.wording import figure, levelled, subject_matter, unmetered_sentence

if TYPE_CHECKING:
    from cyclonedx.model import ExternalReference, Property
    from cyclonedx.model.component import Component, Pedigree
    from cyclonedx.validation.json import JsonStrictValidator

JOULES_PER_KWH = 3.6e6
ACTIVITIES = {"distill": "fine-tuning"}
"""Lifecycle activity of a pass; what the schema has no word for is ``other``."""

_INFERENCE = ("profile", "estimates", "energy_j_candidate")


def write(source: Source) -> str:
    """The bill of materials as JSON.

    Raises:
        CertificateError: what came out does not fit the schema.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    model = _model(source)
    tool = Component(name="leanmark", type=ComponentType.APPLICATION, version=source.take("leanmark"))
    metadata = BomMetaData(component=model, timestamp=datetime.fromisoformat(source.take("created")[:19] + "+00:00"))
    metadata.tools.components.add(tool)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{source.digest}"), metadata=metadata)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"]["component"]["modelCard"] = _model_card(source)
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    _check(text)
    return text


@functools.cache
def _validator() -> JsonStrictValidator:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def _check(text: str) -> None:
    error = _validator().validate_str(text)
    if error is not None:
        raise CertificateError(f"The certificate does not fit CycloneDX 1.6: {str(error)[:300]}")


def _model(source: Source) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=source.take("model", "name"),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        version=f"sha256:{source.file_digest()}",
        description=_verdict(source),
        hashes=[_sha256(source.file_digest())],
        external_references=_references(source),
        properties=_properties(source),
        pedigree=_pedigree(source),
    )


def _verdict(source: Source) -> str:
    edition = source.take("edition", "name")
    if source.take("outcome") == "refused":
        return f"leanmark gave no grade (edition {edition}): {' '.join(source.take('grade', 'reasons'))}"
    return f"leanmark grade {source.take('grade', 'text')} (edition {edition})."


def _references(source: Source) -> Iterator[ExternalReference]:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri

    files = [
        ("certificate.json", ExternalReferenceType.ATTESTATION, source.digest),
        ("evidence.jsonl", ExternalReferenceType.EVIDENCE, source.take("evidence", "sha256")),
    ]
    if (lineage := source.take("lineage", "sha256")) is not None:
        files.append(("lineage.json", ExternalReferenceType.BUILD_META, lineage))
    files += [
        (name, ExternalReferenceType.OTHER, source.take("companions", name)) for name in source.look("companions")
    ]
    for name, kind, digest in files:
        yield ExternalReference(type=kind, url=XsUri(name), hashes=[_sha256(digest)])


def _properties(source: Source) -> Iterator[Property]:
    """What a reader must not miss and CycloneDX has no place for."""
    from cyclonedx.model import Property

    plain: list[Path] = [
        ("edition", "digest"), ("grade", "letter"), ("grade", "modelled"), ("grade", "score_db"),
        ("grade", "upper_ratio"), ("grade", "loss_percent"), ("workload_digest",), ("attempts",),
        ("signer", "algorithm"), ("signer", "public_key"),
    ]  # fmt: skip
    plain += [("workload", key) for key in source.look("workload")]
    plain += [("meter", key) for key in ("name", "level", "scope", "method", "relative_error") if source.look("meter")]
    for path in plain:
        if (value := source.take(*path)) is not None:
            yield Property(name=f"leanmark:{':'.join(path)}", value=figure(value))
    if (content := source.content_digest()) is not None:
        yield Property(name="leanmark:content_digest", value=content)
    for path, _ in source.guards():
        yield Property(name=f"leanmark:guard:{source.take(*path, 'name')}", value=source.take(*path, "outcome"))


def _pedigree(source: Source) -> Pedigree:
    """The baseline as ancestor, and what each pass did as notes."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    content = source.take("baseline", "content_digest")
    baseline = Component(
        name=f"{source.take('model', 'name')} (baseline)",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="baseline",
        description=source.take("baseline", "origin"),
        hashes=[_sha256(source.take("baseline", "file_digest"))],
        properties=[Property(name="leanmark:content_digest", value=content)] if content is not None else [],
    )
    return Pedigree(ancestors=[baseline], notes="\n".join(_passes(source)) or None)


def _passes(source: Source) -> Iterator[str]:
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


def _model_card(source: Source) -> dict[str, Any]:
    limits = [*source.take("grade", "reasons"), *source.take("grade", "notes")]
    if source.unmetered:
        limits.insert(0, unmetered_sentence(source))
    considerations: dict[str, Any] = {"technicalLimitations": limits}
    if energy := list(_energy(source)):
        considerations["environmentalConsiderations"] = {"energyConsumptions": energy}
    return {
        "modelParameters": {
            "task": f"{subject_matter(source)} classification",
            "datasets": [_dataset(source)],
            "inputs": [{"format": json.dumps(source.take("preprocess"), sort_keys=True)}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [_metric(source, name) for name in source.estimates()]},
        "considerations": considerations,
    }


def _dataset(source: Source) -> dict[str, Any]:
    facts = {key: source.take("data", key) for key in source.look("data")}
    rest = [{"name": f"leanmark:{key}", "value": figure(value)} for key, value in facts.items() if value is not None]
    return {
        "type": "dataset",
        "name": facts["name"],
        "description": "Test set; neither trained nor calibrated on, as far as the guard test_unseen says.",
        "contents": {"properties": rest},
    }


def _metric(source: Source, name: str) -> dict[str, Any]:
    """One estimate; its unit stands in its name, and the level of energy behind it."""
    path = ("profile", "estimates", name)
    kind = levelled(name, source.take(*path, "evidence"))
    ends = {"lowerBound": source.take(*path, "low"), "upperBound": source.take(*path, "high")}
    metric: dict[str, Any] = {"type": kind, "value": figure(source.take(*path, "value"))}
    if bounds := {end: figure(value) for end, value in ends.items() if value is not None}:
        metric["confidenceInterval"] = bounds
    return metric


def _energy(source: Source) -> Iterator[dict[str, Any]]:
    """One inference of the candidate, and what the making of it took."""
    if source.look(*_INFERENCE) is not None:
        yield _consumption("inference", source.take(*_INFERENCE), "one inference, gross")
    lineage = source.lineage or {}
    baseline = lineage.get("baseline", {})
    if baseline.get("trained_here") and baseline.get("energy_j"):
        yield _consumption("training", baseline["energy_j"], "training of the baseline")
    for row in lineage.get("rows", ()):
        if row["energy_j"]:
            yield _consumption(ACTIVITIES.get(row["pass"], "other"), row["energy_j"], f"pass {row['pass']}")


def _consumption(activity: str, estimate: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Energy of one activity; the schema knows kWh alone and no interval, so joules stand beside as properties."""
    cost = {"value": estimate["value"] / JOULES_PER_KWH, "unit": "kWh"}
    joules = {f"leanmark:energy_j:{key}": value for key, value in estimate.items() if value is not None}
    return {
        "activity": activity,
        "energyProviders": [
            {"organization": {"name": "unknown"}, "energySource": "unknown", "energyProvided": dict(cost)}
        ],
        "activityEnergyCost": cost,
        "properties": [
            {"name": "leanmark:activity", "value": what},
            *({"name": name, "value": figure(value)} for name, value in joules.items()),
        ],
    }
