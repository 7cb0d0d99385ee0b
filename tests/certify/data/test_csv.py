"""Tables in CSV files: columns become inputs, groups and labels as stated, and ambiguous input is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from certify.cli.main import main
from certify.core.data_use.guard import Use, using
from certify.core.errors import DataError, LeanmarkError, NotPermittedError, UsageError
from certify.core.private_data import DataKey
from certify.data import load
from certify.data.csv_columns import MOST_CATEGORIES
from certify.data.policy_filter import paths_of
from certify.data.saved_data import keep_test_part
from certify.data.touches import Ledger
from certify.workflows.data_governance import add_receipts, bind_policy

N = 120
HEADER = "name,age,job,sex,income"
KEY = DataKey(bytes(range(32)))
TERMS = {
    "name": "people", "controller": "Clinic", "contact": "privacy@example.org", "legal_basis": "dpv:LegitimateInterest",
    "permissions": [{"actions": ["train", "calibrate", "evaluate"], "purposes": ["dpv:ResearchAndDevelopment"]}],
    "consent": "unless-withdrawn", "withdrawal": "by e-mail",
}  # fmt: skip


def rows(count: int = N, first: int = 0) -> list[str]:
    """Rows that all differ."""
    return [
        f"person {i},{20 + i * 0.5},{('clerk', 'cook', 'baker')[i % 3]},{'fm'[i % 2]},{('low', 'high')[i % 5 == 0]}"
        for i in range(first, first + count)
    ]


def write(
    folder: Path, *more: str, name: str = "people.csv", header: str = HEADER, body: list[str] | None = None
) -> Path:
    path = folder / name
    path.write_text("\n".join([header, *(rows() if body is None else body), *more]) + "\n")
    return path


def spec(path: Path, options: str = "label=income,group=sex,drop=name") -> str:
    return f"csv:{path},{options}"


def inputs(split: Any) -> Any:
    return np.stack([split.arrays(i)["x"] for i in range(len(split))])


def test_numbers_stay_numbers_and_text_is_one_hot(tmp_path: Path) -> None:
    dataset = load(spec(write(tmp_path)))
    assert dataset.test.features == ("age", "job=baker", "job=clerk", "job=cook")
    assert dataset.classes == ("high", "low") and dataset.name == "people without name"
    sizes = {part: len(split) for part, split in dataset.parts.items()}
    assert sizes == {"train": 65, "calibration": 7, "validation": 12, "test": 36}
    raw = {20 + i * 0.5: i for i in range(N)}
    for split in dataset.parts.values():
        for i, values in enumerate(inputs(split)):
            row = raw[float(values[0])]
            assert values[1:].tolist() == [float(row % 3 == k) for k in (2, 0, 1)]
            assert dataset.classes[split.labels[i]] == ("high" if row % 5 == 0 else "low")
            assert split.groups["sex"][i] == "fm"[row % 2]


def test_numbers_are_scaled_by_stated_constants_alone(tmp_path: Path) -> None:
    dataset = load(spec(write(tmp_path), "label=income,drop=name,number=age:40|16"))
    ages = np.concatenate([inputs(split)[:, 0] for split in dataset.parts.values()])
    assert sorted(ages.tolist()) == [(20 + i * 0.5 - 40) / 16 for i in range(N)]


def test_group_is_an_input_only_when_it_is_named_as_one(tmp_path: Path) -> None:
    path = write(tmp_path)
    named = load(spec(path, "label=income,group=sex,text=sex,drop=name")).test
    assert named.features[-2:] == ("sex=f", "sex=m") and set(named.groups) == {"sex"}


def test_missing_group_is_not_stated_and_missing_input_is_named_by_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "new,70.5,cook,,low")
    groups = [one for split in load(spec(path)).parts.values() for one in split.groups["sex"]]
    assert groups.count("") == 1
    path = write(tmp_path, "new,70.5,,f,low", "newer,71.5,,f,low")
    with pytest.raises(
        DataError, match=r"people\.csv, line 122: has no value in column 'job', the first of 2 such rows"
    ):
        load(spec(path))


def test_lines_are_those_of_the_file_when_values_span_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "", '"two\nlines",1.5,cook,f,low', "new,?,cook,f,low")
    with pytest.raises(DataError, match=r"line 125: column 'age' holds numbers, but this row has '\?'"):
        load(spec(path))


def test_codes_are_not_numbers_until_they_are_stated_to_be_text(tmp_path: Path) -> None:
    path = write(tmp_path, header=f"code,{HEADER}", body=[f"0{i % 4}123,{row}" for i, row in enumerate(rows())])
    assert load(spec(path)).test.features[:2] == ("code=00123", "code=01123")
    path.write_text(path.read_text().replace("\n01123", "\n51123"))
    with pytest.raises(DataError, match="column 'code' holds numbers, but this row has '00123'.*text=code"):
        load(spec(path))
    assert "code=51123" in load(spec(path, "label=income,text=code,drop=name")).test.features


def test_files_of_parts_share_the_categories_of_train(tmp_path: Path) -> None:
    train = write(tmp_path, name="train.csv", body=rows(90))
    test = write(tmp_path, name="test.csv", body=rows(30, 90))
    dataset = load(f"csv:train={train},test={test},label=income,group=sex,drop=name")
    assert len(dataset.test) == 30 and len(inputs(dataset.test)) == 30 and dataset.classes == ("high", "low")
    test = write(tmp_path, "new,1.5,farmer,f,low", name="test.csv", body=rows(30, 90))
    with pytest.raises(DataError, match=r"test\.csv, line 32: column 'job' holds 'farmer'.*text=job:A\|B"):
        load(f"csv:train={train},test={test},label=income,drop=name")
    stated = load(f"csv:train={train},test={test},label=income,drop=name,text=job:clerk|cook|baker|farmer,text=sex")
    assert stated.test.features[1:5] == ("job=clerk", "job=cook", "job=baker", "job=farmer")
    write(tmp_path, name="test.csv", body=rows(30, 90), header="name,age,work,sex,income")
    with pytest.raises(DataError, match="column 'job' is only in one of them"):
        load(f"csv:train={train},test={test},label=income,drop=name")


def test_test_file_alone_gives_the_same_samples_when_everything_is_stated(tmp_path: Path) -> None:
    train = write(tmp_path, name="train.csv", body=rows(90))
    test = write(tmp_path, name="test.csv", body=rows(30, 90))
    stated = "drop=name,drop=sex,label=income:high|low,text=job:clerk|cook|baker"
    both, alone = load(f"csv:train={train},test={test},{stated}"), load(f"csv:test={test},{stated}")
    assert alone.train is None and alone.test_digest() == both.test_digest() and alone.classes == both.classes
    for missing, words in (
        (":high|low", "every class of 'income'"),
        (":clerk|cook|baker", "every category of column 'job'"),
    ):
        with pytest.raises(DataError, match=words):
            load(f"csv:test={test},{stated}".replace(missing, ""))


def test_column_names_the_parts(tmp_path: Path) -> None:
    body = [f"{row},{('train', 'val', 'test', 'train')[i % 4]}" for i, row in enumerate(rows())]
    path = write(tmp_path, header=f"{HEADER},part", body=body)
    dataset = load(spec(path, "label=income,drop=name,split=part"))
    assert (len(dataset.validation or ()), len(dataset.test), dataset.set_aside) == (30, 30, ())
    assert "part" not in str(dataset.test.features)
    path.write_text(path.read_text().replace(",test", ",tset"))
    with pytest.raises(DataError, match=r"line 4: 'tset' in column 'part' is not one of train, val"):
        load(spec(path, "label=income,drop=name,split=part"))


def test_fractions_and_seed_choose_the_test_part(tmp_path: Path) -> None:
    path = write(tmp_path)
    made = [load(spec(path, f"label=income,drop=name,fractions=70/10/20{more}"), seed) for seed, more in
            ((0, ""), (1, ""), (0, ",seed=3"), (1, ",seed=3"))]  # fmt: skip
    assert [len(one.test) for one in made] == [24] * 4 and len(made[0].validation or ()) == 12
    digests = [one.test_digest() for one in made]
    assert digests[0] == digests[1] != digests[2] == digests[3]


def test_target_is_a_number_to_predict(tmp_path: Path) -> None:
    test = load(spec(write(tmp_path), "target=age,drop=name")).test
    assert test.targets is not None and "age" not in str(test.features)
    with pytest.raises(DataError, match="line 2: the target 'income' must be a number, got 'high'"):
        load(spec(write(tmp_path), "target=income,drop=name"))


def test_classes_of_integers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, header="x,y", body=[f"{i}.5,{(10, 9, 2)[i % 3]}" for i in range(N)])
    assert load(spec(path, "label=y")).classes == ("2", "9", "10")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_encoding_and_delimiter_are_as_stated(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path)
    text = path.read_text().replace(",", ";").replace("cook", "Köchin")
    path.write_bytes(text.encode(encoding))
    more = "" if encoding == "utf-8-sig" else f",encoding={encoding}"
    found = load(spec(path, f"label=income,drop=name,delimiter=semicolon{more}"))
    assert "job=Köchin" in found.test.features
    if more:
        with pytest.raises(DataError, match="is not text in UTF-8; save the file as UTF-8, or state its encoding"):
            load(spec(path, "label=income,drop=name,delimiter=semicolon"))


GOOD = "\n".join([HEADER, *rows()]) + "\n"
BAD = {
    "ragged row": (f"{GOOD}new,1.5,cook\n", "line 122: has 3 values, but the header names 5 columns"),
    "duplicate columns": (GOOD.replace("age", "job", 1), "two columns are named 'job'"),
    "nameless column": (GOOD.replace("name", "", 1), "column 1 has no name"),
    "NUL byte": (f"{GOOD}new,1.5,c\0ok,f,low\n", "line 122: holds a NUL byte"),
    "empty file": ("", "is empty; its first line must name the columns"),
    "header alone": (f"{HEADER}\n", "has a header but no rows"),
    "no header": ("1,2,3\n4,5,6\n", "the first line holds numbers"),
    "one column": (GOOD.replace(",", ";"), "add delimiter=semicolon"),
    "one class": (GOOD.replace("high", "low"), "the label 'income' holds a single class, 'low'"),
    "huge field": (f"{GOOD}{'x' * 200_000},1.5,cook,f,low\n", "line 122: cannot be read as CSV .field larger"),
    "open quote": (f'{GOOD}"new,1.5,cook,f,low\n', "line 122: cannot be read as CSV .unexpected end"),
    "missing label": (f"{GOOD}new,1.5,cook,f,\n", "line 122: has no value in column 'income'; fill it in, or remove"),
    "not a number": (f"{GOOD}new,nan,cook,f,low\n", "line 122: column 'age' holds numbers, but this row has 'nan'"),
    "too large": (f"{GOOD}new,1e39,cook,f,low\n", "line 122: '1e39' in column 'age' is too large"),
    "free text": (GOOD.replace("job", "jobs", 1), f"'name' holds text with {N} different values.*drop=name"),
}


@pytest.mark.parametrize("text, words", BAD.values(), ids=BAD)
def test_table_is_refused_in_one_sentence_when_it_is_malformed(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text)
    options = "label=income" if "jobs" in text else "label=income,group=sex,drop=name"
    with pytest.raises(DataError, match=words) as caught:
        load(spec(path, options))
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".") and "people.csv" in str(caught.value)
    asked = ["policy", "sheet", spec(path, options), "--purpose", "research", "--out", str(tmp_path / "sheet.json")]
    KEY.write(tmp_path / "key")
    done = CliRunner().invoke(main, [*asked, "--data-key", str(tmp_path / "key")])
    assert done.exit_code == 2 and done.stderr.startswith("Error: ") and not (tmp_path / "sheet.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "must name the column to predict"),
        ("label=incme", "Unknown column .*'incme'; did you mean 'income'"),
        ("lable=income", "Unknown key of csv data 'lable'; did you mean 'label'"),
        ("label=income,target=age", "must name the column to predict"),
        ("label=income,label=sex", "label is given twice"),
        ("label=income,group=", "group has no value"),
        ("label=income,drop=job,text=job", "'job' .* has two roles"),
        ("label=income,number=income", "'income' .* has two roles"),
        ("label=income,encoding=zlib", "The encoding 'zlib' is unknown"),
        ("label=income,delimiter=;;", "must be one character"),
        ("label=income,fractions=50/50", "three percentages"),
        ("label=income,fractions=100/0/0", "three percentages"),
        ("label=income,seed=-1", "at least 0, got '-1'"),
        ("label=income,split=sex,seed=1", "both divide the file"),
        ("label=income,drop=name,number=age:1", "number=age:OFFSET.SCALE with a scale above 0, got '1'"),
        ("label=income,drop=name,number=age:1|0", "a scale above 0, got '1.0'"),
        ("label=income,text=job:cook|cook", "must each be stated once"),
        ("label=income,train=other.csv", "must name one file, or one file for each part"),
    ],
)
def test_specification_is_refused_in_one_sentence(tmp_path: Path, options: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(f"csv:{write(tmp_path)}{',' if options else ''}{options}")


@pytest.mark.parametrize(
    "given", ["train=A,label=income", "train=A,test=A,label=income,fractions=60/10/30", "label=income"]
)
def test_specification_of_files_is_refused_when_they_are_no_parts(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError, match=r"no test part|divides a single file|must name one file"):
        load(f"csv:{given.replace('A', str(write(tmp_path)))}")


def test_path_alone_names_the_specification_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"For a file write csv:.*people\.csv,label=COLUMN"):
        load(str(write(tmp_path)))


def test_unstated_categories_are_limited_and_stated_text_is_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = load(spec(path, "label=income,text=name"))
    assert sum(one.startswith("name=") for one in found.test.features) == N > MOST_CATEGORIES


def test_use_policy_governs_every_form_of_the_table(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder, policy = bind_policy(spec(path), TERMS, KEY)
    assert paths_of(f"csv:train={path},test={path},label=income") == [path, path]
    other = spec(path, "label=sex,drop=name,drop=income,text=job:clerk|cook|baker")
    for each in (spec(path), other):
        with pytest.raises(NotPermittedError, match="--purpose"):
            load(each)
    use = Use("dpv:ResearchAndDevelopment", "", KEY)
    with using(use):
        before = load(spec(path))
        assert sum(map(len, before.parts.values())) == sum(len(one) for one in load(other).parts.values()) == N
        gone = before.test.record_ids(KEY)[0]
        receipt = {"record_id": "r", "pii_principal_id": "ada", "pii_records": [gone], "event_type": "withdrawal",
                   "event_state": "withdrawn", "event_time": "2026-01-01T00:00:00Z"}  # fmt: skip
        add_receipts(spec(path), [receipt], "receipts", KEY)
        for each in (spec(path), other):
            again = load(each)
            assert sum(map(len, again.parts.values())) == N - 1
            assert all(gone not in split.record_ids(KEY) for split in again.parts.values())
    with using(Use("dpv:Marketing", "", KEY)), pytest.raises(LeanmarkError, match="Marketing"):
        load(spec(path))
    assert len(folder.records(policy)) == N


def test_reads_are_recorded_and_private_samples_are_keyed(tmp_path: Path) -> None:
    path, ledger = write(tmp_path), Ledger(KEY)
    plain = load(spec(path))
    with ledger.opened():
        watched = load(spec(path))
    inputs(watched.test)
    assert ledger.since({})[f"test of {spec(path)}"] == ("raw",)
    assert watched.test.key == KEY.id and watched.test.digest(0) == KEY.keyed(plain.test.digest(0))


def test_kept_test_part_is_the_same_for_an_auditor(tmp_path: Path) -> None:
    dataset = load(spec(write(tmp_path)))
    keep_test_part(dataset, tmp_path)
    again = load(f"arrays:test={tmp_path / 'test-data.npz'}")
    assert again.test_digest() == dataset.test_digest() and again.column_digests() == dataset.column_digests()


def test_sheet_describes_the_table(tmp_path: Path) -> None:
    path = write(tmp_path)
    bind_policy(spec(path), TERMS, KEY)
    KEY.write(tmp_path / "key")
    asked = ["policy", "sheet", spec(path), "--purpose", "research", "--data-key", str(tmp_path / "key")]
    done = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert done.exit_code == 0 and json.loads(done.stdout)["parts"]["train"]["classes"] == {"high": 10, "low": 50}
