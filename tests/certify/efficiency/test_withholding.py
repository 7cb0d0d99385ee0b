"""Evidence about private data in two files: the same figures from counts as from rows, and forged ones found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.assessment.rederivation import compare_figures
from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import NEED_ROWS
from certify.assessments.efficiency.profile import derive
from certify.assessments.efficiency.withholding import join, withhold
from certify.attest.audit import audit
from certify.attest.auditor import Access
from certify.attest.countersignature import countersign
from certify.attest.keys import SigningKey, new_key
from certify.attest.trust import TrustStore
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.observations import PairedCounts
from certify.core.private_data import DataKey
from certify.data.dataset import samples_digest

KEY = DataKey(bytes(range(32)))
Builder = Callable[..., Evidence]


def private(made: Evidence) -> Evidence:
    """Honest evidence as a measurement on data with keyed identifiers gives it."""
    digest = samples_digest((p.digest for p in made.predictions), (p.label for p in made.predictions))
    data = {**made.header.data, "test_digest": digest, "private": KEY.id}
    return replace(made, header=replace(made.header, data=data))


@pytest.fixture
def whole(make_evidence: Builder) -> Evidence:
    predictions = make_evidence().predictions
    digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
    facts = {"name": "photos", "spec": "imagefolder:photos", "test_samples": 1500, "test_digest": digest, "classes": 10}
    return private(make_evidence(header={"data": facts}))


def test_counts_give_the_same_figures_as_rows(whole: Evidence, edition: Edition) -> None:
    public, content = withhold(whole, KEY)
    joined = join(parse_evidence(evidence_bytes(public)), content, KEY)
    counted, rows = derive(public, edition), derive(joined, edition)
    assert counted.estimates.keys() < rows.estimates.keys()  # classes alone need rows
    assert all(name.startswith("class") for name in rows.estimates.keys() - counted.estimates.keys())
    shared = replace(rows, estimates={name: rows[name] for name in counted.estimates})
    assert all(row.match == "same" for row in compare_figures(counted, shared))
    plain = derive(whole, edition)
    assert all(plain[name] == one for name, one in counted.estimates.items() if name != "private_samples")
    changed = {one.name for one in counted.guards if one.outcome != (plain.guard(one.name) or one).outcome}
    assert changed <= {*NEED_ROWS, "holds_on_fresh"} and {"answers_stable", "labels_agree"} <= changed
    assert all(one.outcome == "unknown" for one in counted.guards if one.name in NEED_ROWS)


def test_letter_is_that_of_the_rows_and_names_what_is_pending(whole: Evidence, edition: Edition) -> None:
    public, _ = withhold(whole, KEY)
    with_rows, without = grade(derive(whole, edition), edition), grade(derive(public, edition), edition)
    assert (without.letter, without.score_db) == (with_rows.letter, with_rows.score_db) and without.letter is not None
    assert any("are in the auditor file" in note and "answers_stable" in note for note in without.notes)


def test_unknown_rows_lead_to_a_refusal_when_no_auditor_file_is_bound(whole: Evidence, edition: Edition) -> None:
    public, _ = withhold(whole, KEY)
    unbound = replace(public, header=replace(public.header, auditor=None))
    assert grade(derive(unbound, edition), edition).refused


def test_public_evidence_never_names_a_sample(whole: Evidence) -> None:
    public, content = withhold(whole, KEY)
    written = evidence_bytes(public)
    assert all(p.digest.encode() not in written and p.digest.encode() in content for p in whole.predictions)
    assert b'"seed":null' in written and b'"kind":"prediction"' not in written


FORGED: dict[str, Callable[[Evidence], Evidence]] = {
    "correct answers": lambda e: counts(e, only_baseline=0, both=1454),
    "a sample more": lambda e: counts(e, scored=1501),
    "a window": lambda e: replace(e, windows=e.windows[:-1]),
    "the device": lambda e: replace(e, header=replace(e.header, device={"processor": "another"})),
}


def counts(evidence: Evidence, **changed: float) -> Evidence:
    kept = [one for one in evidence.observations if one.name != PairedCounts.NAME]
    found = evidence.observation(PairedCounts.NAME) or {}
    return replace(evidence, observations=(*kept, Observation(PairedCounts.NAME, {**found, **changed})))


@pytest.mark.parametrize("what", FORGED)
def test_public_evidence_fails_derivation_when_forged(whole: Evidence, what: str) -> None:
    public, content = withhold(whole, KEY)
    with pytest.raises(CertificateError, match="does not follow from the auditor file"):
        join(FORGED[what](public), content, KEY)


def test_auditor_file_is_refused_when_its_samples_differ(whole: Evidence) -> None:
    fewer = replace(whole, predictions=whole.predictions[:-1])
    public, content = withhold(fewer, KEY)
    with pytest.raises(CertificateError, match="not the test set"):
        join(public, content, KEY)
    with pytest.raises(CertificateError, match="keyed identifiers"):
        withhold(whole, DataKey.new())
    with pytest.raises(CertificateError, match="scored samples"):
        withhold(replace(whole, predictions=()), KEY)


IMPOSSIBLE: dict[str, dict[str, float]] = {
    "a negative count": {"neither": -1},
    "half a sample": {"neither": 42.5},
    "more agreements than samples": {"agreed": 2000},
    "fewer agreements than right ones of both": {"agreed": 3},
    "a class larger than the set": {"commonest": 2000},
    "no commonest class": {"commonest": 0},
    "more samples than were scored": {"scored": 3},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_counts_are_refused_when_no_predictions_could_have_them(whole: Evidence, edition: Edition, what: str) -> None:
    public, _ = withhold(whole, KEY)
    with pytest.raises(CertificateError, match="are not possible"):
        derive(counts(public, **IMPOSSIBLE[what]), edition)


@pytest.fixture
def certified(certify_small: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A certificate about private data, with its auditor file and data key in files of their own."""
    import certify.attest.issue as issuing

    original = issuing.issue

    def issue(assessment: Any, model: Path, records: Evidence, *arguments: Any) -> Any:
        public, content = withhold(private(records), KEY)
        (tmp_path / "efficiency.jsonl").write_bytes(content)
        return original(assessment, model, public, *arguments)

    monkeypatch.setattr("certify.workflows.issuance.issue_statement", issue)
    KEY.write(tmp_path / "data.key")
    return certify_small()


def run(key: SigningKey, command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments), "--trust", key.public.hex])


def test_gate_passes_when_given_the_auditor_file_or_an_attestation(certified: Any, tmp_path: Path) -> None:
    model, maker, auditor = certified.path, certified.key, new_key()
    public = run(maker, "gate", model)
    assert public.exit_code == 5 and "answers_stable" in public.output, public.output
    assert run(maker, "verify", model).exit_code == 0 and run(maker, "verify", model, "--strict").exit_code == 5
    given = ("--auditor-file", tmp_path / "efficiency.jsonl", "--auditor-key", tmp_path / "data.key")
    assert run(maker, "gate", model, "--at-least", "D", *given).exit_code == 0, run(maker, "gate", model, *given).output
    blind, seeing = audit(model), audit(model, access=Access((tmp_path / "efficiency.jsonl",), KEY))
    countersign(blind, auditor)
    TrustStore({"lab": auditor.public}).save()
    assert run(maker, "gate", model).exit_code == 5  # the auditor had no rows
    countersign(seeing, auditor)
    assert run(maker, "gate", model).exit_code == 0, run(maker, "gate", model).output
    found = verify(model, trust=[maker.public])
    check = found.check("private_rows")
    assert found.complete and check is not None and "by lab" in check.sentence
    TrustStore({}).save()
    assert run(maker, "gate", model).exit_code == 5


def test_report_and_label_are_drawn_in_public(certified: Any) -> None:
    page = CliRunner().invoke(main, ["report", str(certified.path)])
    assert page.exit_code == 0, page.output
    edition = load_edition()
    assert audit(certified.path).edition.digest == edition.digest
