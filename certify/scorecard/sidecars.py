"""Files next to a scorecard: the statements that it counts, and the figures that it reads from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Surroundings
from certify.assessment.claims import later_costs
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


def counted(
    certificate: Certificate, edition: str, lineage: Mapping[str, Any] | None, statements: Iterable[Certificate]
) -> Counted:
    """Return the record of a statement.

    Args:
        certificate: the statement.
        edition: name of the scorecard's edition, whose rules determine which figures are read.
        lineage: content of the ``lineage.json`` that the statement names; None if not available.
        statements: all counted statements, some of which state joules spent after the lineage was closed.

    Raises:
        CertificateError: a field that is read is malformed.
    """
    assessment, predicate = certificate.assessment, certificate.predicate
    # Only figures that a rule or finding reads are repeated, so that the record stays small.
    wanted = load_edition(edition).figures.get(assessment.name, frozenset()) | READ.get(assessment.name, frozenset())
    facts = assessment.facts(predicate)
    later = later_costs(facts.lineage or None, (statement.claims for statement in statements))
    figures = assessment.figures(predicate, lineage, later)
    return Counted(
        assessment=assessment.name,
        type=str(certificate.statement["predicateType"]),
        sha256=certificate.digest,
        key=certificate.signer.key_id,
        created=predicate["created"],
        edition=predicate["edition"]["name"],
        # Cut and cleaned, because these texts come from statements that other people wrote.
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
        # Matched by digest, because a lineage of another model in the same folder must not supply the cost of this one.
        if stated is not None and path.is_file() and sha256_file(path) == stated:
            return read_lineage(path)
    return None


def check_beside(around: Surroundings) -> Iterator[Finding]:
    """Check a scorecard's records against the statements of the maker and of third parties next to it."""
    records: Records | None = around.records
    if records is None:
        yield Finding("counted_statements", "skipped", "There are no records of what was counted.")
        return
    found = {certificate.assessment.name: certificate for certificate in _statements(around.model, around.folders)}
    yield _statements_are_counted(records, found)
    yield _figures_follow(records, found, around.folders)
    # Countersignatures are about the sealed certificate, the only statement that a third party measures again.
    energy = next((certificate for certificate in found.values() if certificate.assessment.sealed), None)
    yield _named_alike(around.predicate, energy)
    yield _others_are_counted(records, energy, around.folders)
    yield _reader_trusts(records, around)


def _statements(model: ModelFile | None, folders: Sequence[Path]) -> Iterator[Certificate]:
    """Yield every readable statement; verification reports the others."""
    contents = []
    try:
        # A sealed model carries its certificate; a file next to it might be an older one.
        sealed = None if model is None else model.seal()
        if sealed is not None:
            contents.append(sealed)
        else:
            contents += [read_certificate(f / CERTIFICATE_NAME) for f in folders if (f / CERTIFICATE_NAME).is_file()]
        # Only the model's own folder is read, because statements elsewhere are about other files.
        contents += [read_certificate(path) for path in statement_files(folders[:1])]
    except LeanmarkError:
        # The files that could be read are still compared.
        pass  # reported by the checks of that statement
    for content in contents:
        try:
            yield Certificate(content)
        except LeanmarkError:
            continue  # likewise


def _statements_are_counted(records: Records, found: Mapping[str, Certificate]) -> Finding:
    name, stated = "counted_statements", {statement.assessment: statement for statement in records.of(Counted)}
    missing = sorted(set(stated) - set(found))
    other = sorted(
        assessment for assessment in set(stated) & set(found) if found[assessment].digest != stated[assessment].sha256
    )
    if missing or other:
        changed = [f"{assessment} is missing" for assessment in missing] + [
            f"{assessment} was replaced" for assessment in other
        ]
        return Finding(name, "fail", f"Counted statements changed: {', '.join(changed)}. Run leanmark score.")
    # The scorecard is itself a statement next to the model, and cannot count itself.
    new = sorted(set(found) - set(stated) - {"scorecard"})
    if new:
        # Only a note, because adding a statement does not make the score wrong.
        return Finding(name, "note", f"Newer than the score and not counted: {', '.join(new)}. Run leanmark score.")
    return Finding(name, "pass", f"All {len(stated)} counted statements are here.")


def _figures_follow(records: Records, found: Mapping[str, Certificate], folders: Sequence[Path]) -> Finding:
    name, wrong, unchecked = "counted_figures", [], []
    known = assessments()
    # An audit that is newer than the count is not part of it.
    digests = {row.sha256 for row in records.of(Counted)}
    statements = [statement for statement in found.values() if statement.digest in digests]
    for row in records.of(Counted):
        certificate = found.get(row.assessment)
        if certificate is None or row.assessment not in known:
            continue  # reported by counted_statements
        try:
            lineage = own_lineage(certificate, folders)
            again = counted(certificate, records.header.edition, lineage, statements)
        except LeanmarkError as error:
            wrong.append(f"{row.assessment} ({error})")
            continue
        # A missing lineage removes only the figure that needs it; the others are still compared.
        needs = set(row.figures) - set(again.figures) if lineage is None and row.lineage else set()
        if needs == {"log10_payback_inferences"}:
            unchecked.append(f"{row.assessment}.log10_payback_inferences ({LINEAGE_NAME} is missing)")
            row = replace(row, figures={name: found for name, found in row.figures.items() if name not in needs})
        if not _same(row, again):
            wrong.append(row.assessment)
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


def _same(first: Counted, second: Counted) -> bool:
    """Return whether two records are equal, figures within the tolerance of closed formulas."""
    if replace(first, figures=second.figures) != second or set(first.figures) != set(second.figures):
        return False
    return all(_close(first.figures[name], second.figures[name]) for name in first.figures)


def _close(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    # Everything except the three numbers must be equal: unit, sample size, evidence level and method.
    if {**first, "value": 0, "low": 0, "high": 0} != {**second, "value": 0, "low": 0, "high": 0}:
        return False
    # Derived from logarithms and quotients, which differ in the last bits between platforms.
    pairs = [(first[end], second[end]) for end in ("value", "low", "high")]
    return all(
        # JSON has no infinity, so an unbounded end is null.
        a == b or (None not in (a, b) and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12))
        for a, b in pairs
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
    # A missing one is a failure, because it earned points; an additional one is only a note.
    if absent := stated - here:
        keys = sorted({word.key[:16] for word in absent})
        return Finding(name, "fail", f"Counted statements of third parties are missing: {', '.join(keys)}.")
    against = sorted(word.key[:16] for word in here - stated if isinstance(word, Countersigned) and not word.agrees)
    if against:
        return Finding(name, "note", f"Not counted: key {', '.join(against)} disagrees with the certificate.")
    if further := sorted({word.key[:16] for word in here - stated}):
        return Finding(name, "note", f"Not counted: the statements of third parties {', '.join(further)}.")
    return Finding(name, "pass", f"All {len(stated)} counted statements of third parties are here.")


def _reader_trusts(records: Records, around: Surroundings) -> Finding:
    name = "counted_keys"
    keys = {word.key for word in records.words}
    if not keys:
        return Finding(name, "pass", "No points depend on third parties.")
    strange = sorted(key[:16] for key in keys if not around.trusts(key))
    if strange:
        message = f"Points depend on {', '.join(strange)}, which are not among your trusted keys"
        return Finding(name, "note", f"{message}; run leanmark score to count without them.")
    return Finding(name, "pass", f"Points depend on {len(keys)} third parties whose keys you trust.")
