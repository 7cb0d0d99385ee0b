"""Why to believe it: guards, what could be gamed, and how to check the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from certify.page.papers import Papers
from certify.page.parts import Section, bullets, facts, table
from certify.present.claims import efficiency_claims
from certify.present.svg import tag
from certify.present.wording import circumstances

_WHAT_VERIFY_SAYS = (
    "The first says whether the file is the one that was certified, whether the signature is good, and whether the "
    "letter follows from the evidence; the second derives every figure from the evidence again, side by side. Ask the "
    "maker for the key by another way than this page, which anybody could have written. That the evidence was recorded "
    "honestly, only a measurement by somebody else shows."
)
_OUTCOMES = {"fail": "✗ FAIL", "unknown": "? unknown", "pass": "✓ pass"}


def guards_section(papers: Papers) -> Section:
    """Every guard with its outcome and its sentence, those that failed first."""
    order = list(_OUTCOMES)
    guards = sorted(papers.certificate.profile.guards, key=lambda guard: order.index(guard.outcome))
    rows = [
        (guard.name.replace("_", " "), tag("span", _OUTCOMES[guard.outcome], class_=guard.outcome), guard.sentence)
        for guard in guards
    ]
    told = "Checks against faults of the measurement and against fake savings. One that fails gives no letter."
    return Section("guards", "Guards", (tag("p", told), table(("guard", "outcome", "found"), rows, numbers=False)))


def settings_section(papers: Papers) -> Section:
    """How it was measured, and whatever of it a maker might choose to his advantage."""
    predicate = papers.certificate.predicate
    shown = circumstances(efficiency_claims(predicate, papers.certificate.digest))
    return Section(
        "settings",
        "What could be gamed",
        (
            tag("p", "Choices that change the figures. Compare two models only where these agree."),
            facts([*shown, *_further(predicate)]),
            *_meter(predicate["meter"]),
        ),
    )


def _further(predicate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = predicate["data"]
    yield "Data", f"{data['name']} ({data['spec']}), {data['test_samples']:,} test samples, {data['classes']} classes"
    yield "Test set", f"sha256 {data['test_digest']}"
    yield "Measured", f"{predicate['created']} with leanmark {predicate['leanmark']}"
    if "regrade_of" in predicate:
        earlier = predicate["regrade_of"]
        yield "Regraded", f"from the evidence of certificate {earlier['certificate']} (edition {earlier['edition']})"
    yield "Preprocessing", _plain(predicate["preprocess"])
    yield "Machine", _plain(predicate["device"])


def _plain(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
        if value is not None
    )


def _meter(meter: Mapping[str, Any] | None) -> Iterator[Markup | None]:
    if meter is None:
        return
    yield tag("h3", "The meter")
    yield facts([
        ("Meter", f"{meter['name']}, level {meter['level']}, scope {meter['scope']}"),
        ("Method", meter["method"]),
        ("Own accuracy", "not stated" if meter["relative_error"] is None else f"× or ÷ {meter['relative_error']:g}"),
        ("Constants", _plain(meter["parameters"])),
    ])  # fmt: skip
    if meter["refused"]:
        yield tag("p", "Better meters that could not be used:")
        yield bullets(f"{name}: {reason}" for name, reason in meter["refused"].items())


def verify_section(papers: Papers) -> Section:
    """Commands and digests."""
    certificate, predicate = papers.certificate, papers.certificate.predicate
    name = certificate.statement["subject"][0]["name"]
    digests = [
        ("Certificate", certificate.digest),
        (f"{name}, without its seal", certificate.subject_digest["sha256"]),
        ("Its content", certificate.subject_digest.get("leanmarkContent")),
        ("Evidence", predicate["evidence"]["sha256"]),
        ("Lineage", None if predicate["lineage"] is None else predicate["lineage"]["sha256"]),
        *predicate["companions"].items(),
        (f"Edition {predicate['edition']['name']}", predicate["edition"]["digest"]),
        ("Public key", certificate.signer.hex),
    ]
    return Section(
        "verify",
        "How to check it",
        (
            tag("p", "With the model's file, and the papers beside it, on any machine and offline:"),
            tag("pre", tag("code", f"leanmark verify {name} --trust {certificate.signer.hex}")),
            tag("pre", tag("code", f"leanmark audit {name}")),
            tag("p", _WHAT_VERIFY_SAYS),
            _signatures(papers),
            facts((title, None if digest is None else tag("code", digest)) for title, digest in digests),
        ),
    )


def _signatures(papers: Papers) -> Markup | None:
    """Who signed, and what each vouches for; None where that was not asked."""
    rows = [
        (one.role, tag("code", one.key_id or one.name or ""), one.vouches_for, None if one.agrees else "disagrees")
        for one in papers.signatures
    ]
    return table(("signed by", "key", "vouches for", ""), rows, numbers=False) if rows else None
