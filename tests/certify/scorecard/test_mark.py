"""The mark: who may award a level, what its reader must know, and everything that draws nothing."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

import certify
from certify.attest.envelope import parse_envelope, sign
from certify.attest.key_statements import hand_over
from certify.attest.keys import generate
from certify.attest.trust import TrustStore
from certify.cli.main import main
from certify.core.errors import CertificateError, NotAwardedError, UsageError
from certify.scorecard.edition import load_edition
from certify.scorecard.levels import enough_for, lacking, score
from certify.scorecard.mark import Scheme, read_scheme
from certify.scorecard.validity import Lists, NamedList, minor, validity
from certify.workflows.award import award_level, withdraw_mark
from certify.workflows.mark_trust import RULES, level_to_draw, marks_of
from certify.workflows.renewal import installed, renewal
from certify.workflows.scoring import score_model, sign_score

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)
SCHEME = Scheme("Example scheme", "Example Foundation", "https://example.org/terms", "Example Ltd", "ISO/IEC 17065",
                "complaints@example.org")  # fmt: skip
World = Any


@pytest.fixture(scope="module")
def graded(certify_small: Callable[..., Any]) -> Any:
    return certify_small(header={"created": "2026-01-01T00:00:00Z"})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


# Believed


def test_level_is_drawn_when_a_known_scheme_awards_it_and_somebody_else_checked(world: World) -> None:
    world.count()
    world.award()
    world.believes()
    found, scorecard = level_to_draw(world.model, now=NOW)
    assert (found.level, found.scheme) == ("silver", "known")
    assert scorecard.assessment.name == "scorecard"
    assert found.validity is not None and found.validity.until == "2028-01-01T00:00:00Z"
    assert found.mark is not None and found.mark.done == "derived again from the evidence by somebody else"
    assert certify.verify(world.model, trust=[world.maker.public, world.lab.public]).valid


def test_lowest_level_is_drawn_when_a_scheme_awards_it_without_a_verifier(world: World) -> None:
    world.count(countersigned=False)
    world.award("certified")
    world.believes()
    assert world.rule() is None
    with pytest.raises(UsageError, match="cross-checked"):
        world.award("silver")


# Not believed, by each rule


def test_nothing_is_drawn_when_no_mark_lies_there(world: World) -> None:
    world.count()
    world.believes()
    assert marks_of(world.model) == ()
    with pytest.raises(NotAwardedError, match="awarded_by_a_scheme"):
        level_to_draw(world.model)


def test_nothing_is_drawn_when_the_reader_does_not_know_the_scheme(world: World) -> None:
    world.count()
    world.award()
    assert world.rule() == "scheme_known"
    (found,) = marks_of(world.model)
    assert "named by the maker" in found.sentence
    assert "silver" not in json.dumps(found.to_json())
    with pytest.raises(NotAwardedError, match="scheme_known"):
        level_to_draw(world.model)


@pytest.mark.parametrize("trusted", [True, False])
def test_makers_second_key_and_scheme_file_draw_nothing(world: World, trusted: bool) -> None:
    world.count()
    second = generate(world.keys / "second.key")
    world.forged(second)
    store = TrustStore(keys={"maker": world.maker.public, "second": second.public} if trusted else {})
    store.save()
    assert world.rule(trust=[second.public]) == "scheme_known"


def test_readers_own_key_is_not_a_scheme(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.count()
    own = generate(world.keys / "own.key")
    monkeypatch.setenv("LEANMARK_SIGNING_KEY", str(world.keys / "own.key"))
    world.forged(own)
    assert world.rule() == "scheme_known"


@pytest.mark.parametrize("whose", ["maker", "lab", "successor"])
def test_key_of_maker_or_verifier_awards_nothing_even_where_it_is_named_a_schemes(world: World, whose: str) -> None:
    world.count()
    successor = generate(world.keys / "successor.key")
    if whose == "successor":
        (world.model.parent / "keys.jsonl").write_bytes(hand_over(world.maker, successor.public).content + b"\n")
        TrustStore().with_statement(hand_over(world.maker, successor.public)).save()
    key = {"maker": world.maker, "lab": world.lab, "successor": successor}[whose]
    with pytest.raises(UsageError, match="two roles"):
        world.award(key=key)
    world.forged(key, level="silver")
    store = TrustStore().with_scheme("known", key.public)
    if whose == "successor":
        store = store.with_statement(hand_over(world.maker, successor.public))
    store.save()
    assert world.rule() == "roles_apart"


def test_level_is_not_drawn_when_the_score_is_not_enough(world: World) -> None:
    world.count()
    world.forged(world.scheme, level="gold")
    world.believes()
    assert world.rule() == "level_reached"


@pytest.mark.parametrize("other", [{"checked": "self-attested", "verifier": None}, {"verifier": "0" * 64}])
def test_level_is_not_drawn_when_the_mark_names_another_verifier(world: World, other: dict[str, Any]) -> None:
    world.count()
    world.forged(world.scheme, level="silver", **other)
    world.believes()
    assert world.rule() == "level_reached"


def test_level_is_not_drawn_when_evidence_was_altered_or_taken_away(world: World) -> None:
    world.count()
    world.award()
    world.believes()
    evidence = world.model.parent / "evidence.jsonl"
    evidence.write_bytes(evidence.read_bytes()[:-2] + b"\n")
    assert world.rule() == "score_follows"
    evidence.unlink()
    assert world.rule() == "score_follows"


def test_level_is_not_drawn_when_the_score_was_counted_again_or_is_missing(world: World) -> None:
    world.count()
    world.award()
    world.believes()
    sign_score(score_model(world.model, trust=[world.lab.public], now=NOW + datetime.timedelta(days=1)), world.maker)
    assert world.rule() == "awarded_by_a_scheme"
    world.scorecard.unlink()
    assert world.rule() == "score_follows"
    mark = certify.verify(world.model).check("mark")
    assert mark is not None and (mark.outcome, "no signed score" in mark.sentence) == ("note", True)


def test_level_ends_with_the_award_and_with_the_oldest_measurement(world: World) -> None:
    world.count()
    world.award(until="2027-01-01T00:00:00Z")
    world.believes()
    assert world.rule(now=datetime.datetime(2026, 12, 31, tzinfo=datetime.timezone.utc)) is None
    assert world.rule(now=datetime.datetime(2027, 1, 1, tzinfo=datetime.timezone.utc)) == "in_force"
    world.forged(world.scheme, level="silver", until="2099-01-01T00:00:00Z")
    assert world.rule(now=datetime.datetime(2028, 1, 2, tzinfo=datetime.timezone.utc)) == "in_force"


def test_level_is_not_drawn_when_the_scheme_withdrew_the_mark(world: World, tmp_path: Path) -> None:
    world.count()
    mark = world.award()
    world.believes()
    listed = tmp_path / "withdrawn.json"
    withdraw_mark(mark, "The energy was not confirmed", SCHEME, world.scheme, listed)
    assert world.rule(withdrawals=[listed]) == "in_force"
    assert world.rule() is None  # counter-evidence is as complete as the list that was looked through
    shutil.copy(listed, mark.with_name("withdrawn.json"))
    assert world.rule() == "in_force"
    with pytest.raises(UsageError, match="own marks"):
        withdraw_mark(mark, "no", SCHEME, world.lab, listed)


def test_score_must_be_renewed_when_the_scheme_withdrew_its_mark(world: World, tmp_path: Path) -> None:
    world.count()
    mark = world.award()
    listed = withdraw_mark(mark, "The energy was not confirmed", SCHEME, world.scheme, tmp_path / "withdrawn.json")
    found = renewal(world.model, now=NOW, runtime="", withdrawals=[listed]).validity
    assert [one.kind for one in found.reasons] == ["withdrawn"] and "not confirmed" in found.reasons[0].sentence
    assert [one.what for one in found.lists] == ["withdrawn marks"]
    assert renewal(world.model, now=NOW, runtime="").validity.holds


@pytest.mark.parametrize("until", ["2028-02-30T00:00:00Z", "2028-11-26"])
def test_award_is_refused_when_its_end_is_not_a_time(world: World, until: str) -> None:
    world.count()
    with pytest.raises(UsageError, match="must be UTC such as"):
        world.award(until=until)
    assert not (world.model.parent / "marks").exists()


def test_mark_draws_nothing_when_its_end_is_not_a_time(world: World) -> None:
    world.count()
    world.forged(world.scheme, level="silver", until="2028-02-30T00:00:00Z")
    world.believes()
    assert world.rule() == "awarded_by_a_scheme"


def test_list_of_another_scheme_withdraws_nothing(world: World, tmp_path: Path) -> None:
    world.count()
    mark = world.award()
    world.believes()
    other = generate(world.keys / "other.key")
    theirs = world.forged(other)
    listed = withdraw_mark(theirs, "no", SCHEME, other, tmp_path / "withdrawn.json")
    theirs.unlink()
    statement = json.loads(parse_envelope(listed.read_bytes()).payload)
    statement["predicate"]["marks"][0]["sha256"] = hashlib.sha256(mark.read_bytes()).hexdigest()
    listed.write_bytes(sign(rfc8785.dumps(statement), other).to_bytes())
    assert world.rule(withdrawals=[listed]) is None
    assert renewal(world.model, now=NOW, runtime="", withdrawals=[listed]).validity.holds


def test_level_is_not_drawn_when_the_runtime_moved_or_a_key_was_revoked(world: World) -> None:
    world.count()
    world.award()
    world.believes()
    (one,) = [row.runtime for row in score_model(world.model).score.records.rows if getattr(row, "runtime", "")]
    name, version = minor(one)
    assert world.rule(runtime=f"{name} {version}.99") is None
    assert world.rule(runtime=f"{name} 99.1.0") == "in_force"
    assert world.rule(runtime="another 99.1.0") is None
    TrustStore().with_scheme("known", world.scheme.public).with_revoked(world.lab.public, "stolen").save()
    assert world.rule() in ("score_follows", "in_force")
    TrustStore().with_scheme("known", world.scheme.public).with_revoked(world.scheme.public, "stolen").save()
    assert world.rule() == "scheme_known"


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 100, b'{"payload":"e30="}'])
def test_mark_file_draws_nothing_when_it_is_malformed(world: World, content: bytes) -> None:
    world.count()
    world.believes()
    path = world.award()
    path.write_bytes(content)
    assert world.rule() == "awarded_by_a_scheme"
    assert {one.name for one in certify.verify(world.model).failed} == {"mark"}


def test_mark_is_found_when_any_field_was_altered_and_signed_by_the_maker(world: World) -> None:
    world.count()
    path = world.award()
    world.believes()
    statement = json.loads(parse_envelope(path.read_bytes()).payload)
    for name, value in (("level", "platinum"), ("until", "2099-01-01T00:00:00Z"), ("checked", "reproduced")):
        statement["predicate"][name] = value
    path.write_bytes(sign(rfc8785.dumps(statement), world.maker).to_bytes())
    assert world.rule() == "awarded_by_a_scheme"


def test_scheme_that_counts_other_words_awards_nothing(world: World) -> None:
    world.count()
    with pytest.raises(UsageError, match="different third parties"):
        award_level(world.model, "certified", SCHEME, world.scheme, trust=[world.maker.public], now=NOW)


def test_best_case_is_awarded_the_highest_level_only_with_a_countersignature(
    best: Any, build: Any, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    load_edition.cache_clear()
    edition = load_edition()
    alone = score(build(best()), edition)
    assert [one.kind for one in lacking(alone, "platinum") if one.kind == "signer"] == ["signer"]
    assert enough_for(alone) == "certified"
    assert enough_for(score(build(best(), words["again"](checked="cross-checked")), edition)) == "silver"
    assert enough_for(score(build(best(), words["again"]()), edition)) == "platinum"
    assert enough_for(score(build(best(), words["again"](key="1" * 64)), edition)) == "certified"
    doubtful = (words["again"](), words["again"](key="3" * 64, agrees=False))
    assert enough_for(score(build(best(), *doubtful), edition)) == "certified"


# Validity


def test_score_ends_after_its_days_and_at_once_for_each_reason(build: Any, best: Any, words: Any) -> None:
    found = score(build(best(), words["again"]()), load_edition())
    start = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    assert validity(found, start + 730 * day).holds
    assert validity(found, start).until == "2028-10-31T12:00:00Z"
    late = validity(found, start + 731 * day)
    assert {one.kind for one in late.reasons} == {"age"} and "Record the efficiency again." in late.reasons[0].again
    assert {one.kind for one in validity(found, start - 2 * day).reasons} == {"time"}
    named = NamedList("revoked keys", "0" * 64, "2026-11-26T00:00:00Z")
    for lists, kind in (
        (Lists(revoked={"1" * 64: "stolen"}, named=(named,)), "revoked"),
        (Lists(revoked={"2" * 64: "stolen"}), "revoked"),
        (Lists(newest="secure-2027"), "superseded"),
        (Lists(disagreeing=("4" * 64,)), "disagrees"),
        (Lists(withdrawn=("no",)), "withdrawn"),
    ):
        assert [one.kind for one in validity(found, start + day, lists=lists).reasons] == [kind]
    assert validity(found, start, "onnxruntime 1.32.9").holds
    assert [one.kind for one in validity(found, start, "onnxruntime 1.33.0").reasons] == ["runtime"]
    assert validity(found, start, lists=Lists(named=(named,))).lists == (named,)


def test_renewal_says_what_must_be_measured_again(world: World) -> None:
    with pytest.raises(UsageError, match="no valid signed score"):
        renewal(world.model)
    world.count()
    assert renewal(world.model, now=NOW, runtime="").validity.holds
    late = datetime.datetime(2029, 1, 1, tzinfo=datetime.timezone.utc)
    assert [one.kind for one in renewal(world.model, now=late, runtime="").validity.reasons] == ["age"]
    assert installed("click 1.0").startswith("click 8")


# Commands


def test_commands_award_show_draw_withdraw_and_renew(world: World, tmp_path: Path) -> None:
    world.count()
    assert "no level" in run("mark", "show", world.model).output
    described = tmp_path / "scheme.yaml"
    described.write_text(run("mark", "scheme").output)
    assert read_scheme(described).name == "Example scheme"
    refused = run("label", world.model, "--level")
    assert refused.exit_code == 3 and "awarded_by_a_scheme" in refused.output
    assert not (world.model.parent / "mark.svg").exists()
    trust = ["--trust", world.maker.public.hex, "--trust", world.lab.public.hex]
    key = ["--scheme", described, "--key", world.keys / "scheme.key"]
    made = run("mark", "award", world.model, "--level", "silver", *key, *trust)
    assert made.exit_code == 0, made.output
    refused = run("label", world.model, "--level")
    assert refused.exit_code == 3 and RULES["scheme_known"] in refused.output
    assert run("trust", "scheme", world.scheme.public.hex, "--name", "known").exit_code == 0
    assert "scheme known" in run("trust", "list").output
    assert run("mark", "show", world.model).output.startswith("level silver: Awarded by known")
    drawn = run("label", world.model, "--level")
    assert drawn.exit_code == 0, drawn.output
    text = (world.model.parent / "mark.svg").read_text()
    assert "silver" in text and "Example Foundation" in text and 'role="img"' in text
    mark = next((world.model.parent / "marks").glob("*.json"))
    listed = tmp_path / "withdrawn.json"
    assert run("mark", "withdraw", mark, "--reason", "no", "--list", listed, *key).exit_code == 0
    assert run("label", world.model, "--level", "--withdrawals", listed).exit_code == 3
    assert run("renew", world.model, "--runtime", "none 1.0").output.startswith("The score holds until 2028")
    assert run("trust", "remove", "known").exit_code == 0
    assert run("mark", "show", world.model).exit_code == 3


def test_commands_say_what_to_do_when_input_is_bad(world: World, tmp_path: Path) -> None:
    world.count()
    described = tmp_path / "scheme.yaml"
    described.write_text("name: x\n")
    award = ["mark", "award", world.model, "--level", "silver", "--key", world.keys / "scheme.key", "--scheme"]
    assert "lacks the key 'owner'" in run(*award, described).output
    described.write_text(run("mark", "scheme").output.replace("https:", "ftp:"))
    assert run(*award, described).exit_code in (1, 2)
    assert "add --level" in run("label", world.model, "--withdrawals", described).output
    assert run("renew", world.model, "--withdrawals", described).exit_code == 1
    with pytest.raises(CertificateError):
        marks_of(world.model, withdrawals=[described])
