from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import certify
from certify.assessments.efficiency.grade import Grade
from certify.attest.certificate import Certificate
from certify.cli.main import main
from certify.core.errors import CertificateError, UsageError
from certify.present.report import Sidecars, page, read_sidecars, report
from certify.present.svg import joined, tag
from certify.workflows.certification_result import Result

HOSTILE = '</td></style></title><script>alert(1)</script><img src=x onerror="alert(1)">"\' onload=\'alert(1)'
SAFE_TAGS = {
    "html", "head", "meta", "title", "link", "style", "body", "main", "nav", "section", "footer", "div", "figure",
    "figcaption", "h1", "h2", "h3", "p", "ul", "li", "a", "b", "small", "code", "pre", "span", "br", "table", "thead",
    "tbody", "tr", "th", "td", "dl", "dt", "dd", "svg", "desc", "g", "path", "rect", "line", "circle", "text",
}  # fmt: skip


class Read(HTMLParser):
    """Elements, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def sidecars(graded: Path) -> Sidecars:
    return read_sidecars(graded)


@pytest.fixture(scope="module")
def text(graded: Path) -> str:
    return report(graded)


@pytest.mark.parametrize("name", ["figures", "intervals", "windows", "classes", "passes", "nodes", "guards", "settings",
                                  "verify"])  # fmt: skip
def test_page_has_a_section_and_a_link_to_it_when_sidecar_files_are_complete(text: str, name: str) -> None:
    attributes = Read(text).attributes
    assert attributes.count(("id", name)) == 1
    assert ("href", f"#{name}") in attributes


@pytest.mark.parametrize(
    "shown",
    [
        "3.3× less energy", "at most 0.6 % lost (95 % interval)", "The passes took 364 J (counter)",
        "−6.90 k (50 %)", "−30.0 points", "+35.0 points", "0 of 10 classes have a significant loss",
        "Conv conv", "75.0 % ~", "✓ pass", "null holds", "leanmark verify model.onnx --trust", "self-attested",
        "grade D on made up, 2 threads", "inference only; excludes embodied",
        "trained here on mnist5k, seed 0", "at least 1 measurement of this pair",
    ],
)  # fmt: skip
def test_page_shows_fact_when_model_is_graded(text: str, shown: str) -> None:
    assert shown in Read(text).text


def test_page_shows_digests_and_key_where_it_explains_verification(text: str, graded: Path) -> None:
    certificate = Certificate.read(graded)
    for digest in (certificate.digest, certificate.subject_digest["sha256"], certificate.signer.key_id,
                   certificate.signer.hex, certificate.predicate["evidence"]["sha256"]):  # fmt: skip
        assert digest in text


def test_page_is_equal_when_rendered_again(text: str, graded: Path) -> None:
    assert certify.report(graded) == text


def test_result_returns_its_report(text: str, graded: Path) -> None:
    certificate = Certificate.read(graded)
    grade = Grade("D", False, 5.0, 0.3, 0.6, (), ())
    assert Result(certificate, certificate.profile, grade, {"model.onnx": graded}).report() == text


def test_report_writes_the_page_next_to_the_model_when_no_path_is_given(text: str, graded: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(graded), "--json"])
    assert done.exit_code == 0, done.output
    written = Path(json.loads(done.stdout)["report"])
    assert written == graded.parent / "report.html"
    assert written.read_text() == text


def test_page_shows_machines_side_by_side_and_marks_the_worst(graded: Path, certify_small: Callable[..., Any]) -> None:
    other = certify_small(header={"device": {"processor": "AMD EPYC 9R14 96-Core Processor"}}, ratio=0.6, seed=6)
    shown = Read(report(graded, beside=[other.path])).text
    assert "The worst letter is F on AMD EPYC 9R14, 2 threads." in shown and "F worst" in shown
    assert "On several machines" not in Read(report(graded)).text


def test_report_refuses_another_job_next_to_it(graded: Path, certify_small: Callable[..., Any]) -> None:
    other = certify_small(samples=1400, both=1380)
    with pytest.raises(UsageError, match="different test data"):
        report(graded, beside=[other.path])


def test_page_states_carbon_without_embodied_emissions_when_only_an_intensity_is_given(text: str, graded: Path) -> None:
    assert "ISO/IEC 21031" not in text
    assert "excluding embodied emissions M" in Read(report(graded, carbon_intensity=400.0)).text
    full = Read(report(graded, carbon_intensity=400.0, embodied=0.25)).text
    assert "M = 250 mg as given" in full and "250 mg" in full and "not signed" in full


def test_page_refers_to_nothing_external(text: str) -> None:
    read = Read(text)
    links = {value for name, value in read.attributes if name in ("href", "src", "srcset", "action", "data")}
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert "url(" not in text
    assert "@import" not in text
    policy = next(value for name, value in read.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_page_has_every_id_once_when_it_holds_many_drawings(text: str) -> None:
    ids = [value for name, value in Read(text).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    spoken = [part for name, value in Read(text).attributes if name == "aria-labelledby" for part in value.split()]
    assert set(spoken) <= set(ids)


def test_page_says_why_and_claims_no_saving_when_model_is_refused(certify_small: Callable[..., Any]) -> None:
    read = Read(report(certify_small(null_bias=0.2).path))
    assert "not graded" in read.text
    assert "Guard null_holds failed" in read.text
    assert "✗ FAIL" in read.text
    assert "less energy" not in read.text
    assert "break even" not in read.text


def test_page_lists_failed_guard_before_the_others_when_there_is_one(certify_small: Callable[..., Any]) -> None:
    read = Read(report(certify_small(null_bias=0.2).path))
    assert read.text.index("✗ FAIL") < read.text.index("✓ pass")


def test_page_marks_energy_plainly_when_it_is_modelled(certify_small: Callable[..., Any]) -> None:
    text = report(certify_small(level="modelled").path)
    assert "Modelled, not metered" in Read(text).text
    assert "energy per inference (modelled)" in Read(text).text
    assert 'class="warning"' in text


def test_page_omits_passes_when_the_lineage_is_missing(graded: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "evidence.jsonl"):
        shutil.copyfile(graded.parent / name, tmp_path / name)
    read = Read(report(tmp_path / "model.onnx"))
    assert ("id", "passes") not in set(read.attributes)
    assert ("id", "windows") in set(read.attributes)


@pytest.mark.parametrize("name", ["evidence.jsonl", "lineage.json", "label.svg", "certificate.json"])
def test_report_names_the_check_when_a_sidecar_file_was_changed(graded: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(graded.parent, tmp_path / "out")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"0", b"1", 1))
    with pytest.raises(CertificateError, match="not valid"):
        report(folder / "model.onnx")


def test_page_escapes_text_when_every_free_field_is_hostile(
    certify_small: Callable[..., Any], make_row: Callable[..., dict[str, Any]]
) -> None:
    hostile = make_row(HOSTILE, 5, 5, 0.5, 1.0)
    hostile["declined"] = [{"what": HOSTILE, "why": HOSTILE}]
    path = certify_small(
        model=HOSTILE,
        header={"device": {"processor": HOSTILE, HOSTILE: HOSTILE}, "baseline_origin": HOSTILE},
        lineage={"rows": [hostile]},
        observations={
            "node_costs": {"candidate": {"nodes": [{"name": HOSTILE, "operator": HOSTILE, "share": 0.5}]}},
            "classes": {"names": [HOSTILE] * 10},
        },
    ).path
    _assert_harmless(report(path))


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=60))
def test_page_keeps_its_elements_for_any_name(sidecars: Sidecars, name: str) -> None:
    class Renamed(Certificate):
        @property
        def predicate(self) -> dict[str, Any]:
            signed = sidecars.certificate.predicate
            return {**signed, "model": {**signed["model"], "name": f"{name}{HOSTILE}"}}

    _assert_harmless(page(Sidecars(Renamed(sidecars.certificate.content), sidecars.evidence, sidecars.lineage)))


JSON = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just([]) | st.just({})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_page_raises_only_certificate_error_when_a_value_is_replaced(sidecars: Sidecars, data: st.DataObject) -> None:
    values = json.loads(json.dumps(sidecars.certificate.predicate))
    place: Any = values
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.integers(0, 5)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(JSON)

    class Changed(Certificate):
        @property
        def predicate(self) -> dict[str, Any]:
            return values  # type: ignore[no-any-return]

    try:
        _assert_harmless(page(Sidecars(Changed(sidecars.certificate.content), sidecars.evidence, sidecars.lineage)))
    except CertificateError:
        return


@pytest.mark.parametrize("end", ["low", "high"])
def test_page_says_unbounded_when_an_interval_is(sidecars: Sidecars, end: str) -> None:
    values = json.loads(json.dumps(sidecars.certificate.predicate))
    values["profile"]["estimates"]["relative_loss_percent"][end] = None

    class Changed(Certificate):
        @property
        def predicate(self) -> dict[str, Any]:
            return values  # type: ignore[no-any-return]

    assert "unbounded" in page(Sidecars(Changed(sidecars.certificate.content), sidecars.evidence, None))


def _assert_harmless(text: str) -> None:
    read = Read(text)
    assert read.tags <= SAFE_TAGS
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("src", "style")]
    text.encode()


def test_tag_escapes_text_and_keeps_markup_when_both_are_given() -> None:
    made = tag("p", "a < b & c", tag("b", "bold"), None, title="<&>")
    assert made == '<p title="&lt;&amp;&gt;">a &lt; b &amp; c<b>bold</b></p>'


@given(text=st.text(), attribute=st.text())
def test_tag_yields_one_element_with_its_text_for_any_content(text: str, attribute: str) -> None:
    read = Read(tag("p", text, title=attribute))
    assert read.tags == {"p"}
    assert [name for name, _ in read.attributes] == ["title"]
    assert isinstance(joined(text, tag("b")), Markup)
