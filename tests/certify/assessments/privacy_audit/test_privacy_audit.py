"""The privacy audit of given records: figures, findings, refusals, and the auditor file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from scipy import stats

import certify
from certify.assessment.assessment import profile_of
from certify.assessment.claims import Claims, EditionClaim, SignerClaim, contradictions
from certify.assessments.privacy_audit.assessment import PrivacyAudit
from certify.assessments.privacy_audit.attacks import attacks_of
from certify.assessments.privacy_audit.coins import coins_of, pack_bits, unpack_bits
from certify.assessments.privacy_audit.edition import load_edition
from certify.assessments.privacy_audit.findings import CHECKS
from certify.assessments.privacy_audit.membership import likelihood_ratios
from certify.assessments.privacy_audit.records import (
    Canaries,
    EarlierAudit,
    Extraction,
    Membership,
    Opened,
    Records,
    ScoresOf,
    Step,
    dump,
    parse,
)
from certify.assessments.privacy_audit.withholding import join, withhold, write
from certify.attest.auditor import Access
from certify.attest.keys import new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.accounting import epsilon_shown
from certify.core.errors import CertificateError, UsageError
from certify.core.estimate import Estimate
from certify.core.statistics.proportions import PairedTable, difference_interval
from certify.model_file.subject import subject_digests
from certify.testing import check_assessment
from certify.testing.assessment import Trial

sys.path.insert(0, str(Path(__file__).parent))

from honest_audit import (
    CANARIES,
    GUESSES,
    KEY,
    N,
    canary_rows,
    changed,
    extraction_rows,
    head,
    honest,
    membership_rows,
    records,
    steps,
)

EDITION = load_edition()
ROOM = PrivacyAudit()


def outcomes(made: Records) -> dict[str, str]:
    return {one.name: one.outcome for one in profile_of(ROOM, made, EDITION).guards}


def sentence(made: Records, name: str) -> str:
    return next(one.sentence for one in profile_of(ROOM, made, EDITION).guards if one.name == name)


def judged(made: Records) -> Any:
    return ROOM.outcome(profile_of(ROOM, made, EDITION), EDITION)


def figures(made: Records) -> Any:
    return profile_of(ROOM, made, EDITION).estimates


def test_assessment_keeps_every_promise_of_an_assessment() -> None:
    check_assessment(ROOM, dump(honest()), "2026")
    check_assessment(ROOM, dump(withhold(honest(private=True), KEY)[0]), "2026")


def test_honest_audit_is_described_when_every_check_holds() -> None:
    honest_records = honest()
    assert (
        set(outcomes(honest_records).values()) == {"pass", "unknown"}
        and outcomes(honest_records)["non_members_enough"] == "unknown"
    )
    outcome = judged(honest_records)
    assert not outcome.refused and "area of" in outcome.text and "does not contradict 8" in outcome.text
    assert any("Inversion is not assessed" in note for note in outcome.notes)


def normal_ratios(target: np.ndarray, shadows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Log-likelihood ratios of one score by SciPy's normal distribution, sample by sample."""
    logs = []
    for taken in (inside, ~inside):
        rows = [shadows[taken[:, i], i] for i in range(len(target))]
        rest = np.concatenate([row - row.mean() for row in rows])
        deviation = np.sqrt((rest**2).sum() / (len(rest) - len(rows)) + 1e-12)
        logs.append([stats.norm(row.mean(), deviation).logpdf(t) for row, t in zip(rows, target, strict=True)])
    return np.array(logs[0]) - np.array(logs[1])


def drawn_scores(files: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    inside = np.stack([random.permutation([True] * 3 + [False] * 3) for _ in range(50)], axis=1)
    shadows = random.normal(0, 1, (6, 50, files)) + inside[:, :, None] * np.arange(1, files + 1)
    return random.normal(0, 1, (50, files)), shadows, inside


def test_ratios_are_those_of_normal_laws_written_out() -> None:
    target, shadows, inside = drawn_scores(1)
    expected = normal_ratios(target[:, 0], shadows[:, :, 0], inside)
    assert likelihood_ratios(target, shadows, inside) == pytest.approx(expected)


def test_two_files_are_added_up_by_the_weights_of_fisher() -> None:
    target, shadows, inside = drawn_scores(2)
    means, spreads = [], []
    for taken in (inside, ~inside):
        rows = [shadows[taken[:, i], i] for i in range(50)]
        rest = np.concatenate([row - row.mean(0) for row in rows])
        means.append(np.mean([row.mean(0) for row in rows], axis=0))
        spreads.append(rest.T @ rest / (len(rest) - 50))
    pooled = (spreads[0] + spreads[1]) / 2
    pooled += (1e-6 * np.trace(pooled) / 2 + 1e-12) * np.eye(2)
    weights = np.linalg.inv(pooled) @ (means[0] - means[1])
    weights /= np.linalg.norm(weights)
    expected = normal_ratios(target @ weights, shadows @ weights, inside)
    assert likelihood_ratios(target, shadows, inside) == pytest.approx(expected)


def test_shadows_tell_more_than_the_loss_alone_when_samples_differ_in_hardness() -> None:
    found = figures(honest())
    assert found["membership_auc_baseline"].low > found["membership_auc_loss_baseline"].value
    assert found["membership_auc_change"].high < 0
    assert found["membership_auc_pair"].value >= found["membership_auc_baseline"].value
    assert (found["members"].value, found["non_members"].value, found["shadows"].value) == (200, 200, 8)


def test_nothing_is_found_when_nothing_leaks() -> None:
    found = figures(records(membership_rows({"baseline": 0.0, "candidate": 0.0})))
    for name in ("baseline", "candidate", "pair"):
        assert found[f"membership_auc_{name}"].low <= 0.5 <= found[f"membership_auc_{name}"].high


def test_files_that_say_the_same_are_attacked_together_without_a_singular_covariance() -> None:
    rows = membership_rows({"baseline": 1.5, "candidate": 1.5})
    same = {row.of: row.values for row in rows if isinstance(row, ScoresOf) and row.arm == "baseline"}
    made = changed(records(rows), ScoresOf, lambda row: replace(row, values=same[row.of]))
    found = figures(made)
    assert found["membership_auc_pair"].value == pytest.approx(found["membership_auc_baseline"].value, abs=1e-3)
    assert found["membership_auc_change"].value == 0.0


def many(others: int) -> Records:
    """An attack with given numbers of members and non-members."""
    random, n = np.random.default_rng(1), 2 * others
    inside = np.zeros((4, n), dtype=bool)
    for i in range(n):
        inside[random.permutation(4)[:2], i] = True
    bits = np.arange(n) < others
    rows: list[Any] = [Membership(n, "aa" * 32)]
    for of, taken in (("target", bits), *((str(k), inside[k]) for k in range(4))):
        values = tuple(np.round(random.normal(0, 1, n) + 2 * taken, 3).tolist())
        rows += [ScoresOf(of, arm, "5e" * 32, pack_bits(taken), values) for arm in ("baseline", "candidate")]
    return records(rows)


def test_members_found_at_few_false_alarms_are_stated_when_non_members_suffice() -> None:
    found = figures(many(1000))
    assert "members_found_at_1_percent_candidate" in found and "members_found_at_0_1_percent_candidate" not in found
    alarms = found["false_alarms_at_1_percent_candidate"]
    assert alarms.value == 0.01 and alarms.low < 0.01 < alarms.high
    assert "False alarms of 0.1 % need at least 10000 non-members, got 1000." in sentence(
        many(1000), "non_members_enough"
    )
    assert not any(name.startswith("members_found") for name in figures(many(999)))


def test_change_of_members_found_is_that_of_paired_proportions() -> None:
    made = many(1000)
    found, attacks = figures(made), attacks_of(made)
    hits = [attacks[name].members > np.sort(attacks[name].others)[::-1][10] for name in ("baseline", "candidate")]
    ends = difference_interval(PairedTable.from_correct(*hits), 0.95)
    stated = found["members_found_change_at_1_percent_points"]
    assert (stated.low, stated.high) == pytest.approx((100 * ends.low, 100 * ends.high))
    assert stated.value == pytest.approx(100 * (hits[1].mean() - hits[0].mean()))


def test_canaries_show_what_their_guesses_show() -> None:
    evidence = records(canary_rows(leak=4.0, claimed_epsilon=None))
    fixed, opened = evidence.first(Canaries), evidence.first(Opened)
    order, coins = np.argsort(-np.array(opened.scores), kind="stable"), coins_of(opened.seed, CANARIES)
    right = int(coins[order[:40]].sum() + (~coins[order[-40:]]).sum())
    found = figures(evidence)
    assert found["canary_guesses_right"].value == right
    assert found["canary_epsilon_shown"].value == epsilon_shown(CANARIES, GUESSES, right, 1e-5, 0.95) > 2.5
    assert found["canary_epsilon_shown"].high == np.inf
    assert found["canary_epsilon_showable"].value < found["canary_epsilon_showable_by_all"].value
    assert fixed.claimed_epsilon is None and not judged(evidence).refused


def test_claim_is_refused_when_the_canaries_contradict_it() -> None:
    evidence = records(canary_rows(leak=4.0, claimed_epsilon=1.0))
    assert outcomes(evidence)["claim_not_contradicted"] == "fail"
    outcome = judged(evidence)
    assert outcome.refused and "contradicts the claim of 1" in outcome.reasons[0]


def privacy_claims(epsilon: float, delta: float, **other: Any) -> Claims:
    """The claims of a privacy statement."""
    figures = {"epsilon_stated": Estimate.exact(epsilon, "1", "m"), "delta": Estimate.exact(delta, "1", "m")}
    made = Claims(
        assessment="privacy", title="t", digest="ab" * 32, leanmark="0.1.0", created="2026-01-02T03:04:05Z", model="m",
        model_metadata=None, edition=EditionClaim("2026", "ab" * 32), outcome="claimed", text="t", reasons=(),
        notes=(), figures=figures, findings=(), evidence_digest="ab" * 32, evidence_bytes=1, lineage_digest=None,
        companions={}, signer=SignerClaim("ed25519", "ab" * 32), headlines={}, limits=(),
    )  # fmt: skip
    return replace(made, **other)


def audit_claims(made: Records) -> Claims:
    return Trial(ROOM, dump(made), "2026", {}).certificate().claims


def test_privacy_statement_is_contradicted_when_canaries_show_more_or_another_claim_was_tested() -> None:
    knowing = audit_claims(records(canary_rows(leak=4.0, claimed_epsilon=None)))
    (wrong,) = contradictions([knowing, privacy_claims(1.0, 1e-5)])
    assert wrong.name == "claim_refuted" and "the privacy statement claims 1" in wrong.sentence
    assert not contradictions([knowing, privacy_claims(8.0, 1e-5)])
    guessing = audit_claims(records(canary_rows(claimed_epsilon=8.0)))
    (wrong,) = contradictions([privacy_claims(2.0, 1e-5), guessing])
    assert wrong.name == "claim_tested" and "epsilon 8, and the privacy statement claims 2" in wrong.sentence
    assert not contradictions([guessing, privacy_claims(8.0, 1e-5)])
    assert not contradictions([guessing, privacy_claims(9.0, 1e-5)])


def test_nothing_is_compared_when_the_privacy_statement_claims_less_or_nothing() -> None:
    knowing = audit_claims(records(canary_rows(leak=4.0, claimed_epsilon=None)))
    assert contradictions([knowing, privacy_claims(1.0, 1e-6)])  # a claim for a smaller delta is the stronger one
    assert not contradictions([knowing, privacy_claims(1.0, 1e-4)])
    assert not contradictions([knowing, privacy_claims(1.0, 1e-5, outcome="refused")])
    assert not contradictions([knowing, privacy_claims(1.0, 1e-5, assessment="social")])
    assert not contradictions([audit_claims(records(membership_rows())), privacy_claims(1.0, 1e-5)])


def test_claim_is_refuted_by_a_valid_audit_alone() -> None:
    knowing = records(canary_rows(leak=4.0, claimed_epsilon=1.0))
    uncommitted = changed(knowing, Canaries, lambda row: replace(row, commitment="00" * 32))
    other_recipe = changed(knowing, Opened, lambda row: replace(row, recipe="00" * 32))
    for made, refuted in ((knowing, True), (uncommitted, False), (other_recipe, False)):
        certificate = Trial(ROOM, dump(made), "2026", {}).certificate()
        assert certificate.claims.refused and "canary_epsilon_shown" in certificate.claims.figures
        assert bool(certificate.claims.refutes(privacy_claims(1.0, 1e-5))) == refuted
        assert ("canary_epsilon_shown" in ROOM.figures(certificate.predicate)) == refuted, "what a score reads"


def test_claim_could_not_be_contradicted_when_the_canaries_show_less() -> None:
    told = sentence(records(canary_rows(leak=0.1)), "claim_not_contradicted")
    assert told.startswith("Could not contradict epsilon 8") and "400 canaries show at most 4.8" in told


def test_coins_are_fair_and_packed_without_loss() -> None:
    coins = coins_of("ab" * 32, 4001)
    assert stats.binomtest(int(coins.sum()), 4001).pvalue > 1e-3
    assert not np.array_equal(coins_of("ab" * 32, 256), coins_of("ac" * 32, 256))
    assert np.array_equal(unpack_bits(pack_bits(coins), 4001), coins)
    with pytest.raises(ValueError, match="do not stand for 4 samples"):
        unpack_bits("8180", 4)


def test_extraction_stands_beside_its_control() -> None:
    found = figures(records(extraction_rows()))
    assert found["extraction_100_labels_fidelity"].value == 176 / 200
    assert found["extraction_100_labels_control"].value == 174 / 200
    assert found["extraction_100_labels_excess_points"].low < 0 < found["extraction_100_labels_excess_points"].high


def test_cost_of_the_audit_adds_up_when_every_step_was_metered() -> None:
    found = figures(records([*steps(), *canary_rows()]))
    assert found["audit_energy"].value == 400.0 and found["audit_cpu_seconds"].value == 40.0
    unmetered = records([*steps(metered=False), *canary_rows()])
    assert "audit_energy" not in figures(unmetered) and outcomes(unmetered)["cost_stated"] == "unknown"


def shorter(row: ScoresOf) -> ScoresOf:
    return replace(row, values=row.values[:-1]) if row.of == "3" else row


def all_in(row: ScoresOf) -> ScoresOf:
    return row if row.of == "target" else replace(row, inside=pack_bits(np.arange(N) < 399))


BROKEN: dict[str, tuple[str, Records, str]] = {
    "nothing": ("parts_reported", records([]), "Nothing was audited"),
    "a part left out": ("parts_reported", honest(parts=("membership", "canaries")), "differ about extraction"),
    "a part without records": ("parts_reported", changed(honest(), Opened, lambda _: None), "differ about canaries"),
    "public findings": ("figures_withheld", honest(private=True), "epsilon does not cover"),
    "an audit twice": (
        "earlier_counted_once",
        records([*2 * [EarlierAudit("cd" * 32, "2026-11-01T00:00:00Z", None)], *honest().rows]),
        "listed twice",
    ),
    "scores missing": ("samples_complete", changed(honest(), ScoresOf, shorter), "399 scores"),
    "no target": (
        "samples_complete",
        changed(honest(), ScoresOf, lambda row: None if row.of == "target" else row),
        "no scores of the audited model",
    ),
    "other members": (
        "samples_complete",
        changed(honest(), ScoresOf, lambda row: replace(row, inside="00" * 50) if row.arm == "baseline" else row),
        "different samples",
    ),
    "no others": (
        "samples_complete",
        changed(honest(), ScoresOf, lambda row: replace(row, inside="ff" * 50) if row.of == "target" else row),
        "400 members and 0 others",
    ),
    "shadow twice": (
        "samples_complete",
        changed(honest(), ScoresOf, lambda row: replace(row, of="0") if row.of == "1" else row),
        "each once",
    ),
    "a sample in too many": ("shadows_enough", changed(honest(), ScoresOf, all_in), "out of at least 0"),
    "another recipe": (
        "same_recipe",
        changed(honest(), ScoresOf, lambda row: replace(row, recipe="00" * 32) if row.of == "2" else row),
        "applied to 2",
    ),
    "another recipe of the twin": (
        "same_recipe", changed(honest(), Opened, lambda row: replace(row, recipe="00" * 32)), "the twin",
    ),
    "candidate alone": (
        "baseline_attacked",
        changed(honest(), ScoresOf, lambda row: None if row.arm == "baseline" else row),
        "baseline, pair",
    ),
    "other coins": (
        "coins_committed", changed(honest(), Opened, lambda row: replace(row, seed="1f" * 32)), "not those committed",
    ),
    "more guesses": (
        "coins_committed", changed(honest(), Canaries, lambda row: replace(row, guesses=100)), "not those committed",
    ),
    "another claim": (
        "coins_committed",
        changed(honest(), Canaries, lambda row: replace(row, claimed_epsilon=80.0)),
        "not those committed",
    ),
    "a late commitment": (
        "coins_committed",
        changed(honest(), Opened, lambda row: replace(row, trained="2026-01-02T03:04:59Z")),
        "before the commitment",
    ),
    "no terms": ("coins_committed", changed(honest(), Canaries, lambda _: None), "neither their number"),
    "no samples copied": (
        "control_stated",
        changed(honest(), Extraction, lambda row: replace(row, both=0, only_candidate=0, only_baseline=0, neither=0)),
        "on no samples",
    ),
    "a copy twice": (
        "control_stated", changed(honest(), Extraction, lambda row: replace(row, access="labels")), "stated twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_finding_fails_when_one_thing_in_the_records_is_wrong(what: str) -> None:
    name, made, told = BROKEN[what]
    found = CHECKS[name](made, EDITION)
    assert found[0] == "fail" and told in found[1], found


def test_every_check_has_a_change_that_trips_it() -> None:
    tripped = {name for name, _, _ in BROKEN.values()} | {"claim_not_contradicted"}
    assert set(CHECKS) - tripped == {"non_members_enough", "cost_stated"}  # which are unknown at the worst


def test_baseline_is_unknown_when_it_was_not_trained_here() -> None:
    rows = [row for row in membership_rows() if not (isinstance(row, ScoresOf) and row.arm == "baseline")]
    target = next(row for row in membership_rows() if isinstance(row, ScoresOf) and row.arm == "baseline")
    evidence = records([*rows, target], baseline_trained=False)
    assert outcomes(evidence)["baseline_attacked"] == "unknown" and not judged(evidence).refused
    assert "membership_auc_loss_baseline" in figures(evidence) and "membership_auc_pair" not in figures(evidence)


def test_scores_are_refused_when_shadows_are_few_or_a_score_is_not_finite() -> None:
    with pytest.raises(CertificateError, match="fewer than two shadows"):
        likelihood_ratios(np.zeros((2, 1)), np.zeros((2, 2, 1)), np.array([[True, False], [False, True]]))
    with pytest.raises(CertificateError, match="must be finite"):
        likelihood_ratios(np.full((2, 1), np.nan), np.zeros((4, 2, 1)), np.eye(4, 2, dtype=bool))


def test_public_records_tell_nothing_of_private_data_and_the_auditor_derives_all() -> None:
    whole = honest(private=True)
    public, content = withhold(whole, KEY)
    assert {type(row) for row in public.rows} == {Step, Canaries} and public.withheld
    found = profile_of(ROOM, public, EDITION)
    assert not ROOM.outcome(found, EDITION).refused
    assert not any(name.startswith(("membership", "extraction", "canary_epsilon_shown")) for name in found.estimates)
    joined = join(public, content, KEY)
    assert set(outcomes(joined).values()) <= {"pass", "unknown"} and "membership_auc_pair" in figures(joined)
    with pytest.raises(CertificateError, match="do not follow"):
        join(replace(public, rows=public.rows[1:]), content, KEY)


def test_public_refusal_of_a_contradicted_claim_needs_the_auditor() -> None:
    whole = records(canary_rows(leak=4.0, claimed_epsilon=1.0), private=True)
    public, content = withhold(whole, KEY)
    assert outcomes(public)["claim_not_contradicted"] == "unknown"
    assert outcomes(join(public, content, KEY))["claim_not_contradicted"] == "fail"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda made: head(made, parts=("inversion",)), "parts"),
        (lambda made: head(made, auditor={"sha256": "00"}), "does not bind"),
        (lambda made: changed(made, Canaries, lambda row: replace(row, delta=1.0)), "delta"),
        (lambda made: changed(made, Extraction, lambda row: replace(row, neither=-1)), "neither"),
    ],
)
def test_malformed_records_are_refused_with_the_line(change: Any, told: str) -> None:
    with pytest.raises(CertificateError, match=told):
        parse(dump(change(honest())), "records.jsonl")


def test_unknown_edition_is_refused() -> None:
    with pytest.raises(UsageError, match="2026"):
        ROOM.load_edition("2025")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "model.onnx"
    path.parent.mkdir()
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_statement_is_verified_gated_and_completed_by_the_auditor(model: Path, tmp_path: Path) -> None:
    signer = new_key()
    whole = head(honest(private=True, lineage=None), model=type(honest().header.model)(**subject_digests(model)))
    write(whole, tmp_path / "audit.jsonl", tmp_path / "private.jsonl", KEY)
    certify.state(model, "privacy_audit", tmp_path / "audit.jsonl", edition="2026", signer=signer)
    found = verify(model, trust=[signer.public])
    assert found.exit_code == 0 and "claim_not_contradicted" in found.waiting, str(found)
    access = Access((tmp_path / "private.jsonl",), KEY)
    assert not verify(model, trust=[signer.public], access=access).failed
    key = tmp_path / "data.key"
    KEY.write(key)
    asked = ["gate", str(model), "--trust", signer.public.hex, "--require", "privacy_audit.membership_auc_pair<=0.6"]
    auditor = ["--auditor-file", str(tmp_path / "private.jsonl"), "--auditor-key", str(key)]
    result = CliRunner().invoke(main, [*asked, *auditor])
    assert result.exit_code == 3 and "membership_auc_pair" in result.output, result.output


def test_lineage_beside_the_model_is_that_of_the_audit(model: Path, tmp_path: Path) -> None:
    signer = new_key()
    whole = head(honest(), model=type(honest().header.model)(**subject_digests(model)))
    (tmp_path / "audit.jsonl").write_bytes(dump(whole))
    certify.state(model, "privacy_audit", tmp_path / "audit.jsonl", edition="2026", signer=signer)
    (model.parent / "lineage.json").write_text("{}")
    check = verify(model, trust=[signer.public]).check("audited_lineage")
    assert check is not None and check.outcome == "fail"
