"""``leanmark declare`` the whole way: written, asked, signed beside a model, verified, drawn and altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from certify.assessments.declarations.declaration import CLAUSES, Clause, parse_declaration
from certify.assessments.declarations.questions import QUESTIONS
from certify.attest.certificate import Certificate
from certify.attest.pack import pack
from certify.attest.verify import verify
from certify.cli.main import main
from certify.present.report import report

WORDS = "Sorting letters in a sorting office."
CLEAR = f"declaration: leanmark/declarations/1\npeople: none\nfaces: no\ncontext: {{intended_use: {WORDS}}}\n"
CLAUSES_YES = "".join(f'  "{number}": {{answer: yes, evidence: minutes}}\n' for number in CLAUSES)
JUDGED = f"{CLEAR.replace('none', 'judged').replace('faces: no', 'faces: analysed')}safe_face:\n{CLAUSES_YES}"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CI", raising=False)


def run(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["declare", *map(str, arguments)], input=typed)


@pytest.fixture
def graded(certify_small: Callable[..., Any]) -> Any:
    return certify_small()


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    """A model with data about people beside it, and no certificate."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], np.ones(8).tolist())
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 2))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    sex = np.array(["f"] * 150 + ["m"] * 147 + ["x"] * 3)
    np.savez(
        tmp_path / "people.npz", x=rng.normal(size=(300, 4)).astype("f4"), y=rng.integers(0, 2, 300),
        classes=np.array(["low income", "high income"]), group_sex=rng.permutation(sex),
    )  # fmt: skip
    return tmp_path / "model.onnx"


def written(folder: Path, text: str) -> Path:
    path = folder / "words.yaml"
    path.write_text(text)
    return path


def test_declarations_lie_signed_beside_the_model_and_on_its_label_when_made(graded: Any, tmp_path: Path) -> None:
    result = run(graded.path, "--declarations", written(tmp_path, CLEAR), "--key", graded.path.parent.parent / "none")
    assert result.exit_code == 2
    result = run(graded.path, "--declarations", written(tmp_path, CLEAR))
    assert result.exit_code == 0, result.output
    assert "What the maker says: people none, faces no, questions asked" in result.stdout
    found = verify(graded.path, trust=[graded.key.public])
    assert found.valid and found.derived
    assert (graded.path.parent / "declarations.yaml").read_text() == CLEAR
    label = (graded.path.parent / "label.svg").read_text()
    assert "people none, faces no" in label
    page = report(graded.path)
    assert WORDS in page and "In the maker's words; nothing here was measured" in page
    assert "is contradicted" not in page
    names = pack(graded.path.parent)[1]
    assert {"declarations.yaml", "statements/declarations.json"} <= set(names)


def test_contradiction_is_on_the_front_of_label_and_report_when_no_groups_were_measured(
    graded: Any, tmp_path: Path
) -> None:
    assert run(graded.path, "--declarations", written(tmp_path, JUDGED)).exit_code == 0
    found = verify(graded.path, trust=[graded.key.public])
    notes = [check for one in found.others for check in one.checks if check.outcome == "note"]
    assert [one.name for one in notes] == ["bias_evaluated"] and found.valid
    assert "CONTRADICTED: Clause 2.1 says" in (graded.path.parent / "label.svg").read_text()
    page = report(graded.path)
    front = page.split("<nav")[0]
    assert "What the maker says is contradicted." in front and "Clause 2.1 says that bias is evaluated" in front
    assert "signed the pledge" not in page.lower()


def test_names_and_counts_are_those_of_the_data_when_they_are_read(lone: Path, tmp_path: Path) -> None:
    result = run(lone, "--declarations", written(tmp_path, CLEAR), "--data", f"arrays:{tmp_path / 'people.npz'}")
    assert result.exit_code == 0, result.output
    assert "CONTRADICTED in people" in result.stdout and "the column 'sex'" in result.stdout
    statement = Certificate.read(tmp_path / "statements/declarations.json")
    parts = {one["part"]: one for one in statement.predicate["data"]["parts"]}
    assert sum(one["samples"] for one in parts.values()) == 300
    counts = [count for one in parts.values() for count in one["groups"]["sex"].values()]
    assert None in counts and all(count is None or count >= 5 for count in counts)
    assert {one["shared"] for one in statement.predicate["data"]["overlaps"]} == {0}
    assert verify(lone).valid


def test_exit_code_is_3_and_reasons_are_signed_when_clauses_are_required_and_missing(
    lone: Path, tmp_path: Path
) -> None:
    empty = written(tmp_path, "declaration: leanmark/declarations/1\n")
    result = run(lone, "--declarations", empty, "--data", f"arrays:{tmp_path / 'people.npz'}", "--json")
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert told["result"]["text"] == "refused" and "declare faces: no" in told["result"]["reasons"][0]
    assert verify(lone).valid


@pytest.mark.parametrize(
    ("text", "options", "sentence", "code"),
    [
        (CLEAR, (), "pass them with --data", 2),
        (CLEAR.replace("people", "peopel"), ("--data",), "did you mean 'people'", 2),
        (CLEAR, ("--data", "--edition", "1999"), "declarations edition '1999'", 2),
    ],
)
def test_nothing_is_written_when_declarations_or_data_are_bad(
    lone: Path, tmp_path: Path, text: str, options: tuple[str, ...], sentence: str, code: int
) -> None:
    data = f"arrays:{tmp_path / 'people.npz'}"
    given = [part for one in options for part in (("--data", data) if one == "--data" else (one,))]
    result = run(lone, "--declarations", written(tmp_path, text), *given)
    assert result.exit_code == code and sentence in result.stderr
    assert not (tmp_path / "statements").exists() and not (tmp_path / "declarations.yaml").exists()


def test_data_are_refused_when_the_model_was_certified_on_others(graded: Any, lone: Path, tmp_path: Path) -> None:
    data = f"arrays:{tmp_path / 'people.npz'}"
    result = run(graded.path, "--declarations", written(tmp_path, CLEAR), "--data", data)
    assert result.exit_code == 1 and "pass the data that it was certified on" in result.stderr


def test_verification_fails_when_the_file_beside_the_model_was_changed(graded: Any, tmp_path: Path) -> None:
    run(graded.path, "--declarations", written(tmp_path, CLEAR))
    path = graded.path.parent / "declarations.yaml"
    path.write_text(CLEAR.replace("letters", "people"))
    assert [one.name for one in verify(graded.path).failed] == ["declarations.companions"]


def test_template_is_written_and_nothing_is_signed_when_asked_for(tmp_path: Path) -> None:
    result = run("--template")
    assert result.exit_code == 0 and parse_declaration(result.stdout.encode(), "t").to_json() == {
        "declaration": "leanmark/declarations/1"
    }
    out = tmp_path / "t.yaml"
    assert run("--template", "--out", out).stdout == f"{out}\n"
    assert out.read_text() == result.stdout


def test_answers_are_asked_until_they_are_allowed_and_only_where_they_apply(tmp_path: Path) -> None:
    typed = "nobody\nnone\nno\nSorting letters\ncredit; policing\n" + "\n" * 60
    result = run("--ask", "--out", tmp_path / "d.yaml", typed=typed)
    assert result.exit_code == 0, result.output
    assert "must be one of none, depicted, judged, got 'nobody'" in result.stderr
    assert "told that it is used on them" not in result.stderr and "contribute to applications" not in result.stderr
    declared = parse_declaration((tmp_path / "d.yaml").read_bytes(), "d")
    assert declared.context.not_for == ("credit", "policing") and declared.people == "none"


def test_clauses_are_asked_when_faces_are_analysed(tmp_path: Path) -> None:
    before = len([one for one in QUESTIONS if one.section not in ("people", "faces", "safe_face")])
    typed = "judged\nanalysed\n" + "\n" * before + "no\nwe sell to anybody\n\nnot applicable\n" + "\n" * 40
    result = run("--ask", "--out", tmp_path / "d.yaml", typed=typed)
    assert result.exit_code == 0 and "contribute to applications" in result.stderr
    assert "told that it is used on them" in result.stderr
    declared = parse_declaration((tmp_path / "d.yaml").read_bytes(), "d")
    assert declared.safe_face["1.1"] == Clause("no", "we sell to anybody")
    assert declared.safe_face["1.2"] == Clause("not applicable") and set(declared.safe_face) == {"1.1", "1.2"}


def test_card_is_where_answers_begin_when_it_is_named(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# Net\n## Direct Use\nSorting letters.\n")
    result = run("--from-card", card, "--ask", typed="none\nno\n" + "\n" * 60)
    assert result.exit_code == 0 and "What is it for" not in result.stderr
    assert parse_declaration(result.stdout.encode(), "d").context.intended_use == "Sorting letters."


@pytest.mark.parametrize("arguments", [(), ("--template", "--key"), ("model", "--template"), ("model", "--out")])
def test_usage_is_refused_when_writing_and_signing_are_mixed(lone: Path, arguments: tuple[str, ...]) -> None:
    values = {"model": [lone], "--key": ["--key", lone], "--out": ["--out", "x"]}
    result = run(*[part for one in arguments for part in values.get(one, [one])])
    assert result.exit_code == 2 and "Error" in result.stderr
