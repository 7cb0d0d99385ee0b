"""Audits of a small model from start to end: attacked, judged, verified; private, interrupted and refused ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from certify.assessments.privacy_audit.coins import coins_of
from certify.assessments.privacy_audit.records import Canaries, Membership, Opened, ScoresOf, Step, parse
from certify.attest.auditor import Access
from certify.attest.keys import new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import LeanmarkError, UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from compress.auditing import canaries
from compress.auditing.audit import AuditSettings, audit
from compress.auditing.canaries import Claim, Plan
from compress.auditing.repetition import Repeater, Twin, digest_of_rows
from compress.job import pipeline
from compress.testing.networks import blobs
from compress.training import baseline
from compress.training.config import TrainingConfig

SIGNER = new_key()
KEY = DataKey(bytes(range(32)))
NET = "compress.testing.networks:Residual"
PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
INT8 = {"name": "small", "passes": [{"quantize_static": {"samples": 16}}]}
HEAD = {"name": "head", "passes": [{"fold_norms": {}}, {"dp_head": {"steps": 10, "delta": 1e-3}}]}
QUICK = TrainingConfig(epochs=1, augment=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            patched.setenv(name, str(tmp_path_factory.mktemp(name)))
        patched.setattr(baseline, "FROM_SCRATCH", QUICK)
        yield tmp_path_factory.mktemp("models")


def make(out: Path, recipe: Any, **options: Any) -> Path:
    pipeline.run(NET, recipe, blobs(), out=out, preprocess=PIXELS, measure=False, progress=False, **options)
    return out


@pytest.fixture(scope="module")
def public(folders: Path) -> Path:
    return make(folders / "public", INT8)


@pytest.fixture
def made(public: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(public, tmp_path / "out"))


@pytest.fixture(scope="module")
def private(folders: Path) -> Path:
    return make(folders / "private", HEAD, data_key=KEY)


def run(out: Path, asked: AuditSettings, **options: Any) -> Any:
    return audit(out / "model.onnx", blobs(), asked, signer=SIGNER, progress=False, **options)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Twins are the model itself, so that nothing is trained; yields the names of the twins made, in order."""
    asked: list[str] = []

    def same(self: Repeater, train: Any, seed: int, folder: Path) -> Twin:
        out = folder.parent.parent
        lineage = out / ("auditor/lineage.json" if self.key else "lineage.json")
        asked.append(folder.name)
        folder.mkdir()
        digest = digest_of_rows(json.loads(lineage.read_text()))
        return Twin(out / "model.onnx", out / "baseline.onnx", digest, {"train": ["raw"]})

    monkeypatch.setattr(Repeater, "make", same)
    return asked


EVERYTHING = AuditSettings(4, Plan(20), None, (10,))


def test_everything_is_attacked_stated_and_verified(made: Path) -> None:
    found = run(made, EVERYTHING)
    claims = found.statement.claims
    assert not claims.refused, claims.reasons
    wanted = {"membership_auc_pair", "membership_auc_loss_baseline", "canary_epsilon_shown", "audit_cpu_seconds"}
    wanted |= {"extraction_10_probabilities_fidelity", "extraction_10_labels_control"}
    assert wanted <= set(claims.figures)
    assert (claims.figures["members"].value, claims.figures["non_members"].value) == (128, 64)
    checked = verify(made / "model.onnx", trust=[SIGNER.public])
    assert not checked.failed and checked.check("audited_lineage") is not None, str(checked)
    records = parse((made / "statements" / "privacy_audit.evidence.jsonl").read_bytes(), "records")
    assert {row.of for row in records.of(ScoresOf)} == {"target", "0", "1", "2", "3"}
    names = [row.name for row in records.of(Step)]
    assert names.count("twin with canaries") == 1 and "copies from 10 queries" in names and len(names) == 7
    assert all(row.cpu_s > 0 and row.touched for row in records.of(Step))
    joules = [row.energy_j["value"] for row in records.of(Step)]  # of every training, in the signed statement
    assert claims.figures["audit_energy"].value == pytest.approx(sum(joules)) and min(joules) > 0
    assert not (made / ".audit").exists()


def test_stopped_audit_resumes_with_the_same_coins_after_its_last_training(
    made: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = Repeater.make

    def stopping(self: Repeater, *given: Any) -> Twin:
        if len(quick) == 3:
            raise KeyboardInterrupt
        return quickly(self, *given)

    monkeypatch.setattr(Repeater, "make", stopping)
    asked = AuditSettings(4, Plan(20))
    with pytest.raises(KeyboardInterrupt):
        run(made, asked)
    coins = json.loads((made / ".audit" / "coins.json").read_text())
    monkeypatch.setattr(Repeater, "make", quickly)
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, sentence: said.append(sentence))
    found = run(made, asked)
    assert "Resuming after 2 of 4 shadows." in said
    assert quick == ["twin", "shadow-0", "shadow-1", "shadow-2", "shadow-3"] and not found.statement.claims.refused
    records = parse((made / "statements" / "privacy_audit.evidence.jsonl").read_bytes(), "records")
    assert records.first(Opened).seed == coins["seed"]
    assert records.first(Canaries).commitment == coins["fixed"]["commitment"]


def knowing(repeater: Repeater, model: Path, contract: Any, split: Any, seed: str, shelf: Any) -> dict[str, Any]:
    """A twin that has memorised every canary."""
    digest = digest_of_rows(json.loads((model.parent / "lineage.json").read_text()))
    (shelf.folder / "twin").mkdir()
    step = {"name": "twin", "seconds": 1.0, "cpu_s": 1.0, "energy_j": None, "touched": {"train": ["raw"]}}
    scores = coins_of(seed, len(split)).astype(float).tolist()
    return {"trained": canaries.now(), "recipe": digest, "scores": scores, "step": step}


def test_claim_is_refused_when_the_twin_knows_its_canaries(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "_twin", knowing)
    found = run(made, AuditSettings(0, Plan(60, 30), Claim(2.0)))
    assert found.statement.claims.refused and "contradicts the claim of 2" in found.statement.claims.reasons[0]
    assert not run(made, AuditSettings(0, Plan(60, 30), Claim(9.0))).statement.claims.refused
    assert not run(made, AuditSettings(0, Plan(60, 30))).statement.claims.refused


def test_canaries_have_wrong_labels_and_enter_by_the_coins(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def watched(self: Repeater, train: Any, seed: int, folder: Path) -> Twin:
        seen["train"] = train
        raise KeyboardInterrupt

    monkeypatch.setattr(Repeater, "make", watched)
    with pytest.raises(KeyboardInterrupt):
        run(made, AuditSettings(0, Plan(40)))
    kept, test = json.loads((made / ".audit" / "coins.json").read_text()), blobs().test
    assert not (test.labels[kept["rows"]] == np.array(kept["labels"])).any()
    included = np.flatnonzero(coins_of(kept["seed"], 40))
    train = seen["train"]
    assert len(train) == 128 + len(included)
    assert train.digests()[128:] == [test.digest(kept["rows"][i]) for i in included]
    assert train.labels[128:].tolist() == [kept["labels"][i] for i in included]


def test_findings_about_private_data_go_to_the_auditor_alone(private: Path, tmp_path: Path, quick: list[str]) -> None:
    out = Path(shutil.copytree(private, tmp_path / "out"))
    found = run(out, AuditSettings(4, Plan(20)), data_key=KEY)
    claims = found.statement.claims
    assert not claims.refused, claims.reasons
    assert not any(name.startswith(("membership", "canary_epsilon_shown")) for name in claims.figures)
    claimed = claims.figures["claimed_epsilon"].value
    assert 7.9 < claimed <= 8.0  # that of privacy.jsonl
    assert {"audit_energy", "audit_cpu_seconds"} <= set(claims.figures), "the cost of the audit is public"
    public = (out / "statements" / "privacy_audit.evidence.jsonl").read_bytes()
    assert b'"kind":"scores"' not in public and b'"seed"' not in public
    whole = parse(found.files["auditor"].read_bytes(), "auditor")
    assert len(whole.of(ScoresOf)) == 6 and not whole.header.baseline_trained and whole.of(Membership)
    access = Access((found.files["auditor"],), KEY)
    checked = verify(out / "model.onnx", trust=[SIGNER.public], access=access)
    assert not checked.failed, str(checked)


UNLIKE = "between .* and what the model was made from"
BAD: dict[str, tuple[dict[str, Any], type[LeanmarkError], str]] = {
    "nothing": ({"settings": AuditSettings(0)}, UsageError, "Nothing is asked"),
    "three shadows": ({"settings": AuditSettings(3)}, UsageError, "take 4"),
    "three shadows after canaries": ({"settings": AuditSettings(3, Plan(20))}, UsageError, "take 4"),
    "more guesses than canaries": ({"settings": AuditSettings(4, Plan(10, 20))}, UsageError, "are not an audit"),
    "too many canaries": ({"settings": AuditSettings(0, Plan(65))}, UsageError, "more than the 64 samples"),
    "too many queries": ({"settings": AuditSettings(0, queries=(33,))}, UsageError, "more than the 32 samples"),
    "queries after canaries": ({"settings": AuditSettings(0, Plan(20), None, (33,))}, UsageError, "the 32 samples"),
    "another architecture": ({"spec": "squeezenet1_1"}, UsageError, "parameters and the model's original"),
    "an ONNX file": ({"spec": "baseline.onnx"}, UsageError, "cannot be repeated"),
    "an ONNX file that is not here": ({"spec": "elsewhere.onnx"}, UsageError, "cannot be repeated"),
    "a typing error": ({"spec": "resnet81"}, UsageError, "resnet"),
    "other data": ({"data": replace(blobs(), train=blobs().train.subset(range(100)))}, UsageError, UNLIKE),
    "no train part": ({"data": replace(blobs(), train=None)}, UsageError, UNLIKE),
    "a key of public data": ({"data_key": KEY}, UsageError, UNLIKE),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_one_sentence_and_nothing_is_trained(
    what: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(Repeater, "make", never)
    monkeypatch.chdir(made)
    interrupted = made / ".audit" / "audit.json"  # made with other settings; only an audit that can begin replaces it
    interrupted.parent.mkdir()
    interrupted.write_text("{}")
    options, kind, sentence = BAD[what]
    given = {"data": blobs(), "settings": AuditSettings(4), **options}
    with pytest.raises(kind, match=sentence):
        audit(made / "model.onnx", signer=SIGNER, progress=False, **given)
    assert not (made / "statements").exists() and interrupted.read_text() == "{}"


def test_weights_must_be_given_when_the_lineage_names_a_file_that_is_not_here(made: Path) -> None:
    values = json.loads((made / "lineage.json").read_text())
    values["model"]["weights"] = "net.pt"
    (made / "lineage.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=r"initial weights net\.pt, which are not here; give --weights FILE"):
        audit(made / "model.onnx", data=blobs(), settings=AuditSettings(4), signer=SIGNER, progress=False)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "leanmark compress writes"), ("{", "not valid JSON"), ("{}", "does not fit")]
)
def test_lineage_is_needed_and_must_be_whole(made: Path, content: str | None, sentence: str) -> None:
    path = made / "lineage.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(LeanmarkError, match=sentence):
        run(made, AuditSettings(4))


def test_private_model_is_not_audited_without_its_key(private: Path) -> None:
    with pytest.raises(UsageError, match="needs --private-data"):
        run(private, AuditSettings(4))


def test_shadows_are_refused_when_nothing_learned_from_the_data(folders: Path) -> None:
    out = make(folders / "untrained", {"name": "t", "passes": [{"trim_kernels": {}}]})
    path = out / "lineage.json"
    values = json.loads(path.read_text())
    values["baseline"]["trained_here"] = False
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="no shadow would differ"):
        run(out, AuditSettings(4))


COMMANDS: dict[str, tuple[list[str], str]] = {
    "delta alone": (["--delta", "1e-5"], "add it"),
    "guesses without canaries": (["--canaries", "0", "--guesses", "5"], "about canaries"),
    "queries": (["--served", "--queries", "some"], "numbers of queries"),
    "epsilon": (["--epsilon", "0"], "0"),
    "key alone": (["--data-key", "k"], "--private-data"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_command_ends_with_2_when_options_do_not_fit(what: str, made: Path) -> None:
    options, sentence = COMMANDS[what]
    result = CliRunner().invoke(main, ["audit-privacy", str(made), "--data", "mnist5k", *options])
    assert result.exit_code == 2 and sentence in result.output and "Traceback" not in result.output, result.output


@pytest.mark.parametrize(("epsilon", "code"), [("1", 3), ("9", 0)])
def test_command_ends_with_3_when_the_claim_is_contradicted(
    epsilon: str, code: int, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canaries, "_twin", knowing)
    asked = ["audit-privacy", str(made), "--data", "compress.testing.networks:blobs", "--shadows", "0"]
    result = CliRunner().invoke(main, [*asked, "--canaries", "60", "--guesses", "30", "--epsilon", epsilon, "--quiet"])
    assert result.exit_code == code, result.output
    assert ("contradicts the claim" in result.output) == (code == 3)
    printed = CliRunner().invoke(main, [*asked, "--canaries", "60", "--quiet", "--json"])
    assert json.loads(printed.stdout)["figures"]["canaries"]["value"] == 60
