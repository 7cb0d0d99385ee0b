"""The social assessment: every promise, every check by itself, what cells show, and that tables hide single people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from certify.assessments.social.anonymity import exposed_cells, hold_back, merge_small
from certify.assessments.social.assessment import Social
from certify.assessments.social.cells import groups_of, judged_cells, selected
from certify.assessments.social.edition import SocialEdition, load_edition
from certify.assessments.social.named import stems
from certify.assessments.social.records import (
    NOT_STATED,
    Calibration,
    Cell,
    DataFacts,
    Header,
    HeldBack,
    ModelDigests,
    Records,
    Reliability,
    Total,
    Turned,
)
from certify.assessments.social.tabulate import Answers, parse_groups, tabulate
from certify.core.errors import CertificateError, DataError, UsageError
from certify.core.group_columns import column_digest, columns_digest
from certify.core.statistics.proportions import PairedTable
from certify.testing import check_assessment

N = 3000
DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def rules() -> SocialEdition:
    return load_edition()


def people(seed: int = 0) -> tuple[Answers, dict[str, np.ndarray]]:
    """Answers in which women with label 1 lose, and two columns of groups."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], N)
    race = rng.choice(["a", "b", "c", "d"], N, p=[0.7, 0.2, 0.09, 0.01])
    labels = (rng.random(N) < 0.4).astype(np.int64)
    before = rng.random(N) < 0.85
    lost = (sex == "f") & (labels == 1) & (rng.random(N) < 0.1)
    return Answers(labels, before, before & ~lost, "binary"), {"sex": sex, "race": race}


def made(groups: str = "sex,race,sex:race", seed: int = 0, **facts: Any) -> Records:
    """Records of those people, with every further measure."""
    answers, columns = people(seed)
    attributes, rows = tabulate(answers, columns, parse_groups(groups, list(columns)), load_edition())
    digests = {name: column_digest(DIGEST, map(str, range(N)), values.tolist()) for name, values in columns.items()}
    data = DataFacts("people", "npz:p", N, DIGEST, digests, columns_digest(DIGEST, digests), ("no", "yes"))
    header = Header(
        "2026-01-02T03:04:05Z", "0.1.0", ModelDigests(DIGEST, OTHER), "binary", ModelDigests(OTHER, DIGEST), data,
        attributes,
    )  # fmt: skip
    turned = int(np.sum(answers.baseline != answers.candidate))
    more = (
        Calibration("brier", N, 600.0, 630.0, 30.0, 12.0),
        Reliability("candidate", (0, N), (0.0, 2700.0), (0, 2500)),
        Turned("margin", 0, N // 2, turned),
        Turned("margin", 1, N - N // 2, 0),
    )
    return Records(replace(header, **facts), (*rows, *more))


@pytest.fixture(scope="module")
def records() -> Records:
    return made()


def failed(records: Records) -> set[str]:
    return {one.name for one in Social().findings(records, load_edition()) if one.outcome != "pass"}


def test_social_passes_the_battery() -> None:
    check_assessment(Social(), Social().dump(made("sex")), "2026")


def test_records_read_back_the_same_when_written(records: Records) -> None:
    content = Social().dump(records)
    assert Social().parse(content, "r") == records and Social().dump(Social().parse(content, "r")) == content
    assert not failed(records)


def test_no_record_describes_a_single_sample(records: Records) -> None:
    assert len(records.rows) < 60 and all(cell.table.n >= 5 for cell in records.cells if cell.table.n)


def test_cell_is_worse_when_its_group_lost_accuracy(records: Records, rules: SocialEdition) -> None:
    cells = {one.name: one for one in judged_cells(records, rules)}
    worse = {name for name, one in cells.items() if one.verdict == "worse"}
    assert "sex=f, false negatives" in worse and not any("sex=m" in name for name in worse)
    assert cells["sex=f, false negatives"].p < 1e-6 and not cells["sex=f, false negatives"].within
    small = next(one for one in cells.values() if one.verdict == "too small" and one.needed)
    assert f"about {small.needed} are needed" in small.sentence


def test_outcome_counts_cells_and_says_which_are_worse(records: Records, rules: SocialEdition) -> None:
    social = Social()
    figures = social.derive(records, rules)
    counts = {name: figures[f"cells_{name}"].value for name in ("worse", "better", "within_margin", "too_small")}
    cells = judged_cells(records, rules)
    assert counts["worse"] == sum(one.verdict == "worse" for one in cells) > 0
    assert figures["largest_loss_points"].high >= figures["cell_001_change_points"].high
    found = social.findings(records, rules)
    told = [one.sentence for one in found if one.name.startswith("group_worse")]
    assert len(told) == counts["worse"] and any("sex=f, false negatives" in one for one in told)


def test_model_has_shares_but_no_changes_when_measured_alone(rules: SocialEdition) -> None:
    answers, columns = people()
    alone = replace(answers, baseline=answers.candidate)
    attributes, rows = tabulate(alone, columns, parse_groups("sex", list(columns)), rules)
    base = made("sex")
    records = Records(replace(base.header, baseline=None, attributes=attributes), rows)
    figures = Social().derive(records, rules)
    assert not failed(records)
    assert "sex_selection_ratio_candidate" in figures and not any("change" in name for name in figures)


Alter = Callable[[Records], Records]


def with_rows(change: Callable[[Any], Any]) -> Alter:
    return lambda records: replace(records, rows=tuple(r for row in records.rows if (r := change(row)) is not None))


def with_data(**facts: Any) -> Alter:
    return lambda records: replace(
        records, header=replace(records.header, data=replace(records.header.data, **facts))
    )  # fmt: skip


def first_cell(row: Any, **facts: Any) -> Any:
    return (
        replace(row, **facts)
        if isinstance(row, Cell) and (row.attribute, row.group, row.label) == ("sex", "m", 0)
        else row
    )


def with_attribute(**facts: Any) -> Alter:
    def alter(records: Records) -> Records:
        first, *others = records.header.attributes
        return replace(records, header=replace(records.header, attributes=(replace(first, **facts), *others)))

    return alter


def small_cell(records: Records) -> Records:
    """Two samples moved out of the crossed cells so that one holds two people and still adds up."""
    rows = []
    for row in records.rows:
        if isinstance(row, Cell) and row.attribute == "sex" and row.label == 1:
            row = replace(row, **vars(PairedTable(2, 0, 0, 0))) if row.group == "f" else row
        rows.append(row)
    return replace(records, rows=tuple(rows))


def on(kind: type[Any], change: Callable[[Any], Any]) -> Alter:
    """Changes records of one kind; None takes one out."""
    return with_rows(lambda row: change(row) if isinstance(row, kind) else row)


def is_cell(row: Cell, attribute: str, group: str, label: int) -> bool:
    return (row.attribute, row.group, row.label) == (attribute, group, label)


def one_held_back(row: Cell) -> Any:
    return HeldBack(row.attribute, row.group, row.label) if is_cell(row, "sex:race", "m, a", 1) else row


BREAKS: dict[str, tuple[str, Alter]] = {
    "a cell left out": ("cells_known", on(Cell, lambda row: None if is_cell(row, "sex", "m", 0) else row)),
    "a total left out": ("cells_known", on(Total, lambda row: None if row.label else row)),
    "a cell of one more": ("cells_add_up", on(Cell, lambda row: first_cell(row, both=row.both + 1))),
    "fewer samples": ("samples_agree", with_data(samples=N - 1)),
    "scores of more samples": ("samples_agree", on(Calibration, lambda row: replace(row, n=N + 1))),
    "fewer answers turned": ("samples_agree", on(Turned, lambda row: replace(row, turned=0))),
    "many not stated": ("groups_cover", with_attribute(missing=N // 10)),
    "another digest of columns": ("groups_before_results", with_data(columns_digest=OTHER)),
    "a later column": ("groups_before_results", with_data(columns={}, columns_digest=columns_digest(DIGEST, {}))),
    "a cell of two people": ("tables_anonymous", small_cell),
    "a group of one label": (
        "tables_anonymous", on(Cell, lambda row: replace(row, labels=0) if is_cell(row, "sex", "f", 1) else row),
    ),
    "one cell held back": ("totals_hide_cells", on(Cell, one_held_back)),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_finding_fails_when_records_do_not_hold(records: Records, what: str) -> None:
    name, alter = BREAKS[what]
    broken = alter(records)
    if name == "totals_hide_cells":
        broken = in_order(broken)
    assert name in failed(broken)
    social, edition = Social(), load_edition()
    profile_findings = social.findings(broken, edition)
    from certify.assessment.profile import Profile

    outcome = social.outcome(Profile(social.derive(broken, edition), profile_findings), edition)
    assert outcome.refused and any(reason.startswith(name) for reason in outcome.reasons)


def in_order(records: Records) -> Records:
    kinds = [Total, Cell, HeldBack]
    rank = {kind: place for place, kind in enumerate(kinds)}
    return replace(records, rows=tuple(sorted(records.rows, key=lambda row: rank.get(type(row), len(kinds)))))


@pytest.mark.parametrize(
    "alter",
    [
        lambda content: content.replace(b'"both":', b'"bot":', 1),
        lambda content: content.replace(b'"kind":"cell"', b'"kind":"person"', 1),
        lambda content: content + content.splitlines(keepends=True)[1],
        lambda content: content.replace(b'"version":1', b'"version":2', 1),
    ],
)
def test_parse_refuses_when_a_line_is_not_a_record(records: Records, alter: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CertificateError):
        Social().parse(alter(Social().dump(records)), "records")


@settings(max_examples=60)
@given(arrays.arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 5)), elements=st.integers(0, 30)))
def test_withheld_cells_cannot_be_derived_from_totals(sizes: np.ndarray) -> None:
    sizes = sizes + np.diag([9] * max(sizes.shape))[: sizes.shape[0], : sizes.shape[1]]
    sizes[0] += 5
    sizes[:, 0] += 5
    held = hold_back(sizes, 5)
    assert not list(exposed_cells(sizes, held, 5))
    assert not (~held & (sizes > 0) & (sizes < 5)).any()
    # No other reading of the held-back cells is ruled out: moving a person around a cycle keeps every total.
    for i, j in np.argwhere(held):
        assert held[i].sum() >= 2 and held[:, j].sum() >= 2


def test_small_groups_are_merged_when_a_label_has_too_few_people() -> None:
    merged = merge_small({"a": [400, 600], "b": [30, 20], "c": [90, 2]}, 5)
    assert merged == {"a": ("a",), "b or c": ("b", "c")}
    assert merge_small({"a": [4, 4], "b": [400, 4]}, 9) == {"b or a": ("b", "a")}


def test_totals_are_unchanged_when_groups_are_merged(rules: SocialEdition) -> None:
    answers, columns = people(3)
    columns["race"] = np.where(np.arange(N) < 3, "rare", columns["race"])
    attributes, rows = tabulate(answers, columns, parse_groups("race", ["race"]), rules)
    assert any("rare" in values for values in attributes[0].merged.values())
    for label in (0, 1):
        cells = sum(row.table.n for row in rows if isinstance(row, Cell) and row.label == label)
        assert cells == next(row.table.n for row in rows if isinstance(row, Total) and row.label == label)


def test_missing_values_are_counted_as_their_own_group(rules: SocialEdition) -> None:
    answers, columns = people()
    columns["sex"] = np.where(np.arange(N) % 50 == 0, "", columns["sex"])
    attributes, _ = tabulate(answers, columns, parse_groups("sex", ["sex"]), rules)
    assert NOT_STATED in attributes[0].groups and attributes[0].missing == N // 50


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"sex": np.full(N, "f")}, "at least two groups"),
        ({"sex": np.where(np.arange(N) == 7, "x", "f")}, "'x' in the column 'sex' has 1 sample,"),
    ],
)
def test_tabulate_refuses_in_one_sentence_when_groups_cannot_be_compared(
    columns: dict[str, np.ndarray], words: str, rules: SocialEdition
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        tabulate(people()[0], columns, (("sex",),), rules)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [("sec", UsageError), ("sex:race:sex", DataError), ("sex:sex", DataError), (",", DataError)],
)
def test_parse_groups_refuses_when_a_column_is_unknown_or_crossed_wrongly(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_groups(text, ["sex", "race"])


def test_groups_of_several_classes_are_compared_by_errors(rules: SocialEdition) -> None:
    answers, columns = people()
    several = replace(answers, labels=np.arange(N) % 7, kind="classes")
    attributes, rows = tabulate(several, columns, parse_groups("sex", ["sex", "race"]), rules)
    base = made("sex")
    data = replace(base.header.data, classes=tuple("abcdefg"))
    records = Records(replace(base.header, decision="classes", attributes=attributes, data=data), rows)
    assert not failed(records)
    assert "sex_error_gap_change_points" in Social().derive(records, rules)


def test_column_derived_from_the_label_is_published(rules: SocialEdition) -> None:
    answers, _ = people()
    several = replace(answers, labels=np.arange(N) % 10, kind="classes")
    animal = np.where(np.isin(several.labels, [2, 3, 4, 5, 6, 7]), "animal", "vehicle")
    attributes, _ = tabulate(several, {"kind": animal, "own": several.labels.astype(str)}, (("kind",), ("own",)), rules)
    assert all(attribute.of_label for attribute in attributes)


def test_positive_answers_follow_from_the_tables_of_both_labels(records: Records) -> None:
    answers, columns = people()
    for group, tables in groups_of(records, "sex").items():
        members = columns["sex"] == group
        for arm in ("baseline", "candidate"):
            right = getattr(answers, arm)
            positive = np.where(right, answers.labels == 1, answers.labels == 0)
            assert getattr(selected(tables), arm) == positive[members].sum()


def test_stems_differ_when_columns_have_similar_names() -> None:
    found = stems(["cell", "Cell", "1", "ж", "a:b"])
    assert len(set(found.values())) == 5 and all(name[0].isalpha() and name.isascii() for name in found.values())


def test_fairlearn_agrees_on_rates_and_ratios(rules: SocialEdition) -> None:
    metrics = pytest.importorskip("fairlearn.metrics")
    answers, columns = people()
    figures = Social().derive(made("sex,race"), rules)
    cells = {one.name: one for one in judged_cells(made("sex,race"), rules)}
    for arm in ("baseline", "candidate"):
        right = getattr(answers, arm)
        said = np.where(right, answers.labels, 1 - answers.labels)
        sensitive = {"sensitive_features": columns["sex"]}
        frame = metrics.MetricFrame(
            metrics={"FPR": metrics.false_positive_rate, "FNR": metrics.false_negative_rate,
                     "selection": metrics.selection_rate},
            y_true=answers.labels, y_pred=said, **sensitive,
        )  # fmt: skip
        end = {"baseline": "before", "candidate": "after"}[arm]
        for group in sorted(set(columns["sex"])):
            for kind, words in (("FPR", "false positives"), ("FNR", "false negatives")):
                mine = getattr(cells[f"sex={group}, {words}"], end).value
                assert mine == pytest.approx(float(frame.by_group[kind][group]), abs=1e-12)
        selection = {figures[f"sex_{k}_selection_{arm}"].value for k in (1, 2)}
        assert sorted(selection) == pytest.approx(sorted(map(float, frame.by_group["selection"])), abs=1e-12)
        ratio = metrics.demographic_parity_ratio(answers.labels, said, **sensitive)
        assert figures[f"sex_selection_ratio_{arm}"].value == pytest.approx(float(ratio), abs=1e-12)
        odds = metrics.equalized_odds_difference(answers.labels, said, **sensitive)
        assert figures[f"sex_equalised_odds_{arm}"].value == pytest.approx(float(odds), abs=1e-12)
