from __future__ import annotations

import io
import math
import re
from pathlib import Path

from rich.console import Console

from certify.assessments.efficiency.grade import Grade
from certify.assessments.efficiency.payback import payback
from certify.cli.tables import comparison, files, payback_lines, single, verdict
from certify.core.estimate import Estimate, EvidenceLevel


def drawn(part: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def modelled(value: float, low: float, high: float, unit: str) -> Estimate:
    return Estimate(value, low, high, unit, 10, "test", EvidenceLevel.MODELLED)


ESTIMATES = {
    "accuracy_baseline": Estimate(0.981, 0.973, 0.987, "1", 1500, "test"),
    "accuracy_candidate": Estimate(0.978, 0.969, 0.984, "1", 1500, "test"),
    "accuracy_difference_points": Estimate(-0.3, -0.88, 0.4, "%", 1500, "test"),
    "relative_loss_percent": Estimate(0.31, -0.4, 0.88, "%", 1500, "test"),
    "energy_j_baseline": modelled(0.0144, 0.0141, 0.0147, "J"),
    "energy_j_candidate": modelled(0.00342, 0.003331, 0.003512, "J"),
    "energy_ratio": modelled(0.238, 0.2331, 0.2429, "1"),
    "latency_p50_s_baseline": Estimate(0.0102, 0.0101, 0.0103, "s", 500, "test"),
    "latency_p50_s_candidate": Estimate(0.0031, 0.0030, 0.0032, "s", 500, "test"),
    "macs_baseline": Estimate.exact(4_089_284_608, "1", "count"),
    "macs_candidate": Estimate.exact(2_000_000_000, "1", "count"),
    "macs_ratio": Estimate.exact(0.489, "1", "count"),
    "parameters_baseline": Estimate.exact(25_557_032, "1", "count"),
    "parameters_candidate": Estimate.exact(12_000_000, "1", "count"),
    "bytes_baseline": Estimate.exact(102_228_128, "B", "count"),
    "bytes_candidate": Estimate.exact(12_345_678, "B", "count"),
    "bytes_ratio": Estimate.exact(0.1208, "B", "count"),
}


def test_comparison_shows_figures_with_units_and_intervals_when_measured() -> None:
    text = drawn(comparison(ESTIMATES))
    for cell in ("98.1 %", "97.3 to 98.7", "14.4 mJ", "3.42 mJ", "3.33 to 3.52", "0.238×", "0.233 to 0.243", "10.2 ms",
                 "4.09 G", "25.6 M", "102 MB", "12.3 MB", "energy per inference (modelled)",
                 "−0.3 points"):  # fmt: skip
        assert cell in text, cell


def test_comparison_rounds_interval_outward_when_it_is_cut() -> None:
    text = drawn(comparison({"energy_ratio": modelled(0.5, 0.4999, 0.5001, "1"), **ESTIMATES}))
    assert "−0.9 to 0.4" in text


def test_comparison_omits_the_row_when_nothing_was_measured() -> None:
    text = drawn(comparison({name: e for name, e in ESTIMATES.items() if not name.startswith("energy")}))
    assert "energy" not in text


def test_comparison_shows_dash_when_one_side_is_missing() -> None:
    text = drawn(comparison({"macs_baseline": Estimate.exact(4e9, "1", "count")}))
    assert text.count("–") == 2


def test_comparison_fits_eighty_columns_when_terminal_is_narrow() -> None:
    text = drawn(comparison(ESTIMATES), width=80)
    assert "energy per inference (modelled)" in text
    assert "0.233 to 0.243" in text


def test_comparison_says_unbounded_when_interval_has_no_end() -> None:
    assert "unbounded" in drawn(comparison({**ESTIMATES, "energy_ratio": modelled(0.5, 0.1, math.inf, "1")}))


def test_single_shows_one_column_when_there_is_one_model() -> None:
    text = drawn(single(ESTIMATES))
    assert "3.42 mJ" in text
    assert "14.4 mJ" not in text


def test_verdict_shows_letter_and_notes_when_graded() -> None:
    text = drawn(verdict(Grade("C", True, 6.13, 0.243, 0.88, (), ("The energy is modelled.",), "B"), "a Xeon\x1b[31m"))
    assert "Grade C~ on a Xeon [31m  (score 6.1 dB; B at the measured point)" in text
    assert "- The energy is modelled." in text


def test_verdict_shows_reasons_when_refused() -> None:
    text = drawn(verdict(Grade(None, True, None, None, None, ("The null run [0.9, 1.2] is off.",), ())))
    assert "Not graded" in text
    assert "- The null run [0.9, 1.2] is off." in text


def test_payback_states_what_was_spent_and_when_it_pays_off() -> None:
    lineage = {"rows": [{"energy_j": modelled(3000.0, 2700.0, 3300.0, "J").to_json()}]}
    lines = payback_lines(payback(ESTIMATES, lineage, 400.0))
    text = drawn(lines, width=200)
    assert "Compressing took 3.00 kJ (2.70 to 3.30; modelled)." in text
    assert re.search(r"breaks even after 273 k \([^)]*; modelled\) inferences", text)
    assert re.search(r"CO2 equivalent at the given intensity: 333 mg \([^)]*; modelled\)", text)
    assert "(E × I + M) per inference" in text and "excluding embodied emissions M" in text
    assert payback_lines(payback({}, None)) is None


def test_comparison_keeps_a_declared_loss_apart_from_the_accuracy() -> None:
    scores = {f"score_{arm}": Estimate(0.9, 0.89, 0.91, "1", 1500, "test") for arm in ("baseline", "candidate")}
    rows = {line.split("  ")[0].strip(): line for line in drawn(comparison({**ESTIMATES, **scores})).splitlines()}
    assert "−0.3 % relative" in rows["declared score"]
    assert "−0.3" not in rows["accuracy (top-1)"]


def test_verdict_shows_no_escape_sequences_when_a_class_name_has_them() -> None:
    named = Grade("C", False, 6.13, 0.243, 0.88, (), ("Most clearly in class \x1b[31mcat.",))
    assert "\x1b" not in drawn(verdict(named))


def test_files_lists_full_paths_when_they_are_long() -> None:
    path = Path("/a" * 60 + "/model.onnx")
    text = drawn(files({"model.onnx": path}), width=60)
    assert str(path) in "".join(line.removeprefix("model.onnx").strip() for line in text.splitlines())
