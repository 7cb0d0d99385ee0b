"""The federation statement: figures from the log, and each finding broken in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import rfc8785

from certify.assessments.federation.figures import gini
from certify.assessments.federation.findings import NAMES
from certify.assessments.federation.records import Records, Step
from certify.core.accounting import SubsampledGaussian, spent
from certify.core.errors import CertificateError
from certify.core.federation import ClientPrivacy, End, Entry, Round, Run, Spent
from certify.testing import check_assessment
from tests.certify.assessments.federation.honest_records import (
    CENTRAL,
    ROOM,
    governed,
    judged,
    outcomes,
    policy,
    records,
    run_with,
)
from tests.certify.core.federation.honest_run import IDS, SERVER, STRANGER, build, changing, opening


def test_assessment_keeps_every_promise_of_an_assessment() -> None:
    check_assessment(ROOM, ROOM.dump(records(central=CENTRAL)), "2026")


def test_every_finding_passes_when_a_log_is_honest() -> None:
    profile, outcome = judged(records())
    assert {one.name: one.sentence for one in profile.guards if one.outcome != "pass"} == {}
    assert [one.name for one in profile.guards] == list(NAMES)
    assert outcome.text == "6 clients, 3 rounds"
    assert (
        "Comparison with central training: not assessed, since no measured central run is on record." in outcome.notes
    )


def test_figures_are_the_sums_of_the_log() -> None:
    run = build(away={(2, 0), (3, 0), (3, 1)}, edit=governed(policy()))
    found = {name: float(one) for name, one in judged(records(run))[0].estimates.items()}
    entries, rounds = 15, 3
    assert found["entries"] == entries and found["clients_dropped"] == 3 and found["clients"] == 6
    assert found["client_cpu_s"] == 1.5 * entries and found["server_cpu_s"] == 0.5 * rounds
    assert found["client_compute_share"] == pytest.approx(22.5 / 24)
    assert found["energy_j"] == 12 * entries + 4 * rounds
    assert found["round_energy_j"] == pytest.approx(64)
    assert found["bytes_up"] == 1008 * entries and found["bytes_down"] == 4000 * 18
    assert found["round_bytes"] == (1008 * 15 + 4000 * 18) / 3
    assert found["round_bytes_ratio"] == pytest.approx((1008 * 15 + 4000 * 18) / (4000 * (18 + 15)))
    assert found["participation_gini"] == pytest.approx(gini([1, 2, 3, 3, 3, 3]))
    assert judged(records(run))[0].estimates["energy_j"].evidence.value == "modelled"


def test_gini_is_that_of_its_definition_by_pairs() -> None:
    counts = [0, 3, 1, 4, 1, 5]
    pairs = sum(abs(a - b) for a in counts for b in counts) / (2 * len(counts) * sum(counts))
    assert gini(counts) == pytest.approx(pairs) and gini([0, 0]) == 0.0


def test_energy_is_absent_when_one_client_measured_none() -> None:
    run = build(edit=lambda m: changing(Entry, 2, spent=Spent(1.0))(governed(policy())(m)))
    profile, outcome = judged(records(run))
    assert "energy_j" not in profile.estimates and "round_energy_j" not in profile.estimates
    assert not outcome.refused and any("energy is not assessed" in note for note in outcome.notes)


def test_simulation_is_called_one_and_earns_no_share_of_clients() -> None:
    run = build(opening(transport="memory"), edit=governed(policy()))
    profile, outcome = judged(records(run))
    assert outcome.text == "simulated: 6 clients, 3 rounds"
    assert "client_compute_share" not in profile.estimates and "simulated_client_compute_share" in profile.estimates


def test_central_run_is_compared_when_one_was_measured() -> None:
    profile, outcome = judged(records(central=CENTRAL))
    change = profile.estimates["central_change_points"]
    assert change.value == pytest.approx(-3.0) and change.low < -3 < change.high
    assert float(profile.estimates["central_cpu_ratio"]) == pytest.approx((1.5 * 18 + 1.5) / 10)
    assert float(profile.estimates["central_energy_ratio"]) == pytest.approx((12 * 18 + 12) / 80)
    assert not any("not assessed" in note for note in outcome.notes)


def noisy(run: Run) -> Run:
    return replace(run, privacy=ClientPrivacy(8.0, 1.0, 1e-5))


def test_epsilon_of_clients_counts_every_round_without_amplification_and_needs_many_clients() -> None:
    evidence = records(build(noisy(opening()), edit=governed(policy())))
    profile, outcome = judged(evidence)
    wanted = spent([(SubsampledGaussian(8.0, 1.0, 3), 1)], 1e-5, "add-remove").epsilon
    assert float(profile.estimates["client_epsilon"]) == pytest.approx(wanted)
    assert outcome.refused and "a meaningful client-level epsilon needs" in outcome.reasons[0]


BREAKS: dict[str, Callable[[], Records]] = {
    "signatures": lambda: records(run_with(key=lambda m, own: STRANGER if type(m) is Round else own)),
    "chain_unbroken": lambda: records(run_with(changing(End, previous="00" * 32))),
    "entries_once": lambda: records(run_with(changing(Round, 2, entries=()))),
    "as_announced": lambda: records(run_with(run=opening(rounds=2))),
    "sizes_add_up": lambda: records(run_with(changing(Round, 2, bytes_up=1))),
    "masks_complete": lambda: records(run_with(changing(Round, 2, recovered=(IDS[0],)))),
    "final_model": lambda: records(run_with(changing(End, rounds=2))),
    "model_in_lineage": lambda: records(run_with(), model_digest_out="00" * 32),
    "policy_permits": lambda: records(build(edit=governed(policy("evaluate"))), by=policy("evaluate")),
    "enough_clients": lambda: records(run_with(away={(r, c) for r in (1, 2, 3) for c in range(1, 6)})),
}


@pytest.mark.parametrize("name", NAMES)
def test_one_finding_alone_fails_and_refuses_when_one_thing_is_changed(name: str) -> None:
    broken = BREAKS[name]()
    assert {one for one, outcome in outcomes(broken).items() if outcome != "pass"} == {name}
    outcome = judged(broken)[1]
    assert outcome.refused and outcome.reasons[0].startswith(f"{name}: ")
    assert ROOM.parse(ROOM.dump(broken), "records") == broken


def test_policy_is_unknown_and_no_refusal_when_it_is_not_on_record() -> None:
    profile, outcome = judged(replace(records(), policies={}))
    found = profile.guard("policy_permits")
    assert found is not None and found.outcome == "unknown" and "6 clients" in found.sentence
    assert not outcome.refused and found.sentence in outcome.notes


def test_lineage_is_followed_over_two_runs_and_a_run_counts_once() -> None:
    first = run_with()
    assert first.end is not None
    second = build(opening(run="cd" * 32, model=first.end.message.model, started="2026-11-26T09:00:00Z"),
                   edit=lambda m: governed(policy())(m))  # fmt: skip
    rows = [Step("federated_finetune", "torch", one.opening.message.model, one.end.message.model)
            for one in (first, second) if one.end is not None]  # fmt: skip
    both = replace(records(first), runs=(first, second), steps=tuple(rows))
    assert outcomes(both)["model_in_lineage"] == "pass" and float(judged(both)[0].estimates["rounds"]) == 6
    assert outcomes(replace(both, steps=tuple(rows[::-1])))["model_in_lineage"] == "fail"
    assert outcomes(replace(both, runs=(first, first)))["model_in_lineage"] == "fail"
    assert ROOM.parse(ROOM.dump(both), "records") == both


def test_lineage_may_change_its_digest_only_where_torch_passes_end_and_file_passes_begin() -> None:
    evidence = records()
    pruned = Step("structured_prune", "torch", "ab" * 32, evidence.steps[0].model_in)
    exported = Step("quantize_static", "onnx", "cd" * 32, "ef" * 32)
    assert outcomes(replace(evidence, steps=(pruned, *evidence.steps, exported)))["model_in_lineage"] == "pass"
    unrelated = replace(exported, stage="torch")
    assert outcomes(replace(evidence, steps=(pruned, *evidence.steps, unrelated)))["model_in_lineage"] == "fail"
    twice = (exported, replace(exported, model_in="12" * 32))
    assert outcomes(replace(evidence, steps=(pruned, *evidence.steps, *twice)))["model_in_lineage"] == "fail"
    assert outcomes(replace(evidence, steps=(exported, *evidence.steps)))["model_in_lineage"] == "fail"


def test_records_are_refused_when_a_line_is_altered_moved_or_missing() -> None:
    content = ROOM.dump(records(central=CENTRAL))
    lines = content.splitlines(keepends=True)
    with pytest.raises(CertificateError, match='of kind "begin" is not allowed here'):
        ROOM.parse(b"".join([lines[0], *lines[2:]]), "records")
    with pytest.raises(CertificateError, match="more than one central run"):
        ROOM.parse(content + lines[-1], "records")
    with pytest.raises(CertificateError, match="must hold only the object 'line'"):
        ROOM.parse(content.replace(b'{"kind":"line","line":', b'{"a":1,"kind":"line","line":', 1), "records")
    policies = [line for line in lines if line.startswith(b'{"kind":"policy"')]
    with pytest.raises(CertificateError, match="was repeated or moved"):
        ROOM.parse(content.replace(policies[0], policies[0] * 2), "records")
    wrong = {**asdict(CENTRAL), "kind": "central", "level": None}
    with pytest.raises(CertificateError, match="given together"):
        ROOM.parse(b"".join(lines[:-1]) + rfc8785.dumps(wrong) + b"\n", "records")


def test_server_may_not_be_the_one_who_enters_for_a_client() -> None:
    forged = build(edit=governed(policy()), key=lambda m, own: SERVER if type(m) is Entry and m.number == 2 else own)
    assert outcomes(records(forged))["signatures"] == "fail"
