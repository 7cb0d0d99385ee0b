from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from certify.assessments.efficiency.assessment import PREDICATE_TYPE, Efficiency
from certify.attest.statement import STATEMENT_TYPE
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.schema import validate
from certify.data.public_sets import public_sets
from certify.present.label import draw as draw_claims
from certify.present.label import render, renderer
from certify.present.label.layout import LEFT, RIGHT
from certify.present.label.png import DRAWING, drawing
from certify.present.text import width

DIGEST = "0123456789abcdef" * 4
SVG = "{http://www.w3.org/2000/svg}"
Make = Callable[..., dict[str, Any]]


def draw(predicate: dict[str, Any], digest: str) -> str:
    return draw_claims(Efficiency().claims(predicate, digest))


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_draw_shows_grade_saving_and_loss_when_graded(predicate: Make) -> None:
    shown = texts(draw(predicate(), DIGEST))
    for line in ("4.2×", "less energy", "0.3 %", "of accuracy lost", "Modelled, not metered", "resnet50"):
        assert line in shown
    assert "at most 0.9 % lost (95 % interval)" in shown
    assert "modelled saving of a neural network" in shown and "Self-declared measurement by its maker" in shown


def test_draw_shows_the_letter_in_a_sentence_alone_when_graded(predicate: Make) -> None:
    shown = texts(draw(predicate(), DIGEST))
    assert "Score 6.1 dB after accuracy: grade C~ (C at the measured point)" in shown
    assert not set(shown) & {*"ABCDEFG", "C~"}


@pytest.mark.parametrize(
    "fact",
    [
        "1,500 samples of mnist5k, the maker's own data;", "edition 2026", "2026-11-22",
        "Xeon 8581C, 2 processors, virtual machine",
        "batch 1, 2 threads, onnxruntime-cpu 1.31.1", "trained here on mnist5k, seed 0",
        "0.021× a ResNet-50's energy (baseline 0.088×)", "savings of 1.8 % and above are detectable",
        "at least 1 measurement of this pair", "test unseen", DIGEST[:16], "on Xeon 8581C, 2 threads",
        "inference only; excludes embodied emissions,",
    ],
)  # fmt: skip
def test_draw_prints_what_could_be_gamed_when_graded(predicate: Make, fact: str) -> None:
    assert fact in texts(draw(predicate(), DIGEST))


def test_draw_states_what_each_model_ran_on_and_what_a_better_runtime_saves(predicate: Make) -> None:
    values = predicate()
    own = {"runtime": "openvino-bf16", "runtime_version": "2026.4.1", "provider": "CPU", "precision": "bfloat16"}
    values["workload"]["candidate_runtime"] = own
    figures = values["profile"]["estimates"]
    for name, ends in (("runtime_saving", (0.41, 0.39, 0.43)), ("compression_saving", (0.1, 0.08, 0.12))):
        figures[name] = {**figures["energy_ratio"], **dict(zip(("value", "low", "high"), ends, strict=True))}
    shown = " ".join(texts(draw(values, DIGEST)))
    assert "batch 1, 2 threads, openvino-bf16 2026.4.1, bfloat16" in shown
    assert "Baseline ran onnxruntime-cpu 1.31.1" in shown
    assert "saves 41.0 % (39.0 to 43.0) alone; compression 10.0 % (8.0 to 12.0) of the rest" in shown


def test_draw_has_no_tilde_and_no_dashes_when_metered(predicate: Make) -> None:
    svg = draw(predicate(letter="A", level="counter"), DIGEST)
    assert any("grade A (" in line for line in texts(svg))
    assert "measured saving of a neural network" in texts(svg)
    assert not any("~" in line for line in texts(svg))
    assert "dasharray" not in svg
    assert "Metered by the device's energy counter" in texts(svg)


def test_draw_shows_no_letter_and_no_saving_when_refused(predicate: Make) -> None:
    shown = texts(draw(predicate(letter=None, reasons=("The null run is off.",)), DIGEST))
    assert "NOT GRADED" in shown
    assert "The null run is off." in shown
    assert not set(shown) & {*"ABCDEFG", "4.2×", "less energy", "0.3 %"}


def test_draw_counts_omitted_reasons_when_there_are_many(predicate: Make) -> None:
    reasons = tuple(f"Reason {number} is rather long, so that it takes more than one line here." for number in range(9))
    shown = texts(draw(predicate(letter=None, reasons=reasons), DIGEST))
    started = sum(line.startswith("Reason") for line in shown)
    assert 0 < started < 9
    assert f"and {9 - started} more reasons in the certificate" in shown


def test_draw_shortens_the_reason_when_it_is_very_long(predicate: Make) -> None:
    shown = texts(draw(predicate(letter=None, reasons=("word " * 500,)), DIGEST))
    assert any(line.endswith("…") for line in shown)


def test_draw_says_no_energy_figure_when_there_is_no_meter(predicate: Make) -> None:
    values = predicate(letter=None, reasons=("There is no meter.",))
    values["meter"] = None
    assert "No energy figure" in texts(draw(values, DIGEST))


def test_draw_gives_title_and_description_to_screen_readers(predicate: Make) -> None:
    root = ElementTree.fromstring(draw(predicate(), DIGEST))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert title is not None
    assert title.text == "Modelled saving of resnet50: 4.2× less energy"
    assert description is not None
    assert description.text is not None
    assert "4.2× less energy, at least 4.1× less" in description.text
    assert "grade C~ (C at the measured point)" in description.text
    assert "Self-declared measurement by its maker" in description.text
    assert DIGEST in description.text


def test_draw_escapes_text_when_certificate_is_hostile(predicate: Make) -> None:
    values = predicate()
    values["model"]["name"] = '</text><script>alert("1")</script>&amp;'
    values["baseline"]["origin"] = "\x00<image href='http://example.org/x'/>\ud800]]>"
    svg = draw(values, DIGEST)
    names = {node.tag.removeprefix(SVG) for node in ElementTree.fromstring(svg).iter()}
    assert names <= {"svg", "title", "desc", "rect", "line", "circle", "text", "g", "path"}
    svg.encode()


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=80), reason=st.text(max_size=400))
def test_draw_keeps_text_inside_the_card_for_any_names(predicate: Make, name: str, reason: str) -> None:
    values = predicate(letter=None, reasons=(reason,))
    values["model"]["name"] = name
    values["device"] = {"processor": reason}
    root = ElementTree.fromstring(draw(values, DIGEST))
    bottom = float(root.get("height", "0"))
    for node in root.iter(f"{SVG}text"):
        length = width(node.text or "", float(node.attrib["font-size"]), int(node.attrib["font-weight"]) > 400)
        start = float(node.attrib["x"]) - {"end": 1.0, "middle": 0.5}.get(node.get("text-anchor", ""), 0.0) * length
        assert start >= LEFT - 1
        assert start + length <= RIGHT + 10
        assert float(node.attrib["y"]) < bottom - 20


def test_predicate_of_these_tests_fits_the_schema(predicate: Make) -> None:
    subject = {"name": "model.onnx", "digest": {"sha256": DIGEST, "leanmarkContent": DIGEST}}
    statement = {"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE, "subject": [subject]}
    for values in (predicate(), predicate(letter="A", level="counter"), predicate(letter=None, reasons=("Why.",))):
        validate({**statement, "predicate": values}, "certificate-1", "certify.assessments.efficiency")


JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.just([])
    | st.just({})
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_draw_raises_only_certificate_error_when_a_value_is_replaced(predicate: Make, data: st.DataObject) -> None:
    values = predicate()
    place: Any = values
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.integers(0, 3)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(JSON)
    try:
        ElementTree.fromstring(draw(values, DIGEST))
    except CertificateError:
        return


@pytest.mark.parametrize(
    ("letter", "ratio", "loss", "bounds"),
    [
        ("G", (1.31, 1.25, 1.365), (0.0, -0.5, 4.96), ("at worst 1.37× more", "at most 5.0 % lost")),
        ("A", (0.0501, 0.05, 0.0502), (-4.9, -5.0, -4.8), ("at least 19× less", "nothing lost")),
        ("G", (8.31, 8.25, 88.365), (0.0, -0.5, 4.96), ("at worst 89× more", "at most 5.0 % lost")),
    ],
)
def test_draw_prints_bounds_in_full_when_graded(
    predicate: Make, letter: str, ratio: tuple[float, ...], loss: tuple[float, ...], bounds: tuple[str, str]
) -> None:
    shown = texts(draw(predicate(letter=letter, ratio=ratio, loss=loss), DIGEST))
    assert {f"{bound} (95 % interval)" for bound in bounds} <= set(shown)


def test_draw_keeps_figure_in_its_column_when_saving_is_enormous(predicate: Make) -> None:
    svg = draw(predicate(ratio=(1e-9, 1e-9, 1e-9)), DIGEST)
    node = next(node for node in ElementTree.fromstring(svg).iter(f"{SVG}text") if node.text == "1000000000×")
    assert float(node.attrib["x"]) + width(node.text or "", float(node.attrib["font-size"]), bold=True) <= RIGHT


def test_draw_raises_certificate_error_when_ratio_is_zero(predicate: Make) -> None:
    with pytest.raises(CertificateError):
        draw(predicate(ratio=(0.0, 0.0, 0.5)), DIGEST)


@pytest.mark.parametrize("missing", ["grade", "profile", "workload", "data", "edition", "meter", "attempts"])
def test_draw_raises_certificate_error_when_predicate_lacks(predicate: Make, missing: str) -> None:
    values = predicate()
    del values[missing]
    with pytest.raises(CertificateError, match=missing):
        draw(values, DIGEST)


def test_draw_raises_certificate_error_when_graded_without_energy(predicate: Make) -> None:
    values = predicate()
    del values["profile"]["estimates"]["energy_ratio"]
    with pytest.raises(CertificateError, match="energy_ratio"):
        draw(values, DIGEST)


def test_qr_code_contains_the_digest(predicate: Make) -> None:
    import segno

    from certify.present.label.qr import QUIET_ZONE

    root = ElementTree.fromstring(draw(predicate(), DIGEST))
    path = next(node for node in root.iter(f"{SVG}path")).attrib["d"]
    wanted = segno.make(f"sha256:{DIGEST}", error="m", micro=False).matrix
    drawn = np.zeros((len(wanted), len(wanted)), dtype=int)
    for run in path.split("M")[1:]:
        column, row = (int(number) - QUIET_ZONE for number in run.partition("h")[0].split())
        drawn[row, column : column + int(run.partition("h")[2].partition("v")[0])] = 1
    assert np.array_equal(drawn, np.array([list(line) for line in wanted]))


def test_render_gives_equal_bytes_in_another_process(predicate: Make) -> None:
    svg = draw(predicate(), DIGEST)
    code = "import sys, certify.present.label as l; sys.stdout.buffer.write(l.render(sys.stdin.buffer.read().decode()))"
    there = subprocess.run([sys.executable, "-c", code], input=svg.encode(), capture_output=True, check=True)
    assert there.stdout == render(svg)


def test_render_draws_letters_in_lato_when_no_system_font_is_used(predicate: Make) -> None:
    values = predicate()
    image = np.asarray(Image.open(io.BytesIO(render(draw(values, DIGEST), 800))).convert("L"))
    values["model"]["name"] = ""
    without = np.asarray(Image.open(io.BytesIO(render(draw(values, DIGEST), 800))).convert("L"))
    assert image.shape[1] == 800
    changed = np.argwhere(image != without)
    assert len(changed) > 500  # the name is really painted, and
    assert changed[:, 0].min() > 95  # nowhere but on its line
    assert changed[:, 0].max() < 150


@pytest.mark.parametrize("letter", ["A", "G", None])
def test_render_is_readable_when_printed_in_grey(predicate: Make, letter: str | None) -> None:
    values = predicate(letter=letter, reasons=() if letter else ("Why.",))
    pixels = np.asarray(Image.open(io.BytesIO(render(draw(values, DIGEST)))).convert("RGB")).astype(int)
    assert np.abs(pixels - pixels.mean(axis=2, keepdims=True)).max() < 2


def test_renderer_states_program_and_version() -> None:
    drawn, _, painted = renderer().partition(", ")
    assert drawn == drawing() == f"label {DRAWING}"
    assert painted.startswith("resvg_py ")
    assert any(character.isdigit() for character in painted)


def test_draw_gives_equal_text_when_the_predicate_went_through_json(predicate: Make) -> None:
    values = predicate()
    assert draw(values, DIGEST) == draw(json.loads(json.dumps(values, sort_keys=True)), DIGEST)


@pytest.mark.parametrize(
    ("scope", "words"),
    [("vcpu", "covers the vCPUs."), ("package", "covers the processor package."), ("rail", "the rail.")],
)
def test_draw_explains_what_joules_cover_when_scope_is_a_term(predicate: Make, scope: str, words: str) -> None:
    values = predicate()
    values["meter"]["scope"] = scope
    description = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc")
    assert description is not None
    assert words in description
    assert ".." not in description


def test_lines_keep_their_width_in_other_fonts_unless_it_is_unknown(predicate: Make) -> None:
    values = predicate()
    values["model"]["name"] = "Größe"
    lines = ElementTree.fromstring(draw(values, DIGEST)).iter(f"{SVG}text")
    fixed = {line.text: line.get("textLength") for line in lines}
    assert fixed.pop("Größe") is None  # letters beyond ASCII only have a bound, which would stretch them
    assert all(float(found or 0) > 0 for found in fixed.values())


def test_drawing_version_changes_when_the_label_of_an_equal_certificate_does(predicate: Make) -> None:
    digest = hashlib.sha256(draw(predicate(), DIGEST).encode()).hexdigest()
    assert (DRAWING, digest[:16]) == (8, "42f3b1678f23a960"), "raise DRAWING: earlier labels look otherwise"


def test_verify_notes_a_label_of_another_drawing_version_without_failing(
    certify_small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path))
    path = certify_small().path
    checked = verify(path).check("label")
    assert checked is not None
    assert checked.outcome == "pass"
    monkeypatch.setattr("certify.present.label.png.DRAWING", DRAWING + 1)
    checked = verify(path).check("label")
    assert checked is not None
    assert checked.outcome == "note"
    assert "Redraw it" in checked.sentence


def test_draw_names_the_test_set_by_its_digest_and_not_by_the_makers_name(predicate: Make) -> None:
    values = predicate()
    digest, name = next(iter(public_sets().items()))
    values["data"] |= {"name": "holdout", "test_digest": digest}
    drawn = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc")
    assert drawn is not None
    assert f"samples of holdout, {name}" in drawn
    values["data"] |= {"name": name, "test_digest": "ab" * 32}
    drawn = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc")
    assert drawn is not None
    assert f"samples of {name}, the maker's own data; its digest matches no known public test set" in drawn


def test_draw_names_the_baseline_by_its_weights_and_says_what_was_removed(predicate: Make) -> None:
    values = predicate()
    values["baseline"] |= {"origin": "ResNet-32, as published"}
    drawn = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc") or ""
    assert "Baseline: as given by the maker. Its maker says: ResNet-32, as published." in drawn
    assert "Simplified" not in drawn
    values["baseline"]["published"] = "ResNet-32"
    removed = {"given_digest": DIGEST, "removed": ["7 of 8 Conv", "1 of 1 Mean"], "rewritten": []}
    values["baseline"]["simplified"] = {**removed, "work_share": 0.125, "bytes_share": 0.1}
    drawn = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc") or ""
    assert "Baseline: ResNet-32. Its maker says" in drawn
    assert "measured without 12 % of its work and 10 % of its bytes: 7 of 8 Conv, 1 of 1 Mean" in drawn
    for shares, words in (
        ((0.0002, 0.01), "measured without under 1 % of its work and 1 % of its bytes: 7 of 8 Conv, 1 of 1 Mean"),
        ((0.0002, 0), "measured without 7 of 8 Conv, 1 of 1 Mean (under 1 % of its work and bytes)"),
    ):
        values["baseline"]["simplified"] = {**removed, **dict(zip(("work_share", "bytes_share"), shares, strict=True))}
        drawn = ElementTree.fromstring(draw(values, DIGEST)).findtext(f"{SVG}desc") or ""
        assert words in drawn
