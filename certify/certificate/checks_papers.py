"""Do the papers beside the model belong to it, and do the figures and the letter follow from the evidence."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from certify.certificate.issue import (
    BASELINE_NAME,
    EVIDENCE_NAME,
    LABEL_PNG_NAME,
    LABEL_SVG_NAME,
    LINEAGE_NAME,
    Certificate,
)
from certify.certificate.seal import file_digest
from certify.certificate.statement import from_header, grade_json
from certify.certificate.verification import Check, Outcome
from certify.errors import LeanmarkError
from certify.estimate import Estimate
from certify.evidence import Evidence, parse_evidence
from certify.files import sha256_file

if TYPE_CHECKING:
    from certify.judge.edition import Edition
    from certify.judge.profile import Profile

MAX_EVIDENCE_BYTES = 128 << 20
TOLERANCE = 1e-9
"""Relative; what closed formulas may differ by between processors."""

_NEAR_ZERO = 1e-12

# The formulas meet values that no honest measurement holds (zero durations, no blocks) only in forged evidence.
_NOT_DERIVABLE = (LeanmarkError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError)


def check_papers(certificate: Certificate, folders: Sequence[Path], evidence: Path | None) -> Iterator[Check]:
    """Edition, evidence, lineage, companions and label.

    Args:
        certificate: whose statement names them.
        folders: where to look for them, in this order.
        evidence: the evidence file, if it was named.
    """
    edition, check = _edition(certificate)
    yield check
    yield from _check_evidence(certificate, evidence or _beside(EVIDENCE_NAME, folders), edition)
    yield _check_lineage(certificate, _beside(LINEAGE_NAME, folders))
    yield _check_companions(certificate, folders)
    yield _check_label(certificate, _beside(LABEL_SVG_NAME, folders))
    yield _check_picture(certificate, _beside(LABEL_PNG_NAME, folders))


def _beside(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _edition(certificate: Certificate) -> tuple[Edition | None, Check]:
    from certify.judge.edition import load_edition

    stated = certificate.predicate["edition"]
    try:
        edition = load_edition(stated["name"])
    except LeanmarkError as error:
        return None, Check("edition_digest", "fail", f"{error} A newer leanmark may know it.")
    if edition.digest != stated["digest"]:
        return None, Check("edition_digest", "fail", f"Edition {edition.name} of this leanmark is not the signed one.")
    return edition, Check("edition_digest", "pass", f"Edition {edition.name} is the signed one.")


def _check_evidence(certificate: Certificate, path: Path | None, edition: Edition | None) -> Iterator[Check]:
    names = ("evidence_digest", "evidence_header_matches", "test_set_matches", "profile_follows")
    evidence: Evidence | None = None
    if path is None:
        for name in names:
            yield Check(name, "skipped", f"{EVIDENCE_NAME} is missing, so the figures were not derived again.")
    else:
        evidence, found = _read_evidence(certificate, path)
        yield from found
        if evidence is None:
            yield Check("profile_follows", "skipped", "There is no evidence to derive it from.")
    if edition is None:
        if evidence is not None:
            yield Check("profile_follows", "skipped", "The edition is not known here.")
        yield Check("grade_follows", "skipped", "The edition is not known here.")
        return
    yield from _derive_again(certificate, evidence, edition)


def _read_evidence(certificate: Certificate, path: Path) -> tuple[Evidence | None, list[Check]]:
    stated = certificate.predicate["evidence"]
    size = path.stat().st_size
    if size > MAX_EVIDENCE_BYTES:
        return None, [Check("evidence_digest", "fail", f"{path} has {size} bytes, over {MAX_EVIDENCE_BYTES}.")]
    content = path.read_bytes()
    if (len(content), hashlib.sha256(content).hexdigest()) != (stated["bytes"], stated["sha256"]):
        return None, [Check("evidence_digest", "fail", f"{path} is not the evidence that was signed.")]
    checks = [Check("evidence_digest", "pass", "The evidence is the one that was signed.")]
    try:
        evidence = parse_evidence(content, str(path))
    except LeanmarkError as error:
        return None, [*checks, Check("evidence_header_matches", "fail", str(error))]
    return evidence, [*checks, _header_check(certificate, evidence), _test_set_check(evidence)]


def _test_set_check(evidence: Evidence) -> Check:
    """Whether the scored samples, taken together, are the test set that the header names."""
    from certify.data.dataset import samples_digest

    name, samples, stated = "test_set_matches", evidence.predictions, evidence.header.data
    if len(samples) != stated["test_samples"]:
        return Check(name, "note", f"{len(samples)} of {stated['test_samples']} test samples were scored.")
    if samples_digest((s.digest for s in samples), (s.label for s in samples)) != stated["test_digest"]:
        return Check(name, "fail", "The scored samples are not the test set that the certificate names.")
    return Check(name, "pass", "The scored samples are the test set that the certificate names.")


def _header_check(certificate: Certificate, evidence: Evidence) -> Check:
    predicate, candidate = certificate.predicate, evidence.header.models["candidate"]
    repeated = from_header(evidence)
    differing = [name for name, value in repeated.items() if rfc8785.dumps(value) != rfc8785.dumps(predicate[name])]
    if evidence.header.edition != predicate["edition"]["name"]:
        differing.append("edition")
    digests = {"sha256": candidate.file_digest, "leanmarkContent": candidate.content_digest}
    if digests != certificate.subject_digest:
        differing.append("model")
    name = "evidence_header_matches"
    if differing:
        return Check(name, "fail", f"The evidence is of another measurement: {', '.join(differing)} differ.")
    return Check(name, "pass", "Model, workload, device, meter and data are those of the evidence.")


def _derive_again(certificate: Certificate, evidence: Evidence | None, edition: Edition) -> Iterator[Check]:
    """Profile from the evidence, then grade from the profile (from the signed one where there is no evidence)."""
    from certify.judge.grade import grade
    from certify.judge.profile import derive

    try:
        profile = signed = certificate.profile
        if evidence is not None:
            profile = derive(evidence, edition)
    except _NOT_DERIVABLE as error:
        yield Check("profile_follows", "fail", f"No profile follows from the evidence: {error}")
        return
    if evidence is not None:
        wrong, reworded = _profile_differences(signed, profile)
        yield _follows("profile_follows", "Every figure and guard follows from the evidence", wrong, reworded)
    try:
        derived = grade_json(grade(profile, edition))
    except _NOT_DERIVABLE as error:
        yield Check("grade_follows", "fail", f"No grade follows from the profile: {error}")
        return
    wrong, reworded = _grade_differences(certificate.predicate["grade"], derived)
    source = "signed profile" if evidence is None else "evidence"
    yield _follows("grade_follows", f"The grade {derived['text']} follows from the {source}", wrong, reworded)


def _follows(name: str, sentence: str, wrong: Sequence[str], reworded: Sequence[str]) -> Check:
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return Check(name, "fail", f"What was signed does not follow from the evidence: {shown}.")
    outcome: Outcome = "note" if reworded else "pass"
    words = f", though other words were signed for {', '.join(reworded)}" if reworded else ""
    return Check(name, outcome, f"{sentence}{words}.")


def _profile_differences(signed: Profile, derived: Profile) -> tuple[list[str], list[str]]:
    """Names of figures and guards that differ, and of those that differ in words alone."""
    wrong = sorted(set(signed.estimates) ^ set(derived.estimates))
    reworded = []
    for name in sorted(set(signed.estimates) & set(derived.estimates)):
        mine, theirs = derived.estimates[name], signed.estimates[name]
        if not _same_figures(mine, theirs):
            wrong.append(name)
        elif mine.method != theirs.method:
            reworded.append(name)
    outcomes = [{guard.name: guard.outcome for guard in profile.guards} for profile in (signed, derived)]
    sentences = [{guard.name: guard.sentence for guard in profile.guards} for profile in (signed, derived)]
    for name in sorted(set(outcomes[0]) | set(outcomes[1])):
        if outcomes[0].get(name) != outcomes[1].get(name):
            wrong.append(name)
        elif sentences[0].get(name) != sentences[1].get(name):
            reworded.append(name)
    return wrong, reworded


def _same_figures(one: Estimate, other: Estimate) -> bool:
    ends = ((one.value, other.value), (one.low, other.low), (one.high, other.high))
    facts = (one.unit, one.n, one.evidence) == (other.unit, other.n, other.evidence)
    return facts and all(_close(a, b) for a, b in ends)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=_NEAR_ZERO)


def _grade_differences(signed: Mapping[str, Any], derived: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    wrong, reworded = [], []
    for name, mine in derived.items():
        theirs = signed[name]
        if isinstance(mine, list):
            if len(mine) != len(theirs):
                wrong.append(name)
            elif mine != theirs:
                reworded.append(name)
        elif isinstance(mine, float) and isinstance(theirs, int | float) and not isinstance(theirs, bool):
            if not _close(mine, theirs):
                wrong.append(name)
        elif mine != theirs:
            wrong.append(name)
    return wrong, reworded


def _check_lineage(certificate: Certificate, path: Path | None) -> Check:
    stated = certificate.predicate["lineage"]
    if stated is None:
        return Check("lineage_digest", "skipped", "The certificate names no lineage.")
    if path is None:
        return Check("lineage_digest", "skipped", f"{LINEAGE_NAME} does not lie beside the file.")
    if sha256_file(path) != stated["sha256"]:
        return Check("lineage_digest", "fail", f"{path} is not the lineage that was signed.")
    return Check("lineage_digest", "pass", f"{LINEAGE_NAME} is the one that was signed.")


def _check_companions(certificate: Certificate, folders: Sequence[Path]) -> Check:
    stated: Mapping[str, str] = certificate.predicate["companions"]
    found = {name: path for name in stated if (path := _beside(name, folders)) is not None}
    wrong = [name for name, path in found.items() if sha256_file(path) != stated[name]]
    if wrong:
        return Check("companions", "fail", f"Not the files that were signed: {', '.join(wrong)}.")
    measured = certificate.predicate["baseline"]["file_digest"]
    if BASELINE_NAME in found and file_digest(found[BASELINE_NAME]) != measured:
        return Check("companions", "fail", f"{BASELINE_NAME} is as signed, but not the baseline that was measured.")
    if not found:
        return Check("companions", "skipped", "No companion file lies beside the file.")
    absent = sorted(set(stated) - set(found))
    rest = f"; not here: {', '.join(absent)}" if absent else ""
    return Check("companions", "pass", f"As signed: {', '.join(sorted(found))}{rest}.")


def _check_label(certificate: Certificate, path: Path | None) -> Check:
    if path is None:
        return Check("label", "skipped", f"{LABEL_SVG_NAME} does not lie beside the file.")
    try:
        drawn = certificate.label().encode()
    except LeanmarkError as error:
        return Check("label", "fail", f"No label can be drawn from the certificate: {error}")
    if path.stat().st_size != len(drawn) or path.read_bytes() != drawn:
        return Check("label", "fail", f"{path} is not the label of this certificate.")
    return Check("label", "pass", f"{LABEL_SVG_NAME} is the label of this certificate.")


def _check_picture(certificate: Certificate, path: Path | None) -> Check:
    from certify.label import render, renderer

    if path is None:
        return Check("label_picture", "skipped", f"{LABEL_PNG_NAME} does not lie beside the file.")
    used = certificate.predicate["label"]["renderer"]
    if used != renderer():
        return Check("label_picture", "skipped", f"Drawn by {used}; {renderer()} here may give other bytes.")
    try:
        drawn = render(certificate.label())
    except (LeanmarkError, ValueError) as error:
        return Check("label_picture", "fail", f"No label can be drawn from the certificate: {error}")
    if path.stat().st_size != len(drawn) or path.read_bytes() != drawn:
        return Check("label_picture", "fail", f"{path} is not the label of this certificate.")
    return Check("label_picture", "pass", f"{LABEL_PNG_NAME} is the label of this certificate.")
