"""Columns of groups: read from every kind of data, carried along, and refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.core.data_use.guard import Use, using
from certify.core.errors import DataError, UsageError
from certify.core.group_columns import columns_digest
from certify.core.private_data import DataKey
from certify.data import load
from certify.data.counterfactuals import exchanged_splits
from certify.data.groups import read_groups
from certify.data.people import ADULT_COLUMNS, OLDEST
from certify.data.policy_filter import paths_of
from certify.data.saved_data import keep_test_part
from certify.workflows.data_governance import bind_policy

N = 60


def table(folder: Path, **more: Any) -> str:
    """An npz file of values with two columns of groups."""
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal((N, 4)).astype(np.float32),
        "y": np.arange(N) % 2,
        "group_sex": np.where(np.arange(N) % 3 == 0, "f", "m"),
        "group_minor": np.arange(N) % 5 == 0,
    }
    np.savez(folder / "t.npz", **{**arrays, **more})
    return f"npz:{folder / 't.npz'}"


def test_columns_stay_with_their_samples_when_data_are_split(tmp_path: Path) -> None:
    table(tmp_path)
    for scheme in ("npz", "arrays"):
        dataset = load(f"{scheme}:{tmp_path / 't.npz'}")
        assert list(dataset.test.fields) == ["x"]
        raw = np.load(tmp_path / "t.npz")
        of = {row.tobytes(): group for row, group in zip(raw["x"], raw["group_sex"].tolist(), strict=True)}
        for split in dataset.parts.values():
            assert split.groups["sex"].tolist() == [of[split.arrays(i)["x"].tobytes()] for i in range(len(split))]


def test_data_from_python_have_groups_like_files(tmp_path: Path) -> None:
    table(tmp_path)
    raw = np.load(tmp_path / "t.npz")
    groups = {"sex": raw["group_sex"], "minor": raw["group_minor"]}
    given = load({"x": raw["x"], "y": raw["y"], "groups": groups})
    assert given.column_digests() == load(f"npz:{tmp_path / 't.npz'}").column_digests()
    parts = load({"test": {"x": raw["x"], "y": raw["y"], "groups": groups}})
    assert parts.test.groups["minor"].tolist()[:2] == ["True", "False"]


def test_digest_of_a_column_changes_when_one_person_changes_the_group(tmp_path: Path) -> None:
    before = load(table(tmp_path))
    test = before.test
    moved = test.groups["sex"].copy()
    moved[0] = "f" if moved[0] == "m" else "m"
    after = replace(before, test=test.grouped({**test.groups, "sex": moved}))
    assert after.test_digest() == before.test_digest()
    first, second = before.column_digests(), after.column_digests()
    assert first["sex"] != second["sex"] and first["minor"] == second["minor"]
    whole = before.test_digest()
    assert columns_digest(whole, first) != columns_digest(whole, second)


def test_kept_test_part_holds_groups_and_features(tmp_path: Path) -> None:
    dataset = load(table(tmp_path, features=np.array(["a", "b", "sex=f", "sex=m"])))
    keep_test_part(dataset, tmp_path)
    again = load(f"arrays:test={tmp_path / 'test-data.npz'}")
    assert again.column_digests() == dataset.column_digests() and again.test.features == dataset.test.features


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (np.zeros((N, 2), dtype=int), "overlap"),
        (np.zeros(N - 1, dtype=int), "must have shape"),
        (np.linspace(0, 1, N), "got float64"),
    ],
)
def test_read_groups_refuses_in_one_sentence_when_a_column_is_not_usable(column: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_groups({"g": column}, N, "here")
    assert str(caught.value).count(". ") == 0


def test_read_groups_refuses_when_there_are_too_many_values_or_names_are_not_valid() -> None:
    with pytest.raises(DataError, match="got 100"):
        read_groups({"g": np.arange(100)}, 100, "here")
    with pytest.raises(DataError, match="plain name"):
        read_groups({"a:b": np.arange(3)}, 3, "here")


def images(folder: Path, metadata: str | None) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "test" / label).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "test" / label / f"{i}.png")
    if metadata is not None:
        (folder / "test" / "metadata.csv").write_text(metadata)


def test_images_have_groups_when_metadata_is_next_to_them(tmp_path: Path) -> None:
    lines = [f"{label}/{i}.png,{'in' if i else 'out'}" for label in ("cat", "dog") for i in range(3)]
    images(tmp_path, "file_name,place\n" + "\n".join(lines[:-1]) + "\n")
    assert load(f"imagefolder:{tmp_path}").test.groups["place"].tolist() == ["out", "in", "in", "out", "in", ""]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("file_name,place\ncat/0.png,in\ncat/0.png,out\n", "twice"),
        ("file_name,place\ncat/9.png,in\n", "is not in"),
        ("name,place\ncat/0.png,in\n", "file_name"),
        ("file_name,place\ncat/0.png\n", "line 2: has 1 values"),
    ],
)
def test_folder_is_refused_when_metadata_does_not_fit(tmp_path: Path, metadata: str, words: str) -> None:
    images(tmp_path, metadata)
    with pytest.raises(DataError, match=words):
        load(f"imagefolder:{tmp_path}")


def test_exchange_changes_only_the_attribute(tmp_path: Path) -> None:
    x = np.zeros((N, 4), dtype=np.float32)
    x[:, 0], x[:, 1] = np.arange(N), np.arange(N) % 7
    x[np.arange(N), 2 + np.arange(N) % 2] = 1
    test = load(table(tmp_path, x=x, features=np.array(["a", "b", "sex=f", "sex=m"]))).test
    (other,) = exchanged_splits(test, "sex")
    for i in range(len(test)):
        before, after = test.arrays(i)["x"], other.arrays(i)["x"]
        assert after[:2].tolist() == before[:2].tolist() and after[2:].tolist() == before[[3, 2]].tolist()
    assert not list(exchanged_splits(test, "minor"))


def test_exchange_changes_a_separate_input(tmp_path: Path) -> None:
    x = np.arange(N * 2, dtype=np.float32).reshape(N, 2)
    path = tmp_path / "own.npz"
    np.savez(path, x=x, sex=np.arange(N) % 3, y=np.arange(N) % 2, group_sex=np.arange(N) % 3)
    test = load(f"arrays:{path}").test
    others = list(exchanged_splits(test, "sex"))
    assert len(others) == 2
    for i in range(len(test)):
        seen = {int(split.arrays(i)["sex"]) for split in (test, *others)}
        assert seen == {0, 1, 2}


def adult(folder: Path, rows: int = 80) -> Path:
    """A slice of invented people in the format of the UCI repository."""
    rng = np.random.default_rng(1)

    def line(i: int, end: str) -> str:
        values = [
            20 + i * 7 % 50, "Private" if i % 4 else "?", 1000 + i, "HS-grad", 9 + i % 5, "Never-married", "Sales",
            "Own-child", ("White", "Black")[i % 2], ("Male", "Female")[i // 2 % 2], 0, 0, 40, "Cuba",
            (">50K" if rng.random() < 0.4 else "<=50K") + end,
        ]  # fmt: skip
        assert len(values) == len(ADULT_COLUMNS)
        return ", ".join(map(str, values))

    (folder / "adult.data").write_text("\n".join(line(i, "") for i in range(rows)) + "\n\n")
    (folder / "adult.test").write_text(
        "|1x3 Cross validator\n" + "\n".join(line(i + 500, ".") for i in range(40)) + "\n"
    )
    return folder


def test_adult_is_read_with_its_groups_and_scaled_by_train(tmp_path: Path) -> None:
    dataset = load(f"adult:{adult(tmp_path)}")
    assert len(dataset.test) == 40 and set(dataset.test.groups) == {"sex", "race", "age"}
    assert dataset.classes == ("at most 50K", "over 50K") and set(dataset.test.labels.tolist()) == {0, 1}
    assert {"sex=Male", "sex=Female", "age"} <= set(dataset.test.features)
    assert OLDEST in set(dataset.test.groups["age"].tolist())
    parts = [part for name, part in dataset.parts.items() if name != "test"]
    numbers = np.concatenate([[part.arrays(i)["x"][:1] for i in range(len(part))] for part in parts])
    assert abs(float(numbers.mean())) < 1e-5 and float(numbers.std()) == pytest.approx(1, abs=1e-5)
    assert len(list(exchanged_splits(dataset.test, "sex"))) == 1


def compas(folder: Path) -> Path:
    """Invented people in the format of ProPublica."""
    head = "name,dob,sex,age,race,juv_fel_count,juv_misd_count,juv_other_count,priors_count,days_b_screening_arrest,"
    head += "is_recid,c_charge_degree,score_text,two_year_recid"
    rows = [
        f"x,1900-01-01,{('Male', 'Female')[i % 2]},{20 + i},{('A', 'B')[i // 2 % 2]},0,0,0,{i},"
        f"{-1 if i % 9 else 99},0,F,Low,{i // 3 % 2}"
        for i in range(80)
    ]
    path = folder / "compas.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_compas_and_german_credit_are_read_without_names(tmp_path: Path) -> None:
    path = compas(tmp_path)
    dataset = load(f"compas:{path}")
    assert sum(len(part) for part in dataset.parts.values()) == 71
    assert not any(name.startswith(("name", "dob")) for name in dataset.test.features)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is not the table german-credit"):
        load(f"german-credit:{path}")


def test_dropped_column_is_not_an_input_and_its_groups_can_still_be_compared(tmp_path: Path) -> None:
    dataset = load(f"adult:{adult(tmp_path)},drop=sex,drop=race")
    assert not [name for name in dataset.test.features if name.startswith(("sex", "race"))]
    assert dataset.name == "adult without sex, race" and set(dataset.test.groups) == {"sex", "race", "age"}
    with pytest.raises(UsageError, match="'sexx'"):
        load(f"adult:{tmp_path},drop=sexx")
    with pytest.raises(UsageError, match="'income'"):
        load(f"adult:{tmp_path},drop=income")


@pytest.mark.parametrize("scheme", ["adult", "compas"])
def test_use_policy_permits_a_table_when_columns_are_left_out(scheme: str, tmp_path: Path) -> None:
    spec = f"{scheme}:{adult(tmp_path) if scheme == 'adult' else compas(tmp_path)}"
    whole, key = load(spec), DataKey(bytes(32))
    terms = {
        "name": "people", "controller": "Clinic", "contact": "privacy@example.org", "consent": "unless-withdrawn",
        "legal_basis": "dpv:PublicInterest", "withdrawal": "by letter",
        "permissions": [{"actions": ["train", "evaluate", "calibrate"], "purposes": ["dpv:ResearchAndDevelopment"]}],
    }  # fmt: skip
    folder, policy = bind_policy(f"{spec},drop=race", terms, key)
    listed = folder.records(policy)
    assert set(listed) == {one for split in whole.parts.values() for one in split.keyed(key).digests()}
    with using(Use("dpv:AcademicResearch", "", key)):
        for given in (spec, f"{spec},drop=sex,drop=age"):
            dataset = load(given)
            assert sum(map(len, dataset.parts.values())) == sum(map(len, whole.parts.values()))
            assert {one for split in dataset.parts.values() for one in split.identifiers} == set(listed)
    assert not [name for name in dataset.test.features if name.startswith(("sex", "age"))]


@pytest.mark.parametrize("spec", ["adult:uci", "adult:uci,drop=sex", "compas:uci", "german-credit:uci"])
def test_use_policy_next_to_a_table_is_found(spec: str) -> None:
    assert paths_of(spec) == [Path("uci")]


TABLE = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
SEXES = np.where(np.arange(60) % 2, "m", "f")
TABLE[:, 2:] = np.stack([SEXES == "f", SEXES == "m"], axis=1)
NAMES = ["age", "income", "sex=f", "sex=m"]


def own(path: Path) -> Path:
    """A table of somebody's own, with a group column and the names of its inputs."""
    np.savez(path, x=TABLE, y=np.arange(60) // 2 % 2, features=NAMES, group_sex=SEXES)
    return path


@pytest.mark.parametrize("form", ["npz", "arrays", "parts", "python", "python parts"])
def test_column_of_an_own_table_is_dropped_and_its_groups_stay(tmp_path: Path, form: str) -> None:
    path = own(tmp_path / "own.npz")
    y, groups = np.arange(60) // 2 % 2, {"sex": SEXES}
    python = {"x": TABLE, "y": y, "groups": groups}
    given: Any = {
        "npz": f"npz:{path},drop=sex",
        "arrays": f"arrays:{path},drop=sex",
        "parts": f"npz:train={path},test={path},drop=sex",
        "python": {**python, "features": NAMES, "drop": ["sex"]},
        "python parts": {"train": python, "test": python, "features": NAMES, "drop": "sex"},
    }[form]
    dataset = load(given)
    assert dataset.test.features == ("age", "income") and dataset.test.fields["x"][0] == (2,)
    assert dataset.name.endswith(" without sex") and set(dataset.test.groups) == {"sex"}
    whole = {row.tobytes() for row in TABLE[:, :2]}
    assert {np.ascontiguousarray(dataset.test.arrays(i)["x"]).tobytes() for i in range(len(dataset.test))} <= whole
    key = DataKey(bytes(32))
    known = {key.keyed(load(f"npz:{path}").test.digest(0))}
    everything = {one for split in dataset.parts.values() for one in split.record_ids(key)}
    assert known <= everything, "a use policy knows each sample by its whole record"


def test_named_input_is_dropped_when_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "several.npz"
    np.savez(path, age=TABLE[:, 0], sex=TABLE[:, 2], y=np.arange(60) % 2)
    assert set(load(f"arrays:{path},drop=sex").test.fields) == {"age"}
    with pytest.raises(DataError, match="no input is left without age, sex"):
        load(f"arrays:{path},drop=age,drop=sex")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("npz:{own},drop=sexx", "input column of .*'sexx'.*did you mean 'sex'"),
        ("npz:{plain},drop=sex", "'sex'.*Only named inputs can be dropped"),
        ({"test": np.zeros(3), "drop": ["sex"]}, "drop name columns of arrays"),
    ],
)
def test_drop_is_refused_in_one_sentence_when_the_column_does_not_exist(tmp_path: Path, given: Any, words: str) -> None:
    np.savez(tmp_path / "plain.npz", x=TABLE, y=np.arange(60) % 2)
    places = {"own": own(tmp_path / "own.npz"), "plain": tmp_path / "plain.npz"}
    with pytest.raises((DataError, UsageError), match=words):
        load(given.format(**places) if isinstance(given, str) else given)


def test_use_policy_next_to_an_own_table_is_found_when_columns_are_dropped() -> None:
    assert paths_of("npz:own.npz,drop=sex") == [Path("own.npz")]
    assert paths_of("npz:train=a.npz,test=b.npz,drop=sex") == [Path("a.npz"), Path("b.npz")]
