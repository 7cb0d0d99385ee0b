"""Check the sidecar files, and derive estimates, guards and grade again from the evidence."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import rfc8785

from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import EVIDENCE_NAME, LINEAGE_NAME, Certificate
from certify.attest.checks_facts import check_facts
from certify.attest.rederivation import Compared, compare_figures, compare_grades, compare_guards
from certify.attest.statement import from_header, grade_json
from certify.attest.subject import baseline_name, measured_digests
from certify.core.errors import LeanmarkError
from certify.core.evidence import Evidence
from certify.core.evidence_file import parse_evidence
from certify.core.files import sha256_file
from certify.core.finding import Finding, FindingOutcome
from certify.core.registry import provided
from certify.data.dataset import samples_digest
from certify.model_file.model_file import ModelFile, open_model

MAX_EVIDENCE_BYTES = 128 << 20
CLOCKS_DIFFER = datetime.timedelta(minutes=10)
"""By which two clocks that are right may differ."""

# The formulas meet values that no honest measurement holds (zero durations, no blocks) only in forged evidence.
NOT_DERIVABLE = (LeanmarkError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError)


def check_sidecars(
    model: ModelFile | None, certificate: Certificate, folders: Sequence[Path], evidence: Path | None
) -> Iterator[Finding]:
    """Edition, evidence, facts of both models, lineage, companions and label.

    Args:
        model: the certified file; None where it is not what was certified.
        certificate: whose statement names them.
        folders: where to look for them, in this order.
        evidence: the evidence file, if it was named.
    """
    edition, check = _edition(certificate)
    yield check
    yield _created_check(certificate, now())
    found = find_evidence(evidence, folders)
    records, checks = (None, []) if isinstance(found, str) else _read_evidence(certificate, found)
    missing = found if isinstance(found, str) else None
    yield from checks
    yield from _check_derivation(certificate, records, edition, missing)
    yield from check_facts(model, certificate, records, folders)
    yield _check_lineage(certificate, beside(LINEAGE_NAME, folders))
    yield _check_companions(certificate, folders)
    for sidecar_checks in provided("sidecar_checks"):
        yield from sidecar_checks(certificate, folders)


def beside(name: str, folders: Sequence[Path]) -> Path | None:
    """The first file of a name in some folders; None where there is none."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _edition(certificate: Certificate) -> tuple[Edition | None, Finding]:
    stated = certificate.predicate["edition"]
    try:
        edition = load_edition(stated["name"])
    except LeanmarkError as error:
        return None, Finding("edition_digest", "fail", f"{error} A newer leanmark may know it.")
    if edition.digest != stated["digest"]:
        return None, Finding(
            "edition_digest", "fail", f"Edition {edition.name} of this leanmark is not the signed one."
        )
    return edition, Finding("edition_digest", "pass", f"Edition {edition.name} is the signed one.")


def now() -> datetime.datetime:
    """The time by this machine's clock."""
    return datetime.datetime.now(datetime.timezone.utc)


def _created_check(certificate: Certificate, time: datetime.datetime) -> Finding:
    created = certificate.predicate["created"]
    try:
        began = datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return Finding("created", "fail", f"{created} is not a time.")
    if began > time + CLOCKS_DIFFER:
        return Finding("created", "fail", f"Measuring began at {created}, later than now by this machine's clock.")
    return Finding("created", "pass", f"Measuring began at {created}.")


def find_evidence(named: Path | None, folders: Sequence[Path]) -> Path | str:
    """The evidence file, or why there is none that can be read."""
    places = [named] if named is not None else [folder / EVIDENCE_NAME for folder in folders]
    path = next((place for place in places if os.path.lexists(place)), None)
    if path is None:
        return f"{EVIDENCE_NAME} is missing"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return f"{path} is not a regular file"
        with path.open("rb"):
            return path
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"


def _check_derivation(
    certificate: Certificate, evidence: Evidence | None, edition: Edition | None, missing: str | None
) -> Iterator[Finding]:
    if missing is not None:
        for name in ("evidence_digest", "evidence_header_matches", "test_set_matches", "profile_follows"):
            yield Finding(name, "skipped", f"{missing}, so the figures were not derived again.")
    elif evidence is None:
        yield Finding("profile_follows", "skipped", "There is no evidence to derive it from.")
    if edition is None:
        if evidence is not None:
            yield Finding("profile_follows", "skipped", "The edition is not known here.")
        yield Finding("grade_follows", "skipped", "The edition is not known here.")
        return
    yield from _derive_again(certificate, evidence, edition)


def _read_evidence(certificate: Certificate, path: Path) -> tuple[Evidence | None, list[Finding]]:
    stated = certificate.predicate["evidence"]
    size = path.stat().st_size
    if size > MAX_EVIDENCE_BYTES:
        return None, [Finding("evidence_digest", "fail", f"{path} has {size} bytes, over {MAX_EVIDENCE_BYTES}.")]
    content = path.read_bytes()
    if (len(content), hashlib.sha256(content).hexdigest()) != (stated["bytes"], stated["sha256"]):
        return None, [Finding("evidence_digest", "fail", f"{path} is not the evidence that was signed.")]
    checks = [Finding("evidence_digest", "pass", "The evidence is the one that was signed.")]
    try:
        evidence = parse_evidence(content, str(path))
    except LeanmarkError as error:
        return None, [*checks, Finding("evidence_header_matches", "fail", str(error))]
    return evidence, [*checks, _header_check(certificate, evidence), _test_set_check(evidence)]


def _test_set_check(evidence: Evidence) -> Finding:
    """Whether the scored samples, taken together, are the test set that the header names."""
    name, samples, stated = "test_set_matches", evidence.predictions, evidence.header.data
    if not {"test_samples", "test_digest"} <= set(stated):
        return Finding(name, "fail", "The evidence does not say what the test set is.")
    if len(samples) != stated["test_samples"]:
        return Finding(name, "note", f"{len(samples)} of {stated['test_samples']} test samples were scored.")
    if samples_digest((s.digest for s in samples), (s.label for s in samples)) != stated["test_digest"]:
        return Finding(name, "fail", "The scored samples are not the test set that the certificate names.")
    return Finding(name, "pass", "The scored samples are the test set that the certificate names.")


def _header_check(certificate: Certificate, evidence: Evidence) -> Finding:
    predicate, candidate = certificate.predicate, evidence.header.models["candidate"]
    repeated = from_header(evidence)
    differing = [name for name, value in repeated.items() if rfc8785.dumps(value) != rfc8785.dumps(predicate[name])]
    if evidence.header.edition != certificate.measuring_edition:
        differing.append("edition")
    if measured_digests(candidate) != certificate.subject_digest:
        differing.append("model")
    name = "evidence_header_matches"
    if differing:
        return Finding(name, "fail", f"The evidence is of another measurement: {', '.join(differing)} differ.")
    return Finding(name, "pass", "Model, workload, device, meter and data are those of the evidence.")


def _derive_again(certificate: Certificate, evidence: Evidence | None, edition: Edition) -> Iterator[Finding]:
    """Profile from the evidence, then grade from the profile (from the signed one where there is no evidence)."""
    try:
        profile = signed = certificate.profile
        if evidence is not None:
            profile = derive(evidence, edition)
    except NOT_DERIVABLE as error:
        yield Finding("profile_follows", "fail", f"No profile follows from the evidence: {error}")
        return
    if evidence is not None:
        rows = [*compare_figures(signed, profile), *compare_guards(signed, profile)]
        yield _follows("profile_follows", "Every figure and guard follows from the evidence", rows)
    try:
        derived = grade_json(grade(profile, edition))
    except NOT_DERIVABLE as error:
        yield Finding("grade_follows", "fail", f"No grade follows from the profile: {error}")
        return
    rows = list(compare_grades(certificate.predicate["grade"], derived))
    source = "signed profile" if evidence is None else "evidence"
    yield _follows("grade_follows", f"The grade {derived['text']} follows from the {source}", rows)


def _follows(name: str, sentence: str, rows: Sequence[Compared]) -> Finding:
    wrong = sorted(row.name for row in rows if row.match == "differs")
    reworded = sorted(row.name for row in rows if row.match == "reworded")
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return Finding(name, "fail", f"What was signed does not follow from the evidence: {shown}.")
    outcome: FindingOutcome = "note" if reworded else "pass"
    words = f", though other words were signed for {', '.join(reworded)}" if reworded else ""
    return Finding(name, outcome, f"{sentence}{words}.")


def _check_lineage(certificate: Certificate, path: Path | None) -> Finding:
    stated = certificate.predicate["lineage"]
    if stated is None:
        return Finding("lineage_digest", "skipped", "The certificate names no lineage.")
    if path is None:
        return Finding("lineage_digest", "skipped", f"{LINEAGE_NAME} does not lie beside the file.")
    if sha256_file(path) != stated["sha256"]:
        return Finding("lineage_digest", "fail", f"{path} is not the lineage that was signed.")
    return Finding("lineage_digest", "pass", f"{LINEAGE_NAME} is the one that was signed.")


def _check_companions(certificate: Certificate, folders: Sequence[Path]) -> Finding:
    stated: Mapping[str, str] = certificate.predicate["companions"]
    found = {name: path for name in stated if (path := beside(name, folders)) is not None}
    wrong = [name for name, path in found.items() if sha256_file(path) != stated[name]]
    if wrong:
        return Finding("companions", "fail", f"Not the files that were signed: {', '.join(wrong)}.")
    original = baseline_name(Path(certificate.statement["subject"][0]["name"]))
    measured = certificate.predicate["baseline"]["file_digest"]
    if original in found and _file_digest(found[original]) != measured:
        return Finding("companions", "fail", f"{original} is as signed, but not the baseline that was measured.")
    if not found:
        return Finding("companions", "skipped", "No companion file lies beside the file.")
    absent = sorted(set(stated) - set(found))
    rest = f"; not here: {', '.join(absent)}" if absent else ""
    return Finding("companions", "pass", f"As signed: {', '.join(sorted(found))}{rest}.")


def _file_digest(path: Path) -> str | None:
    """Digest of a model's file without its seal; None where it is damaged."""
    try:
        with open_model(path) as model:
            return model.file_digest()
    except LeanmarkError:
        return None
