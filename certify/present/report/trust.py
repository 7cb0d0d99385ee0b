"""Sections on trust: guards, settings that could be gamed, and how to check the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.verification import Signature
from certify.core.evidence import MeterFacts
from certify.core.finding import Finding
from certify.present.report.sections import Section
from certify.present.report.sidecars import Sidecars
from certify.present.wording import circumstances

_ORDER = ("fail", "unknown", "pass")


def guards_section(claims: EfficiencyClaims) -> Section:
    """Return every guard with its outcome and its sentence, failed ones first."""
    return Section("guards", "Guards", by_outcome(claims.findings))


def by_outcome(findings: Iterable[Finding]) -> list[Finding]:
    """Return failed findings first, then unknown ones, then passed ones."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.outcome))


@dataclass(frozen=True)
class Settings:
    """Names and values of all choices and of the meter, and why better meters were not used."""

    facts: tuple[tuple[str, str], ...]
    meter: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]


def settings_section(claims: EfficiencyClaims) -> Section:
    """Return how the model was measured, with every choice that a maker might make to their advantage."""
    meter = claims.meter
    refused = {} if meter is None else meter.refused
    settings = Settings(
        facts=(*circumstances(claims), *_further(claims)),
        meter=() if meter is None else _meter(meter),
        refused=tuple(f"{name}: {reason}" for name, reason in refused.items()),
    )
    return Section("settings", "What could be gamed", settings)


def _further(claims: EfficiencyClaims) -> Iterator[tuple[str, str]]:
    data = claims.data
    yield "Data", f"{data.name} ({data.spec}), {data.test_samples:,} test samples, {data.classes} classes"
    yield "Test set", f"sha256 {data.test_digest}"
    yield "Measured", f"{claims.created} with leanmark {claims.leanmark}"
    if earlier := claims.regrade_of:
        yield "Regraded", f"from the evidence of certificate {earlier.certificate} (edition {earlier.edition})"
    yield "Runtime libraries", "; ".join(f"{name} sha256 {digest}" for name, digest in claims.libraries.items())
    yield "Preprocessing", _plain(claims.preprocess)
    yield "Machine", _plain(claims.device)


def _plain(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        # Absent values are left out, because printing "null" would be useless.
        for name, value in values.items()
        if value is not None
    )


def _meter(meter: MeterFacts) -> tuple[tuple[str, str], ...]:
    accuracy = "not stated" if meter.relative_error is None else f"× or ÷ {meter.relative_error:g}"
    return (
        ("Meter", f"{meter.name}, level {meter.level}, scope {meter.scope}"),
        ("Method", meter.method),
        ("Own accuracy", accuracy),
        ("Constants", _plain(meter.parameters)),
    )


@dataclass(frozen=True)
class Instructions:
    """Arguments of the commands that check the file, and the digests that they compare."""

    name: str
    key: str
    signatures: tuple[Signature, ...]
    digests: tuple[tuple[str, str | None], ...]


def verify_section(claims: Claims, sidecars: Sidecars) -> Section:
    """Return commands and digests."""
    name = str(sidecars.certificate.statement["subject"][0]["name"])
    digests = (
        ("Certificate", claims.digest),
        (f"{name}, without its seal", sidecars.certificate.subject_digest["sha256"]),
        ("Its content", sidecars.certificate.subject_digest.get("leanmarkContent")),
        ("Evidence", claims.evidence_digest),
        ("Lineage", claims.lineage_digest),
        *((other.claims.title, other.digest) for other in sidecars.others),
        *claims.companions.items(),
        (f"Edition {claims.edition.name}", claims.edition.digest),
        ("Public key", claims.signer.public_key),
    )
    return Section(
        "verify", "How to check it", Instructions(name, claims.signer.public_key, sidecars.signatures, digests)
    )
