"""The scorecard as a statement beside a model: counted, signed, verified, altered, and by whose word."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

import certify
from certify.attest.certificate import Certificate
from certify.attest.envelope import parse_envelope, sign
from certify.attest.issue import Stated, issue
from certify.attest.key_statements import hand_over
from certify.attest.keys import SigningKey, generate, new_key
from certify.attest.pack import pack
from certify.attest.statements import records_path, statement_path
from certify.attest.trust import TrustStore
from certify.cli.main import main
from certify.core.errors import CertificateError, NotDerivedError, UsageError
from certify.model_file.model_file import open_model
from certify.scorecard.assessment import Scorecard
from certify.scorecard.attestation import attest
from certify.scorecard.levels import format_points
from certify.testing import check_assessment
from certify.workflows.scoring import score_model, sign_score

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def graded(certify_small: Callable[..., Any]) -> Any:
    """A certified model and the key that signed it."""
    return certify_small()


@pytest.fixture
def model(graded: Any, tmp_path: Path) -> Path:
    """A copy of the model's folder."""
    shutil.copytree(graded.path.parent, tmp_path / "graded")
    (tmp_path / "graded" / "label.svg").unlink()  # nothing here is about labels, and drawing takes a second
    return tmp_path / "graded" / "model.onnx"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def counted(model: Path, key: SigningKey, **options: Any) -> Certificate:
    return sign_score(score_model(model, now=NOW, **options), key)


def failing(model: Path, key: SigningKey) -> set[str]:
    return {check.name for check in certify.verify(model, trust=[key.public]).failed}


def test_score_counts_the_certificate_when_it_is_the_only_statement(model: Path) -> None:
    scored = score_model(model, now=NOW)
    points = {line.name: (line.points, line.state) for line in scored.score.lines}
    assert scored.score.points > 0
    assert points["C1"][1] == "measured"
    assert points["S1"] == (0.0, "not assessed")
    assert scored.line.startswith(f"Score: {format_points(scored.score.points)} of 100 points (secure-2026); ")
    assert "no level" in scored.line and "P3" in scored.line


def test_scorecard_is_an_assessment_when_tried(model: Path) -> None:
    records = score_model(model, now=NOW).score.records
    check_assessment(Scorecard(), Scorecard().dump(records), "secure-2026")


def test_signed_score_verifies_and_names_its_inputs_by_digest(model: Path, graded: Any) -> None:
    statement = counted(model, graded.key)
    found = certify.verify(model, trust=[graded.key.public])
    assert found.valid and found.derived, found
    inputs = statement.predicate["inputAttestations"]
    assert [one["digest"]["sha256"] for one in inputs] == [Certificate.read(model).digest]
    assert statement.predicate["verifiedLevels"] == []
    check = {one.name: one.outcome for one in found.others[0].checks}
    assert (check["counted_statements"], check["counted_figures"]) == ("pass", "pass")


def test_score_is_removed_when_the_certificate_is_issued_again(model: Path, graded: Any, tmp_path: Path) -> None:
    counted(model, graded.key)
    read = Certificate.read(model)
    records = read.assessment.parse((model.parent / "evidence.jsonl").read_bytes(), "evidence")
    fields = {name: read.predicate[name] for name in ("preprocess", "label") if name in read.predicate}
    stated = Stated("small", model.parent / "lineage.json", fields=fields)
    with open_model(model) as opened:
        opened.write_unsealed(tmp_path / "model.onnx")
    issue(read.assessment, tmp_path / "model.onnx", records, "2026", graded.key, model.parent, stated)
    assert not statement_path(model.parent, "scorecard").exists()
    assert not records_path(statement_path(model.parent, "scorecard")).exists()


def test_score_fails_when_a_statement_that_it_counts_is_gone_or_new(model: Path, graded: Any) -> None:
    scored = score_model(model, now=NOW)
    records = scored.score.records
    more = replace(records, rows=(*records.rows, replace(records.rows[0], assessment="privacy")))  # type: ignore[type-var]
    issue(Scorecard(), model, more, "secure-2026", graded.key, model.parent, Stated("small"))
    assert failing(model, graded.key) == {"scorecard.counted_statements"}


def resigned(model: Path, key: SigningKey, change: Callable[[Any], None]) -> None:
    """The maker alters the statement and signs it again."""
    path = statement_path(model.parent, "scorecard")
    statement = json.loads(parse_envelope(path.read_bytes()).payload)
    change(statement["predicate"])
    path.write_bytes(sign(rfc8785.dumps(statement), key).to_bytes())


def leaves(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(values, dict) and values:
        return [leaf for key, one in values.items() for leaf in leaves(one, (*path, key))]
    if isinstance(values, list) and values:
        return [leaf for key, one in enumerate(values) for leaf in leaves(one, (*path, key))]
    return [path]


def one_of_each(predicate: Any) -> list[tuple[Any, ...]]:
    """Every field, and of fields that only differ in the line or the place in a list, the first."""
    kinds = {}
    for leaf in leaves(predicate):
        places = ("*" if isinstance(one, int) or str(one).startswith(("line_", "points_")) else one for one in leaf)
        kinds.setdefault(tuple(places), leaf)
    return list(kinds.values())


def altered(old: Any) -> Any:
    if isinstance(old, dict):
        return {"x": "1"}
    return ["x"] if isinstance(old, list) else old + 1 if isinstance(old, int | float) else f"{old or ''}0"


def test_every_field_is_found_when_it_was_altered_and_signed_again(model: Path, graded: Any) -> None:
    statement = counted(model, graded.key, not_applicable={"federated": "none"})
    path = statement_path(model.parent, "scorecard")
    whole, missed = path.read_bytes(), []
    for leaf in one_of_each(dict(statement.predicate)):

        def change(predicate: Any, leaf: tuple[Any, ...] = leaf) -> None:
            for step in leaf[:-1]:
                predicate = predicate[step]
            predicate[leaf[-1]] = altered(predicate[leaf[-1]])

        resigned(model, graded.key, change)
        found = certify.verify(model, trust=[graded.key.public])
        words = {"profile_follows", "outcome_follows"}  # what follows is shown in the place of other words
        noted = {one.name for other in found.others for one in other.checks if one.outcome == "note"}
        if not found.failed and not noted & words:
            missed.append(leaf)
        path.write_bytes(whole)
    assert not missed


def test_records_are_found_when_altered_and_signed_again(model: Path, graded: Any) -> None:
    scored = score_model(model, now=NOW)
    text = Scorecard().dump(scored.score.records).decode()
    one = json.loads(text.splitlines()[1])
    one["figures"]["score_db"] = {**one["figures"]["score_db"], "value": 10.0, "low": 10.0, "high": 10.0}
    altered = text.splitlines()[0] + "\n" + rfc8785.dumps(one).decode() + "\n"
    records = Scorecard().parse(altered.encode(), "records")
    issue(Scorecard(), model, records, "secure-2026", graded.key, model.parent, Stated("small"))
    assert failing(model, graded.key) == {"scorecard.counted_figures"}


def test_score_fails_when_the_lineage_that_it_read_is_gone(certify_small: Any) -> None:
    joules = {"value": 5.0, "low": 4.0, "high": 6.0, "unit": "J", "n": 2, "method": "m", "evidence": "counter"}
    row = {
        "pass": "distill", "version": 1, "stage": "torch", "config": {}, "model_digest_in": "0" * 64,
        "model_digest_out": "0" * 64, "parameters": 200, "macs": 7, "bytes": 7, "validation_accuracy": 0.9,
        "seconds": 2.0, "energy_j": joules, "done": {}, "declined": [],
    }  # fmt: skip
    graded = certify_small(lineage={"rows": [row]})
    model = graded.path
    counted(model, graded.key)
    records = Scorecard().parse(records_path(statement_path(model.parent, "scorecard")).read_bytes(), "r")
    assert "log10_payback_inferences" in records.rows[0].figures  # type: ignore[union-attr]
    (model.parent / "lineage.json").unlink()
    assert failing(model, graded.key) == {"scorecard.counted_figures"}


def test_score_is_refused_when_the_certificate_is_not_valid(model: Path) -> None:
    lines = (model.parent / "evidence.jsonl").read_bytes().splitlines(keepends=True)
    (model.parent / "evidence.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(CertificateError, match="nothing is counted"):
        score_model(model)
    (model.parent / "evidence.jsonl").unlink()
    with pytest.raises(NotDerivedError):
        score_model(model)


# The word of others


def attested(model: Path, key: SigningKey, *credits: str) -> Path:
    found = Certificate.read(model)
    return attest(model, found.subject_digest, "model.onnx", credits, "Institute", "We asked them.", key)


def state(model: Path, name: str, **options: Any) -> tuple[float, str]:
    found = next(line for line in score_model(model, now=NOW, **options).score.lines if line.name == name)
    return found.points, found.state


def test_attestation_earns_half_for_those_who_trust_the_key(model: Path, graded: Any) -> None:
    lab = new_key()
    attested(model, lab, "S7")
    assert state(model, "S7") == (0.0, "not assessed")
    assert state(model, "S7", trust=[lab.public]) == (1.0, "attested")
    assert any("not counted" in one for one in score_model(model).not_counted)
    counted(model, graded.key, trust=[lab.public])
    check = certify.verify(model, trust=[graded.key.public]).others[0].check("counted_keys")
    assert check is not None and check.outcome == "note"
    both = certify.verify(model, trust=[graded.key.public, lab.public])
    check = both.others[0].check("counted_keys")
    assert check is not None and check.outcome == "pass"


def test_attestation_by_the_maker_earns_nothing_even_from_a_second_key(
    model: Path, graded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attested(model, graded.key, "S7")
    assert state(model, "S7", trust=[graded.key.public]) == (0.0, "not assessed")
    second = new_key()
    attested(model, second, "S7")
    (model.parent / "keys.jsonl").write_bytes(hand_over(graded.key, second.public).content + b"\n")
    store = TrustStore(keys={"maker": graded.key.public}).with_statement(hand_over(graded.key, second.public))
    assert second.public in store.of_one_holder([graded.key.public])
    monkeypatch.setattr("certify.workflows.scoring.trusted", lambda keys: store)
    assert state(model, "S7") == (0.0, "not assessed")


def test_score_fails_when_the_attestation_that_it_counts_is_gone(model: Path, graded: Any) -> None:
    lab = new_key()
    path = attested(model, lab, "S7")
    counted(model, graded.key, trust=[lab.public])
    path.unlink()
    assert failing(model, graded.key) == {"scorecard.counted_words"}


def test_attestation_is_not_counted_when_it_is_about_another_model(model: Path) -> None:
    lab, digests = new_key(), {"sha256": "0" * 64, "leanmarkContent": "1" * 64}
    attest(model, digests, "model.onnx", ["S7"], "Institute", "We asked them.", lab)
    assert state(model, "S7", trust=[lab.public]) == (0.0, "not assessed")
    (sentence,) = score_model(model, trust=[lab.public]).not_counted
    assert "about another model" in sentence


def test_attestation_is_not_counted_when_it_is_truncated(model: Path) -> None:
    lab = new_key()
    path = attested(model, lab, "S7")
    path.write_bytes(path.read_bytes()[:-1])
    assert state(model, "S7", trust=[lab.public]) == (0.0, "not assessed")


# The command


def test_command_prints_lines_and_what_the_next_level_needs(model: Path) -> None:
    result = run("score", model.parent)
    assert result.exit_code == 0, result.output
    for text in ("C1", "not assessed", "certificate.json", "level certified needs", "Prerequisites", "+5.0 points"):
        assert text in result.output


def test_command_signs_when_asked(model: Path, graded: Any, tmp_path: Path) -> None:
    key = tmp_path / "k.pem"
    generate(key)
    result = run("score", model.parent, "--sign", "--key", key, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["signed"] == Certificate.read(statement_path(model.parent, "scorecard")).digest
    assert {line["name"] for line in told["lines"]} >= {"C1", "F3", "D4", "S7"}
    assert told["next"]["level"] == "certified"
    assert "scorecard" in run("verify", model.parent).output


def test_command_refuses_to_sign_when_the_model_is_in_a_pack_or_a_key_is_useless(model: Path, tmp_path: Path) -> None:
    path, _ = pack(model.parent)
    assert run("score", path).exit_code == 0
    refused = run("score", path, "--sign")
    assert refused.exit_code == 2 and "unpack it and pass the folder" in refused.output
    refused = run("score", model.parent, "--key", model)
    assert refused.exit_code == 2 and "add --sign" in refused.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--edition", "secure-2062"], "secure-2026"),
        (["--not-applicable", "federated"], "a pillar and a reason"),
        (["--not-applicable", "fedrated=none"], "federated"),
        (["--not-applicable", "compute=none"], "cannot be scoped out"),
    ],
)
def test_command_says_what_to_do_when_input_is_bad(model: Path, arguments: list[str], told: str) -> None:
    result = run("score", model.parent, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_pillar_that_is_scoped_out_keeps_its_points_lost(model: Path) -> None:
    found = score_model(model, not_applicable={"federated": "trained on one machine"}).score
    assert found.scoped_out == {"federated": "trained on one machine"}
    assert {line.state for line in found.lines if line.credit.pillar == "federated"} == {"not applicable"}
    assert found.edition.most == 100


def test_social_pillar_stays_when_nobody_declares_that_people_are_not_concerned(model: Path) -> None:
    found = score_model(model, not_applicable={"social": "it sorts screws"}).score
    assert not found.scoped_out
    with pytest.raises(UsageError):
        score_model(model, not_applicable={"art": "none"})
