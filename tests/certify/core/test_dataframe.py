from __future__ import annotations

import sys

import pytest

from certify.assessment.profile import Profile
from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.core.finding import Finding

PROFILE = Profile(
    {"energy_ratio": Estimate(0.25, 0.24, 0.26, "1", 9, "t interval"), "macs_candidate": Estimate.exact(4e9, "1", "n")},
    (Finding("null_run", "fail", "It drifts."), Finding("inputs_are_real", "pass", "They are.")),
)


def test_dataframe_has_a_row_for_each_figure_when_pandas_is_installed() -> None:
    frame = PROFILE.to_dataframe()
    assert list(frame["figure"]) == ["energy_ratio", "macs_candidate"]
    assert frame.loc[0, ["value", "low", "high", "n", "evidence"]].tolist() == [0.25, 0.24, 0.26, 9, "direct"]


def test_dataframe_says_what_to_install_when_pandas_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"requires pandas, which is not installed. Run: pip install pandas\.$"):
        PROFILE.to_dataframe()


def test_figure_is_a_number_when_requested() -> None:
    assert float(PROFILE["energy_ratio"]) == 0.25


def test_profile_prints_columns_and_what_did_not_pass() -> None:
    lines = repr(PROFILE).splitlines()
    assert (
        len({line.index(part) + len(part) for line, part in zip(lines, ("value", "0.25", "4e+09"), strict=False)}) == 1
    )
    assert "0.24 to 0.26" in lines[1]
    assert lines[3:] == ["null_run: fail. It drifts.", "1 of 2 checks passed"]
