"""The parts ``definitions`` and ``declarations`` of CycloneDX, which are the same in versions 1.6 and 1.7.

Standards are the editions by which statements are judged, with a requirement for each named check. Claims are the
contents of statements, with their record files as evidence; the evidence of a maker's declaration is the maker's own
file. A contradiction is a counterclaim. The library has no classes for declarations, so both parts are plain values
(https://cyclonedx.org/docs/1.6/json/#declarations).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certify.assessment.claims import Claims
from certify.assessments.declarations.records import FILE_NAME
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.finding import Finding
from certify.core.text import clean
from certify.export.cyclonedx_scorecard import described, earned, edition_of, expires, levels, pillars
from certify.export.source import ExportSource, Signer
from certify.present.statements import outcome_with_figures
from certify.scorecard.edition import ScorecardEdition

TARGET = "model"
"""Reference of the model in the document."""
MAKER = "assessor:maker"
CONFORMS = {"pass": 1, "fail": 0}
"""Conformance to a requirement, by the outcome of its check; unknown outcomes have none."""


@dataclass(frozen=True)
class StatementFiles:
    """Statement and its files.

    Attributes:
        claims: its claims.
        files: hex SHA-256 of the statement and of its records, by file name.
    """

    claims: Claims
    files: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of its assessment."""
        return self.claims.assessment


def definitions(source: ExportSource) -> dict[str, Any]:
    """Return a standard for the edition of each statement."""
    return {"standards": [_standard(statement.claims) for statement in _statements(source)]}


def declarations(source: ExportSource) -> dict[str, Any]:
    """Return assessors, claims, counterclaims, evidence, attestations of the requirements, and the affirmation."""
    listed = _statements(source)
    counter = {statement.name: _contradictions(statement.claims, source) for statement in listed}
    # There is at most one scorecard, and its edition limits how long all evidence counts.
    rules = next((found for statement in listed if (found := edition_of(statement.claims)) is not None), None)
    document: dict[str, Any] = {
        "assessors": list(_assessors(source)),
        "attestations": [_attestation(listed, counter, source), *_further(listed, source)],
        "claims": [
            claim
            for statement in listed
            for claim in (*_claims(statement), *_own_words(statement), *_against(statement, counter[statement.name]))
        ],
        "evidence": [_evidence(statement, rules) for statement in listed],
        "affirmation": _affirmation(source, listed[0]),
    }
    return document


def _statements(source: ExportSource) -> list[StatementFiles]:
    own = StatementFiles(source.claims, source.files)
    return [own, *(StatementFiles(other.claims, other.files) for other in source.others)]


def _standard(claims: Claims) -> dict[str, Any]:
    edition, rules = claims.edition, edition_of(claims)
    levelled = {} if rules is None else {"levels": levels(rules)}
    return {
        "bom-ref": f"standard:{claims.assessment}",
        "name": f"leanmark {claims.assessment}",
        "version": edition.name,
        "description": f"{clean(claims.title)}: the edition that the statement was judged by, sha256:{edition.digest}.",
        "owner": "leanmark",
        "requirements": [
            *(() if rules is None else pillars(rules)),
            *(_requirement(claims, finding) for finding in claims.findings),
        ],
        **levelled,
    }


def _requirement(claims: Claims, finding: Finding) -> dict[str, Any]:
    rules = edition_of(claims)
    return {
        "bom-ref": _ref("requirement", claims, finding.name),
        "identifier": f"{claims.assessment}.{finding.name}",
        "title": clean(finding.name.replace("_", " ")),
        **({} if rules is None else described(rules, finding)),
    }


def _ref(kind: str, claims: Claims, name: str) -> str:
    return f"{kind}:{claims.assessment}:{name}"


def _assessors(source: ExportSource) -> Iterator[dict[str, Any]]:
    yield {"bom-ref": MAKER, "thirdParty": False, "organization": {"name": f"key {source.claims.signer.public_key}"}}
    for signer in source.signers:
        # Names come from the reader's trust list only, so other third parties are named by their key.
        organization = {"name": clean(signer.name or f"key {signer.key_id}")}
        yield {"bom-ref": _assessor(signer), "thirdParty": True, "organization": organization}


def _assessor(signer: Signer) -> str:
    return f"assessor:{signer.key_id}"


def _claims(statement: StatementFiles) -> Iterator[dict[str, Any]]:
    """Yield the outcome and the result of every check; the outcome of a further statement has its headline figures.

    The figures of the efficiency certificate are in the model card.
    """
    claims, evidence = statement.claims, [f"evidence:{statement.name}"]
    texts = [claims.text] if isinstance(claims, EfficiencyClaims) else outcome_with_figures(claims)
    yield {
        "bom-ref": _ref("claim", claims, "outcome"),
        "target": TARGET,
        "predicate": clean(f"{claims.title}: {'refused' if claims.refused else '; '.join(texts)}"),
        "reasoning": clean(" ".join((*claims.reasons, *claims.notes))) or "As it follows from the records.",
        "evidence": evidence,
    }
    for finding in claims.findings:
        yield {
            "bom-ref": _ref("claim", claims, finding.name),
            "target": TARGET,
            "predicate": clean(f"{finding.name.replace('_', ' ')}: {finding.outcome}"),
            "reasoning": clean(finding.sentence),
            "evidence": evidence,
        }


def _own_words(statement: StatementFiles) -> Iterator[dict[str, Any]]:
    """Yield a claim for each answer of the maker."""
    rows = [(title, head, words) for title, entries in statement.claims.own_words for head, words in entries]
    for number, (title, head, words) in enumerate(rows, start=1):
        yield {
            "bom-ref": _ref("claim", statement.claims, f"declared-{number}"),
            "target": TARGET,
            "predicate": clean(f"{title}, {head}: {words}"),
            "reasoning": "The maker's own word; nothing was measured.",
            "evidence": [f"evidence:{statement.name}"],
        }


def _contradictions(claims: Claims, source: ExportSource) -> tuple[Finding, ...]:
    beside = claims.beside([other for other in source.every if other is not claims])
    return tuple(finding for finding in beside if finding.outcome == "fail")


def _against(statement: StatementFiles, found: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    for finding in found:
        yield {
            "bom-ref": _ref("counterclaim", statement.claims, finding.name),
            "target": TARGET,
            "predicate": clean(f"contradicted: {finding.name.replace('_', ' ')}"),
            "reasoning": clean(finding.sentence),
            "evidence": [f"evidence:{statement.name}"],
        }


def _attestation(
    listed: Sequence[StatementFiles], counter: Mapping[str, Sequence[Finding]], source: ExportSource
) -> dict[str, Any]:
    """Return the maker's attestation: the result of each check, with its counterclaims."""
    rows = [row for statement in listed for row in _map(statement, counter[statement.name], _confidence(source))]
    return {"summary": "The results that the maker signed, by requirement.", "assessor": MAKER, "map": rows}


def _map(statement: StatementFiles, against: Sequence[Finding], confidence: str) -> Iterator[dict[str, Any]]:
    counterclaims = [_ref("counterclaim", statement.claims, finding.name) for finding in against]
    rules = edition_of(statement.claims)
    for finding in statement.claims.findings:
        row: dict[str, Any] = {
            "requirement": _ref("requirement", statement.claims, finding.name),
            "claims": [_ref("claim", statement.claims, finding.name)],
            "confidence": {"rationale": confidence},
        }
        if counterclaims:
            row["counterClaims"] = counterclaims
        # An unknown outcome shows neither conformance nor its absence, so the row has no score.
        if finding.outcome in CONFORMS:
            row["conformance"] = {"score": CONFORMS[finding.outcome], "rationale": clean(finding.sentence)}
        # For a scorecard, the earned share replaces the plain pass or fail.
        yield {**row, **((rules and earned(rules, statement.claims, finding)) or {})}


def _confidence(source: ExportSource) -> str:
    """Return who vouches for the statements, instead of a number that nobody can justify."""
    agreeing = [signer for signer in source.signers if signer.agrees]
    if not agreeing:
        return "Self-declared: signed by the maker alone; anybody can derive it again from the record file."
    words = ", ".join(
        f"{signature.vouches_for} by {clean(signature.name or f'key {signature.key_id}')}" for signature in agreeing
    )
    return f"Signed by the maker; {words}."


def _further(listed: Sequence[StatementFiles], source: ExportSource) -> Iterator[dict[str, Any]]:
    """Yield the attestations of third parties that agree or disagree with the certificate."""
    main = listed[0].claims
    for signer in source.signers:
        words = "agrees with" if signer.agrees else "disagrees with"
        yield {
            "summary": clean(f"{signer.name or signer.key_id} {words} the certificate: {signer.vouches_for}."),
            "assessor": _assessor(signer),
            "map": [
                {
                    "requirement": _ref("requirement", main, finding.name),
                    "claims": [_ref("claim", main, finding.name)],
                    "confidence": {"rationale": signer.vouches_for},
                }
                for finding in main.findings
                # A signer who disagrees attests nothing.
                if signer.agrees
            ],
        }


def _evidence(statement: StatementFiles, rules: ScorecardEdition | None) -> dict[str, Any]:
    """Return the record file of a statement; it expires as the edition of a scorecard states, if there is one."""
    claims = statement.claims
    # The declaration's file is the only companion that is evidence for a statement.
    names = [*statement.files, *(name for name in claims.companions if name == FILE_NAME)]
    return {
        "bom-ref": f"evidence:{statement.name}",
        "propertyName": f"leanmark:{statement.name}",
        "description": clean(f"{claims.title}: records with sha256:{claims.evidence_digest}"),
        "data": [{"name": name, "contents": {"url": name}} for name in names],
        "created": claims.created,
        **({} if rules is None else {"expires": expires(rules, claims.created)}),
    }


def _affirmation(source: ExportSource, main: StatementFiles) -> dict[str, Any]:
    (name, digest), *_ = main.files.items()
    return {
        "statement": "Its maker signed leanmark statements; this document repeats them and proves nothing by itself.",
        "signatories": [
            {
                "role": "maker",
                "organization": {"name": f"key {source.claims.signer.public_key}"},
                "externalReference": {
                    "type": "attestation", "url": name, "hashes": [{"alg": "SHA-256", "content": digest}],
                },
            }
        ],
    }  # fmt: skip
