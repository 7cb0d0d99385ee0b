"""SPDX 3.0.1 with the AI profile (https://spdx.github.io/spdx-spec/v3.0.1/model/AI/), as JSON-LD.

Written through the SPDX project's own bindings, which are generated from the specification's SHACL model and refuse a
wrong type, an unknown value and a missing property.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from certify.export.source import Path, Source
from certify.export.wording import figure, subject_matter, unmetered_sentence

SPEC = "3.0.1"
NAMESPACE = "https://leanmark.org/secure/spdx"
JOULES_PER_MEGAJOULE = 1e6

ANNOTATED: tuple[Path, ...] = (("workload",), ("device",), ("meter",), ("profile", "guards"))
"""Circumstances of the measurement, for which SPDX has no property of its own."""

QUANTITY = "ai_energyQuantity"
_INFERENCE = ("profile", "estimates", "energy_j_candidate")


def write(source: Source) -> str:
    """The document as JSON-LD."""
    from spdx_python_model import v3_0_1 as spdx

    document = _Document(spdx, source)
    model = document.model()
    document.relate(model, "descendantOf", [document.baseline()])
    document.relate(model, "testedOn", [document.dataset()])
    document.relate(model, "hasEvidence", list(document.papers()))
    for path in ANNOTATED:
        document.annotate(model, path)
    document.close(model)
    written = spdx.JSONLDSerializer().serialize_data(spdx.SHACLObjectSet(document.elements), force_at_graph=True)
    return json.dumps(_without_exponents(written), indent=2, allow_nan=False) + "\n"


def _without_exponents(value: Any) -> Any:
    """JSON values with quantities as xsd:decimal has them; the bindings write small ones as 8e-10."""
    if isinstance(value, list):
        return [_without_exponents(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: format(Decimal(item), "f") if key == QUANTITY else _without_exponents(item) for key, item in value.items()
    }


class _Document:
    """The elements of one document, which share their namespace and their creation."""

    def __init__(self, spdx: Any, source: Source) -> None:
        self._spdx = spdx
        self._source = source
        self.elements: list[Any] = []
        self._created = datetime.fromisoformat(source.take("created")[:19] + "+00:00")
        self._creation = spdx.CreationInfo(specVersion=SPEC, created=self._created)
        self._signer = self._add(
            spdx.Agent,
            "signer",
            name=f"Holder of the {source.take('signer', 'algorithm')} key {source.take('signer', 'public_key')}",
        )
        tool = self._add(spdx.Tool, "leanmark", name=f"leanmark {source.take('leanmark')}")
        self._creation.createdBy = [self._signer]
        self._creation.createdUsing = [tool]

    def _add(self, kind: Any, fragment: str, /, **fields: Any) -> Any:
        identity = f"{NAMESPACE}/{self._source.digest}#{fragment}"
        given = {key: value for key, value in fields.items() if value is not None}
        element = kind(spdxId=identity, creationInfo=self._creation, **given)
        self.elements.append(element)
        return element

    def _sha256(self, digest: str) -> list[Any]:
        return [self._spdx.Hash(algorithm=self._spdx.HashAlgorithm.sha256, hashValue=digest)]

    def _package(self, kind: Any, fragment: str, digest: str, /, **fields: Any) -> Any:
        """A package that is named by its digest: where it can be had, a certificate does not say."""
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
        """The graded model."""
        spdx, source = self._spdx, self._source
        digest = source.file_digest()
        return self._package(
            spdx.ai_AIPackage,
            "model",
            digest,
            name=source.take("model", "name"),
            summary=_verdict(source),
            comment=_content(source.content_digest()),
            verifiedUsing=self._sha256(digest),
            software_primaryPurpose=spdx.software_SoftwarePurpose.model,
            ai_domain=[f"{subject_matter(source)} classification"],
            ai_informationAboutApplication=_application(source),
            ai_informationAboutTraining="\n".join(_passes(source)) or None,
            ai_limitation="\n".join(_limits(source)),
            ai_metric=self._entries(_metrics(source)),
            ai_energyConsumption=self._energy(),
        )

    def _entries(self, pairs: Iterator[tuple[str, str]]) -> list[Any]:
        return [self._spdx.DictionaryEntry(key=key, value=value) for key, value in pairs]

    def _energy(self) -> Any:
        """Joules of one inference, and of the passes; the profile has no place for an interval or a method."""
        spdx, lineage = self._spdx, self._source.lineage or {}
        inference = [self._source.take(*_INFERENCE, "value")] if self._source.look(*_INFERENCE) is not None else []
        spent = [row["energy_j"] for row in lineage.get("rows", ())]
        passes = [] if None in spent else [joules["value"] for joules in spent]  # a part would pass for the whole
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
        """The untouched original."""
        digest = self._source.take("baseline", "file_digest")
        return self._package(
            self._spdx.ai_AIPackage,
            "baseline",
            digest,
            name="baseline",
            summary=self._source.take("baseline", "origin"),
            comment=_content(self._source.take("baseline", "content_digest")),
            verifiedUsing=self._sha256(digest),
            software_primaryPurpose=self._spdx.software_SoftwarePurpose.model,
        )

    def dataset(self) -> Any:
        """The test samples; their digest is over a list of digests, so it is no hash of a file."""
        spdx, data = self._spdx, self._source.take("data")
        rest = {key: value for key, value in data.items() if key not in ("name", "test_samples") and value is not None}
        return self._package(
            spdx.dataset_DatasetPackage,
            "test-data",
            data["test_digest"],
            name=data["name"],
            comment="; ".join(f"{key} {figure(value)}" for key, value in rest.items()),
            dataset_datasetType=[getattr(spdx.dataset_DatasetType, subject_matter(self._source))],
            dataset_datasetSize=data["test_samples"],
            dataset_intendedUse="testing",
            software_primaryPurpose=spdx.software_SoftwarePurpose.data,
            originatedBy=[self._signer],
            builtTime=self._created,
        )

    def papers(self) -> Iterator[Any]:
        """The certificate and the files that it binds."""
        source = self._source
        files = {"certificate.json": source.digest, "evidence.jsonl": source.take("evidence", "sha256")}
        if (lineage := source.take("lineage", "sha256")) is not None:
            files["lineage.json"] = lineage
        files.update({name: source.take("companions", name) for name in source.look("companions")})
        for name, digest in files.items():
            yield self._add(self._spdx.software_File, f"file-{name}", name=name, verifiedUsing=self._sha256(digest))

    def relate(self, origin: Any, kind: str, to: list[Any]) -> None:
        """Say how an element stands to others."""
        relationship = getattr(self._spdx.RelationshipType, kind)
        self._add(self._spdx.Relationship, kind, from_=origin, relationshipType=relationship, to=to)

    def annotate(self, subject: Any, path: Path) -> None:
        """Attach a part of the certificate as JSON."""
        if self._source.look(*path) is not None:
            self._add(
                self._spdx.Annotation,
                path[-1],
                subject=subject,
                annotationType=self._spdx.AnnotationType.other,
                contentType="application/json",
                statement=json.dumps({path[-1]: self._source.take(*path)}, sort_keys=True),
            )

    def close(self, root: Any) -> None:
        """Add the document itself."""
        profiles = self._spdx.ProfileIdentifierType
        conformance = [profiles.core, profiles.software, profiles.ai, profiles.dataset]
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
    """A name for bytes by their digest (RFC 6920)."""
    encoded = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"ni:///sha-256;{encoded}"


def _content(digest: str | None) -> str | None:
    return None if digest is None else f"leanmark content digest {digest}"


def _verdict(source: Source) -> str:
    edition = f"edition {source.take('edition', 'name')}, sha256:{source.take('edition', 'digest')}"
    if source.take("outcome") == "refused":
        return f"leanmark gave no grade ({edition})"
    return f"leanmark grade {source.take('grade', 'text')} ({edition}), score {source.take('grade', 'score_db')} dB"


def _limits(source: Source) -> Iterator[str]:
    if source.unmetered:
        yield unmetered_sentence(source)
    yield from source.take("grade", "reasons")
    yield from source.take("grade", "notes")
    yield from (
        f"Guard {g['name']}: {g['outcome']}. {g['sentence']}" for _, g in source.guards() if g["outcome"] != "pass"
    )


def _application(source: Source) -> str:
    return f"Preprocessing contract: {json.dumps(source.take('preprocess'), sort_keys=True)}"


def _passes(source: Source) -> Iterator[str]:
    for row in (source.lineage or {}).get("rows", ()):
        yield f"{row['pass']} version {row['version']}: {json.dumps(row['config'], sort_keys=True)}"


def _metrics(source: Source) -> Iterator[tuple[str, str]]:
    """Each estimate, its interval in square brackets."""
    for name in source.estimates():
        fields: Mapping[str, Any] = {
            key: source.take("profile", "estimates", name, key)
            for key in ("value", "low", "high", "unit", "n", "evidence")
        }
        ends = ", ".join("unbounded" if fields[end] is None else figure(fields[end]) for end in ("low", "high"))
        unit = "" if fields["unit"] == "1" else f" {fields['unit']}"
        kind = "" if fields["evidence"] == "direct" else f", {fields['evidence']}"
        yield name, f"{figure(fields['value'])} [{ends}]{unit}, n {fields['n']}{kind}"
