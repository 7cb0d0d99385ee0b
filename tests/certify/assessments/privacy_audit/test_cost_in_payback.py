"""Joules of an audit in the payback of the audited model: in report, score, output and export, and derived again."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import certify
from certify.assessment.claims import later_costs
from certify.assessments.efficiency.grade import Grade
from certify.assessments.efficiency.payback import payback, payback_inferences
from certify.assessments.privacy_audit.records import EarlierAudit, dump
from certify.attest.certificate import Certificate
from certify.attest.verify import verify
from certify.cli.output import print_result
from certify.core.estimate import Estimate
from certify.core.files import sha256_file
from certify.export import export
from certify.model_file.subject import subject_digests
from certify.workflows.certification_result import Result
from certify.workflows.scoring import score_model, sign_score

sys.path.insert(0, str(Path(__file__).parent))

from honest_audit import head, membership_rows, records, steps

PASSES = {"value": 364.0, "low": 300.0, "high": 400.0, "unit": "J", "n": 1, "method": "m", "evidence": "counter"}
ROW = {
    "pass": "distill", "version": 1, "stage": "torch", "config": {}, "model_digest_in": "ab" * 32,
    "model_digest_out": "ab" * 32, "parameters": 200, "macs": 7, "bytes": 7, "validation_accuracy": 0.9, "seconds": 2.0,
    "energy_j": PASSES, "done": {}, "declined": [],
}  # fmt: skip
AUDIT = 8 * 50.0
"""Joules of the eight steps of ``honest_audit``."""
Audit = Callable[..., Certificate]


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def graded(certify_small: Callable[..., Any]) -> Any:
    return certify_small(lineage={"rows": [ROW]})


@pytest.fixture
def model(graded: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(graded.path.parent, tmp_path / "out")) / graded.path.name


@pytest.fixture
def audit(graded: Any, model: Path, tmp_path: Path) -> Audit:
    """States an audit of the model, by default of its own lineage."""

    def make(metered: bool = True, lineage: str | None = None, earlier: tuple[EarlierAudit, ...] = ()) -> Certificate:
        statement = head(records([*steps(metered), *earlier, *membership_rows()]), baseline=None)
        digests = type(statement.header.model)(**subject_digests(model))
        statement = head(statement, model=digests, lineage=lineage or sha256_file(model.parent / "lineage.json"))
        (tmp_path / "audit.jsonl").write_bytes(dump(statement))
        return certify.state(model, "privacy_audit", tmp_path / "audit.jsonl", edition="2026", signer=graded.key)

    return make


def counted(model: Path, key: Any) -> dict[str, Estimate]:
    found = score_model(model, trust=[key.public]).score.records.statement("efficiency")
    assert found is not None
    return {name: Estimate.from_json(one) for name, one in found.figures.items()}


def due(model: Path, joules: float) -> float:
    """Inferences that repay some joules."""
    paid = payback_inferences(Estimate.exact(joules, "J", "test"), Certificate.read(model).claims.figures)
    assert paid is not None
    return paid.value


def test_report_adds_the_audit_to_the_passes(model: Path, audit: Audit) -> None:
    before = certify.report(model)
    assert "The passes took 364 J (counter). If all of this" in before and "privacy audit took" not in before
    audit()
    after = certify.report(model)
    assert "The passes took 364 J (counter). The privacy audit took 400 J (modelled). If all of this" in after
    assert after.count(">privacy audit<") > before.count(">privacy audit<"), "a bar in the chart of joules"
    assert before.partition("break even after")[2][:40] != after.partition("break even after")[2][:40]


def test_payback_is_of_both_at_the_weakest_level_with_an_interval(model: Path, audit: Audit) -> None:
    certificate, lineage = Certificate.read(model), json.loads((model.parent / "lineage.json").read_text())
    later = later_costs(certificate.claims.lineage_digest, [audit().claims])
    paid = payback(certificate.claims.figures, lineage, later=later)
    assert paid.spent is not None and paid.inferences is not None
    assert (paid.spent.value, paid.spent.low, paid.spent.high) == (364 + AUDIT, 300 + 8 * 40, 400 + 8 * 60)
    assert paid.spent.evidence.value == "modelled" and list(paid.parts) == ["passes", "privacy audit"]
    assert paid.inferences.value == pytest.approx(due(model, 364 + AUDIT))


def test_score_counts_both_and_everybody_derives_it_again(graded: Any, model: Path, audit: Audit) -> None:
    assert counted(model, graded.key)["log10_payback_inferences"].value == pytest.approx(math.log10(due(model, 364)))
    sign_score(score_model(model, trust=[graded.key.public]), graded.key)
    audit()
    found = verify(model, trust=[graded.key.public])
    assert not found.failed, "an audit after the count is only a note"
    figures = counted(model, graded.key)
    assert figures["log10_payback_inferences"].value == pytest.approx(math.log10(due(model, 364 + AUDIT)))
    sign_score(score_model(model, trust=[graded.key.public]), graded.key)
    assert not verify(model, trust=[graded.key.public]).failed
    for each in (model.parent / "statements").glob("privacy_audit*"):
        each.unlink()
    names = {check.name for check in verify(model, trust=[graded.key.public]).failed}
    assert names >= {"scorecard.counted_statements", "scorecard.counted_figures"}


def test_altered_joules_of_a_step_are_found(graded: Any, model: Path, audit: Audit) -> None:
    audit()
    path = model.parent / "statements" / "privacy_audit.evidence.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":50', b'"value":41', 1))
    assert any("privacy_audit." in check.name for check in verify(model, trust=[graded.key.public]).failed)


def test_audit_of_another_lineage_adds_nothing(graded: Any, model: Path, audit: Audit) -> None:
    claims = audit(lineage="ef" * 32).claims
    assert later_costs(Certificate.read(model).claims.lineage_digest, [claims]) == {}
    assert later_costs(None, [claims]) == {}


def test_break_even_is_unknown_when_the_audit_was_not_metered(graded: Any, model: Path, audit: Audit) -> None:
    audit(metered=False)
    page = certify.report(model)
    assert "The energy of the privacy audit is unknown, so the break-even point is unknown too." in page
    assert "break even after" not in page
    assert "log10_payback_inferences" not in counted(model, graded.key)


def test_earlier_audits_count_in_report_score_and_payback(graded: Any, model: Path, audit: Audit) -> None:
    once = EarlierAudit("cd" * 32, "2026-11-01T00:00:00Z", PASSES | {"evidence": "modelled"})
    abandoned = EarlierAudit(None, "2026-11-02T00:00:00Z", PASSES | {"value": 36.0, "low": 30.0, "high": 40.0})
    stated = audit(earlier=(once, abandoned)).claims
    page = certify.report(model)
    assert "The privacy audit took 400 J (modelled). The earlier privacy audits took 400 J (modelled). If all" in page
    assert counted(model, graded.key)["log10_payback_inferences"].value == pytest.approx(
        math.log10(due(model, 364 + AUDIT + 400))
    )
    assert stated.figures["earlier_audits"].value == 2 and not stated.refused
    assert not verify(model, trust=[graded.key.public]).failed


def test_break_even_is_unknown_when_an_earlier_audit_was_not_metered(graded: Any, model: Path, audit: Audit) -> None:
    stated = audit(earlier=(EarlierAudit(None, "2026-11-01T00:00:00Z", None),)).claims
    assert "The energy of the earlier privacy audits is unknown" in certify.report(model)
    assert "log10_payback_inferences" not in counted(model, graded.key)
    assert next(each for each in stated.findings if each.name == "cost_stated").outcome == "unknown"


def test_earlier_audit_that_is_listed_twice_is_refused(audit: Audit) -> None:
    once = EarlierAudit("cd" * 32, "2026-11-01T00:00:00Z", PASSES)
    assert audit(earlier=(once, once)).claims.refused


def test_output_and_export_state_the_audit(model: Path, audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = Certificate.read(model)
    grade, files = Grade.from_json(certificate.predicate["grade"]), {model.name: model}
    lineage = model.parent / "lineage.json"
    result = Result(certificate, certificate.profile, grade, {**files, lineage.name: lineage})
    print_result(result, True)
    assert list(json.loads(capsys.readouterr().out)["payback"]["parts"]) == ["passes"]
    stated = audit()
    print_result(result, True)
    paid = json.loads(capsys.readouterr().out)["payback"]
    assert paid["parts"]["privacy audit"]["value"] == AUDIT and paid["spent"]["value"] == 364 + AUDIT
    print_result(result, False)
    assert "The privacy audit took 400 J (320 to 480; modelled)." in " ".join(capsys.readouterr().out.split())
    source = json.loads(
        export(certificate, "cyclonedx", lineage=json.loads(lineage.read_text()), others=[stated]).content
    )
    assert '"value": "privacy audit"' in json.dumps(source) and f'"{AUDIT}"' in json.dumps(source)
    graph = json.loads(export(certificate, "spdx3", lineage=json.loads(lineage.read_text()), others=[stated]).content)
    (further,) = [each["statement"] for each in graph["@graph"] if "further-energy" in each.get("statement", "")]
    assert json.loads(further)["further-energy"]["privacy audit"]["value"] == AUDIT
