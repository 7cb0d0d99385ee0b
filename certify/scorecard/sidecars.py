"""Files next to a scorecard: the statements that it counts, and the figures that it reads from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Surroundings
from certify.assessment.rederivation import TOLERANCE
from certify.assessment.registry import assessments
from certify.attest.certificate import CERTIFICATE_NAME, LINEAGE_NAME, Certificate, read_certificate, read_lineage
from certify.attest.countersignature import Countersignature, countersignature_files, read_countersignature
from certify.attest.statements import statement_files
from certify.core.errors import LeanmarkError
from certify.core.files import sha256_file
from certify.core.finding import Finding
from certify.core.text import clean
from certify.model_file.model_file import ModelFile
from certify.scorecard.attestation import Attestation, attestation_files, read_attestation
from certify.scorecard.edition import load_edition
from certify.scorecard.findings import READ
from certify.scorecard.records import Attested, Counted, Countersigned, Records

MAX_WORDS = 4000
MAX_FRESH = 400


def counted(certificate: Certificate, edition: str, lineage: Mapping[str, Any] | None) -> Counted:
    """Return the record of a statement.

    Args:
        certificate: the statement.
        edition: name of the scorecard's edition, whose rules determine which figures are read.
        lineage: content of the ``lineage.json`` that the statement names; None if not available.

    Raises:
        CertificateError: a field that is read is malformed.
    """
    room, predicate = certificate.assessment, certificate.predicate
    wanted = load_edition(edition).figures.get(room.name, frozenset()) | READ.get(room.name, frozenset())
    figures = room.figures(predicate, lineage)
    facts = room.facts(predicate)
    return Counted(
        assessment=room.name,
        type=str(certificate.statement["predicateType"]),
        sha256=certificate.digest,
        key=certificate.signer.key_id,
        created=predicate["created"],
        edition=predicate["edition"]["name"],
        outcome=clean(certificate.outcome_text)[:MAX_WORDS],
        refused=certificate.claims.refused,
        runtime=clean(facts.runtime)[:200],
        lineage=facts.lineage,
        test_data=facts.test_data,
        baseline=facts.baseline,
        figures={name: figures[name].to_json() for name in sorted(wanted & set(figures))},
    )


def countersigned(found: Countersignature) -> Countersigned:
    """Return the record of a countersignature."""
    signed = found.signed
    fresh = clean(signed.predicate["fresh_data"] or "")[:MAX_FRESH]
    return Countersigned(signed.digest, signed.signer.key_id, found.checked, found.agrees, fresh)


def attested(found: Attestation) -> tuple[Attested, ...]:
    """Return the records of an attestation, one for each credit."""
    signed = found.signed
    return tuple(Attested(signed.digest, signed.signer.key_id, found.name, credit) for credit in found.credits)


def own_lineage(certificate: Certificate, folders: Iterable[Path]) -> Mapping[str, Any] | None:
    """Return the lineage next to a model that its statement names; None if not available.

    Raises:
        CertificateError: it is malformed.
    """
    stated = (certificate.predicate["lineage"] or {}).get("sha256")
    for folder in folders:
        path = folder / LINEAGE_NAME
        if stated is not None and path.is_file() and sha256_file(path) == stated:
            return read_lineage(path)
    return None


def check_beside(around: Surroundings) -> Iterator[Finding]:
    """Check a scorecard's records against the statements of the maker and of third parties next to it."""
    records: Records | None = around.records
    if records is None:
        yield Finding("counted_statements", "skipped", "There are no records of what was counted.")
        return
    found = {one.assessment.name: one for one in _statements(around.model, around.folders)}
    yield _statements_are_counted(records, found)
    yield _figures_follow(records, found, around.folders)
    energy = next((one for one in found.values() if one.assessment.sealed), None)
    yield _named_alike(around.predicate, energy)
    yield _others_are_counted(records, energy, around.folders)
    yield _reader_trusts(records, around)


def _statements(model: ModelFile | None, folders: Sequence[Path]) -> Iterator[Certificate]:
    """Yield every readable statement; verification reports the others."""
    contents = []
    try:
        sealed = None if model is None else model.seal()
        if sealed is not None:
            contents.append(sealed)
        else:
            contents += [read_certificate(f / CERTIFICATE_NAME) for f in folders if (f / CERTIFICATE_NAME).is_file()]
        contents += [read_certificate(path) for path in statement_files(folders[:1])]
    except LeanmarkError:
        pass  # reported by the checks of that statement
    for content in contents:
        try:
            yield Certificate(content)
        except LeanmarkError:
            continue  # likewise


def _statements_are_counted(records: Records, found: Mapping[str, Certificate]) -> Finding:
    name, stated = "counted_statements", {one.assessment: one for one in records.of(Counted)}
    missing = sorted(set(stated) - set(found))
    other = sorted(one for one in set(stated) & set(found) if found[one].digest != stated[one].sha256)
    if missing or other:
        changed = [f"{one} is missing" for one in missing] + [f"{one} was replaced" for one in other]
        return Finding(name, "fail", f"Counted statements changed: {', '.join(changed)}. Run leanmark score.")
    new = sorted(set(found) - set(stated) - {"scorecard"})
    if new:
        return Finding(name, "note", f"Newer than the score and not counted: {', '.join(new)}. Run leanmark score.")
    return Finding(name, "pass", f"All {len(stated)} counted statements are here.")


def _figures_follow(records: Records, found: Mapping[str, Certificate], folders: Sequence[Path]) -> Finding:
    name, wrong, unchecked = "counted_figures", [], []
    known = assessments()
    for one in records.of(Counted):
        certificate = found.get(one.assessment)
        if certificate is None or one.assessment not in known:
            continue  # reported by counted_statements
        try:
            lineage = own_lineage(certificate, folders)
            again = counted(certificate, records.header.edition, lineage)
        except LeanmarkError as error:
            wrong.append(f"{one.assessment} ({error})")
            continue
        needs = set(one.figures) - set(again.figures) if lineage is None and one.lineage else set()
        if needs == {"log10_payback_inferences"}:
            unchecked.append(f"{one.assessment}.log10_payback_inferences ({LINEAGE_NAME} is missing)")
            one = replace(one, figures={name: found for name, found in one.figures.items() if name not in needs})
        if not _same(one, again):
            wrong.append(one.assessment)
    if wrong:
        return Finding(name, "fail", f"Counted figures differ from the statements: {', '.join(wrong)}.")
    if unchecked:
        return Finding(name, "fail", f"Cannot be derived again: {', '.join(unchecked)}.")
    return Finding(name, "pass", "The counted figures equal those of the statements.")


def _named_alike(predicate: Mapping[str, Any], energy: Certificate | None) -> Finding:
    name, own = "counted_name", predicate["model"]["name"]
    if energy is not None and energy.predicate["model"]["name"] != own:
        return Finding(name, "fail", "The score names the model differently from its certificate.")
    return Finding(name, "pass", "The score and the certificate give the model the same name.")


def _same(one: Counted, other: Counted) -> bool:
    """Return whether two records are equal, figures within the tolerance of closed formulas."""
    if replace(one, figures=other.figures) != other or set(one.figures) != set(other.figures):
        return False
    return all(_close(one.figures[name], other.figures[name]) for name in one.figures)


def _close(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if {**one, "value": 0, "low": 0, "high": 0} != {**other, "value": 0, "low": 0, "high": 0}:
        return False
    pairs = [(one[end], other[end]) for end in ("value", "low", "high")]
    return all(
        a == b or (None not in (a, b) and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)) for a, b in pairs
    )


def _others_are_counted(records: Records, energy: Certificate | None, folders: Sequence[Path]) -> Finding:
    """Check that the counted third-party statements are here, and report others."""
    name = "counted_words"
    stated: set[Countersigned | Attested] = set(records.words)
    here: set[Countersigned | Attested] = set()
    for path in [] if energy is None else countersignature_files(folders):
        try:
            here.add(countersigned(read_countersignature(path, energy)))  # type: ignore[arg-type]
        except LeanmarkError:
            continue  # reported by the check of countersignatures
    for path in attestation_files(folders):
        try:
            here |= set(attested(read_attestation(path, records.header.model)))
        except LeanmarkError:
            continue
    if absent := stated - here:
        keys = sorted({one.key[:16] for one in absent})
        return Finding(name, "fail", f"Counted statements of third parties are missing: {', '.join(keys)}.")
    against = sorted(one.key[:16] for one in here - stated if isinstance(one, Countersigned) and not one.agrees)
    if against:
        return Finding(name, "note", f"Not counted: key {', '.join(against)} disagrees with the certificate.")
    if further := sorted({one.key[:16] for one in here - stated}):
        return Finding(name, "note", f"Not counted: the statements of third parties {', '.join(further)}.")
    return Finding(name, "pass", f"All {len(stated)} counted statements of third parties are here.")


def _reader_trusts(records: Records, around: Surroundings) -> Finding:
    name = "counted_keys"
    keys = {one.key for one in records.words}
    if not keys:
        return Finding(name, "pass", "No points depend on third parties.")
    strange = sorted(key[:16] for key in keys if not around.trusts(key))
    if strange:
        message = f"Points depend on {', '.join(strange)}, which are not among your trusted keys"
        return Finding(name, "note", f"{message}; run leanmark score to count without them.")
    return Finding(name, "pass", f"Points depend on {len(keys)} third parties whose keys you trust.")
