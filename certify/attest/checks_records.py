"""Derive figures, findings and outcome again from the records of a statement."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rfc8785

from certify.assessment.assessment import NOT_DERIVABLE, profile_of
from certify.assessment.claims import REFUSED
from certify.assessment.not_installed import NotInstalled
from certify.assessment.outcome import Edition
from certify.assessment.rederivation import Compared, compare_figures, compare_guards, compare_outcomes
from certify.attest.certificate import Certificate
from certify.core.errors import LeanmarkError, NotDerivedError
from certify.core.finding import Finding, FindingOutcome

MAX_EVIDENCE_BYTES = 128 << 20


def load_edition(certificate: Certificate) -> tuple[Edition | None, Finding]:
    """Load the edition that a statement names; None if it is unknown or differs."""
    stated = certificate.predicate["edition"]
    try:
        edition = certificate.assessment.load_edition(stated["name"])
    except NotDerivedError as error:
        return None, Finding("edition_digest", "skipped", str(error))
    except LeanmarkError as error:
        return None, Finding("edition_digest", "fail", f"{error} A newer version of leanmark may know it.")
    # Same name, other constants: an edition may have been edited locally, or on the maker's machine.
    if edition.digest != stated["digest"]:
        sentence = f"Edition {edition.name} of this leanmark is not the signed one."
        return None, Finding("edition_digest", "fail", sentence)
    return edition, Finding("edition_digest", "pass", f"Edition {edition.name} is the signed one.")


def find_evidence(places: Sequence[Path]) -> Path | str:
    """Return the record file from the first path that has one, or the reason why it cannot be read."""
    # With lexists a dangling link counts as unreadable evidence, not as missing.
    path = next((place for place in places if os.path.lexists(place)), None)
    if path is None:
        return f"{places[0].name} is missing"
    try:
        # A pipe in place of the file would block the reader forever.
        if not stat.S_ISREG(path.stat().st_mode):
            return f"{path} is not a regular file"
        with path.open("rb"):
            return path
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"


def read_records(certificate: Certificate, source: Path | str) -> tuple[Any, list[Finding]]:
    """Read the signed records; None if they are missing, altered or malformed."""
    if isinstance(source, str):
        names = ("evidence_digest", "evidence_header_matches")
        return None, [Finding(name, "skipped", f"{source}, so the figures were not derived again.") for name in names]
    stated = certificate.predicate["evidence"]
    # The size is checked first, so that no file of arbitrary size is read into memory.
    size = source.stat().st_size
    if size > MAX_EVIDENCE_BYTES:
        return None, [
            Finding(
                "evidence_digest", "fail", f"{source} has {size} bytes, more than the limit of {MAX_EVIDENCE_BYTES}."
            )
        ]
    content = source.read_bytes()
    if (len(content), hashlib.sha256(content).hexdigest()) != (stated["bytes"], stated["sha256"]):
        return None, [Finding("evidence_digest", "fail", f"{source} is not the evidence that was signed.")]
    checks = [Finding("evidence_digest", "pass", "The evidence is the signed evidence.")]
    try:
        records = certificate.assessment.parse(content, str(source))
        return records, [*checks, _header_check(certificate, records)]
    except NotDerivedError as error:
        return None, [*checks, Finding("evidence_header_matches", "skipped", str(error))]
    except NOT_DERIVABLE as error:
        return None, [*checks, Finding("evidence_header_matches", "fail", str(error))]


def _header_check(certificate: Certificate, records: Any) -> Finding:
    """Check that the statement repeats its records, and that both are about one model."""
    predicate, repeated = certificate.predicate, certificate.assessment.repeated(records)
    # Compared as canonical JSON, because records hold tuples where the statement has lists.
    differing = [name for name, value in repeated.items() if rfc8785.dumps(value) != rfc8785.dumps(predicate[name])]
    if dict(certificate.assessment.subject(records)) != dict(certificate.subject_digest):
        differing.append("model")
    auditor = certificate.assessment.auditor(records)
    if (None if auditor is None else auditor.to_json()) != predicate.get("auditor"):
        differing.append("auditor")
    name = "evidence_header_matches"
    if differing:
        return Finding(name, "fail", f"The evidence belongs to another measurement: {', '.join(differing)} differ.")
    return Finding(name, "pass", f"Model, {', '.join(repeated)} match the evidence.".replace("_", " "))


def check_derivation(
    certificate: Certificate, records: Any, edition: Edition | None, source: Path | str
) -> tuple[list[Finding], Mapping[str, Any]]:
    """Derive the profile from the records, and the outcome from it (from the signed profile if records are missing).

    Returns:
        The findings, and those fields of the predicate that were signed in different words, as derived.
    """
    missing = f"{source}, so the figures were not derived again." if isinstance(source, str) else ""
    if edition is None:
        why = missing or "The edition is unknown to this installation."
        if isinstance(certificate.assessment, NotInstalled):
            why = certificate.assessment.why
        return [Finding(name, "skipped", why) for name in ("profile_follows", "outcome_follows")], {}
    found: list[Finding] = []
    words: dict[str, Any] = {}
    if records is None:
        found.append(Finding("profile_follows", "skipped", missing or "There is no evidence from which to derive it."))
    try:
        profile = signed = certificate.profile
        if records is not None:
            profile = profile_of(certificate.assessment, records, edition)
    except NOT_DERIVABLE as error:
        return [*found, Finding("profile_follows", "fail", f"No profile follows from the evidence: {error}")], {}
    if records is not None:
        rows = [*compare_figures(signed, profile), *compare_guards(signed, profile)]
        found.append(_follows("profile_follows", "Every figure and guard follows from the evidence", rows))
        words["profile"] = profile.to_json()
    what = "signed profile" if records is None else "evidence"
    try:
        derived = certificate.assessment.outcome(profile, edition)
        rows = list(compare_outcomes(certificate.result, derived.to_json()))
    except NOT_DERIVABLE as error:
        return [*found, Finding("outcome_follows", "fail", f"No outcome follows from the profile: {error}")], {}
    # A refusal and a grade are different results, not two wordings of one.
    if derived.refused != (certificate.outcome_text == REFUSED):
        sentence = f"The outcome that follows from the {what} is {derived.text}."
        return [*found, Finding("outcome_follows", "fail", sentence)], {}
    found.append(_follows("outcome_follows", f"The outcome ({derived.text}) follows from the {what}", rows))
    words[certificate.assessment.result] = derived.to_json()
    outcomes = {finding.outcome for finding in found}
    # Derived words replace the signed ones only if some were reworded and nothing failed.
    return found, words if "note" in outcomes and "fail" not in outcomes else {}


def _follows(name: str, sentence: str, rows: Sequence[Compared]) -> Finding:
    wrong = sorted(row.name for row in rows if row.match == "differs")
    reworded = sorted(row.name for row in rows if row.match == "reworded")
    if wrong:
        listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return Finding(name, "fail", f"What was signed does not follow from the evidence: {listed}.")
    outcome: FindingOutcome = "note" if reworded else "pass"
    words = (
        f"; {', '.join(reworded)} were signed in different words, and the derived words are shown" if reworded else ""
    )
    return Finding(name, outcome, f"{sentence}{words}.")
