from __future__ import annotations

import pytest

from certify.core.errors import UsageError
from certify.measure.plan import Plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_s": 0.0}, {"window_s": 61.0}, {"time_limit_s": 0.0}, {"time_limit_s": float("nan")},
        {"wanted_half_width": 0.0}, {"wanted_half_width": 1.0}, {"threads": 0}, {"batch": 0}, {"min_blocks": 1},
    ],
)  # fmt: skip
def test_plan_is_refused_when_a_value_is_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Plan(**wrong)  # type: ignore[arg-type]
