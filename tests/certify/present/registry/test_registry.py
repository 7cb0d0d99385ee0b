"""A registry is built, checks every certificate, hides what does not hold, and opens and filters in a browser."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from certify.attest.certificate import Certificate
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import new_key
from certify.attest.pack import pack
from certify.attest.revoked_models import revoke_models
from certify.attest.signed import sign_statement
from certify.cli.main import main
from certify.core.errors import UsageError
from certify.scorecard.mark import Scheme
from certify.workflows.declaration import declare
from certify.workflows.registry_page import Registry, build
from certify.workflows.scoring import score_model, sign_score

MADE = "2026-06-01T00:00:00Z"
LATER = "2028-06-01T00:00:00Z"
HOSTILE = "</script></style><script>document.title='pwned'</script><img src=http://example.org/x onerror=alert(1)>"


def _browsing() -> ModuleType:
    """How tests of the report open pages."""
    path = Path(__file__).parents[1] / "report" / "test_browser.py"
    spec = importlib.util.spec_from_file_location("leanmark_tests_browsing", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


browsing = _browsing()
in_a_browser = pytest.mark.skipif(
    browsing.browser is None, reason="no Chromium is installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def folder(certify_small: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that hold, one of them a pack, one that was altered, one taken back, and one with declarations."""
    folder = tmp_path_factory.mktemp("certified")
    for name, knobs in {
        "good": {}, "packed": {"ratio": 0.5, "model": "packed"}, "altered": {}, "taken": {},
        "told": {"model": HOSTILE},
    }.items():  # fmt: skip
        certified = certify_small(**knobs)
        shutil.copytree(certified.path.parent, folder / name)
        if name == "packed":
            pack(folder / name, folder / "packed.zip")
            shutil.rmtree(folder / name)
        if name == "altered":
            (folder / name / "evidence.jsonl").write_bytes(b"{}\n")
        if name == "taken":
            digest = certify_small_digest(certified.path)
            signed = revoke_models({"model.onnx": digest}, "a record was withdrawn", "ab" * 32, certified.key)
            (folder / name / "revoked.json").write_bytes(signed.content)
        if name == "told":
            words = folder / "d.yaml"
            words.write_text("declaration: leanmark/declarations/1\npeople: judged\nfaces: no\n")
            declare(folder / name / "model.onnx", words, signer=certified.key)
    return folder


def certify_small_digest(path: Path) -> dict[str, str]:
    return dict(Certificate.read(path).subject_digest)


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return build(folder, tmp_path_factory.mktemp("site"), made=MADE)


def test_every_model_of_the_folder_is_listed_with_its_state(site: Registry) -> None:
    states = {one.place: one.state for one in site.entries}
    assert states == {
        "altered": "not valid", "good": "valid", "packed.zip": "valid", "taken": "withdrawn", "told": "valid",
    }  # fmt: skip
    reasons = {one.place: " ".join(one.reasons) for one in site.entries}
    assert "evidence_digest" in reasons["altered"] and "a record was withdrawn" in reasons["taken"]


def test_nothing_is_shown_about_a_model_that_is_not_valid(site: Registry) -> None:
    page = site.page.read_text()
    rows = {row.split('data-state="')[1].split('"')[0]: row for row in page.split("<tr ")[1:] if "data-state" in row}
    assert {"valid", "withdrawn", "not valid"} == set(rows)
    for state in ("withdrawn", "not valid"):
        assert "less energy" not in rows[state] and "<a href" not in rows[state]
    assert "less energy" in rows["valid"]


def test_page_names_no_folder_of_the_machine_it_was_built_on(folder: Path, site: Registry, tmp_path: Path) -> None:
    (tmp_path / "in" / "broken").mkdir(parents=True)
    (tmp_path / "in" / "broken" / "certificate.json").write_text("{}")
    (tmp_path / "in" / "bad.zip").write_bytes(b"no pack")
    other = build(tmp_path / "in", tmp_path / "out", made=MADE)
    assert [one.state for one in other.entries] == ["not valid", "not valid"]
    assert str(tmp_path) not in other.page.read_text() and str(folder) not in site.page.read_text()


def test_reports_and_statements_are_next_to_the_page(site: Registry) -> None:
    for one in site.entries:
        if one.report is None:
            continue
        report = site.page.parent / one.report
        assert report.is_file() and (report.parent / "certificate.json").is_file()
    told = next(one for one in site.entries if one.place == "told")
    assert (site.page.parent / str(told.report)).with_name("statements").joinpath("declarations.json").is_file()


def test_page_is_the_same_when_rebuilt_from_the_same_folder(folder: Path, site: Registry, tmp_path: Path) -> None:
    assert build(folder, tmp_path, made=MADE).page.read_bytes() == site.page.read_bytes()


def test_models_are_shown_as_expired_when_their_records_are_too_old(folder: Path, tmp_path: Path) -> None:
    later = build(folder, tmp_path, made=LATER)
    good = next(one for one in later.entries if one.place == "good")
    assert good.state == "expired" and "the maximum is 730" in good.reasons[0]
    page = later.page.read_text()
    assert 'id="pareto-0' not in page and "less energy" in page


def test_score_expiry_and_points_are_shown_when_a_scorecard_is_next_to_the_model(
    certify_small: Callable[..., Any], tmp_path: Path
) -> None:
    made = certify_small()
    sign_score(score_model(made.path), made.key)
    entry = build(made.path.parent, tmp_path / "now", made="2026-12-01T00:00:00Z").entries[0]
    assert entry.state == "valid" and any("points" in one.text for one in entry.claims)
    late = build(made.path.parent, tmp_path / "late", made=LATER).entries[0]
    assert late.state == "expired" and any("The efficiency was recorded" in reason for reason in late.reasons)


def test_no_level_is_on_the_page_when_the_maker_forged_a_mark(
    site: Registry, certify_small: Callable[..., Any], tmp_path: Path
) -> None:
    made = certify_small()
    sign_score(score_model(made.path), made.key)
    counted = made.path.parent / "statements" / "scorecard.json"
    predicate = json.loads(parse_envelope(counted.read_bytes()).payload)["predicate"]
    forged = {
        "scheme": Scheme("Example", "Owner", "https://example.org", "Body", "none", "c@example.org").to_json(),
        "level": "platinum", "edition": predicate["edition"], "until": "2028-01-01T00:00:00Z",
        "checked": "cross-checked", "verifier": None, "fresh_data": None,
    }  # fmt: skip
    about = [
        json.loads(parse_envelope(made.path.with_name("certificate.json").read_bytes()).payload)["subject"][0],
        {"name": "scorecard.json", "digest": {"sha256": hashlib.sha256(counted.read_bytes()).hexdigest()}},
    ]
    second = new_key()
    mark = made.path.parent / "marks" / f"{second.public.key_id}.json"
    mark.parent.mkdir()
    mark.write_bytes(sign_statement("mark-1", about, forged, second).content)
    other = build(made.path.parent, tmp_path, made="2026-12-01T00:00:00Z", trust=[made.key.public])
    for text in (site.page.read_text().lower(), other.page.read_text().lower()):
        assert not any(level in text for level in ("silver", "gold", "platinum"))
    assert "you do not trust its key" in " ".join(other.entries[0].marks)  # the mark was read, and not believed


def test_signer_is_shown_as_trusted_only_when_named(certify_small: Callable[..., Any], tmp_path: Path) -> None:
    made = certify_small()
    page = build(made.path.parent, tmp_path / "a", made=MADE).page.read_text()
    assert "nobody here vouches for" in page
    page = build(made.path.parent, tmp_path / "b", made=MADE, trust=[made.key.public]).page.read_text()
    assert "that the maker of this page trusts" in page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"folder": "nowhere"}, "does not exist"),
        ({"folder": "empty"}, "No certified model was found below"),
        ({"folder": "empty", "made": "yesterday"}, "must be UTC such as"),
    ],
)
def test_build_is_refused_in_one_sentence_when_input_is_invalid(
    tmp_path: Path, arguments: dict[str, str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=sentence):
        build(tmp_path / arguments.pop("folder"), tmp_path / "out", **arguments)  # type: ignore[arg-type]


def test_command_lists_states_and_counts(folder: Path, tmp_path: Path) -> None:
    command = ["registry", "build", str(folder), "--out", str(tmp_path / "site"), "--made", MADE]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert "3 valid, 1 withdrawn, 1 not valid" in told.stdout and "withdrawn: taken: " in told.stdout
    shown = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert shown["counts"] == {"valid": 3, "expired": 0, "withdrawn": 1, "not valid": 1}
    assert {one["place"] for one in shown["models"]} == {"altered", "good", "packed.zip", "taken", "told"}


@in_a_browser
def test_page_opens_without_console_messages_or_requests_when_a_name_is_hostile(site: Registry, tmp_path: Path) -> None:
    opened = browsing.open_page(site.page, tmp_path)
    assert (opened.console, opened.requests) == ([], [])
    assert "<title>Certified models" in opened.document and "5 shown" in opened.document
    assert 'class="noscript"' not in opened.document


@in_a_browser
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("q", "packed", 1), ("q", "PACKED valid", 1), ("q", "nothing", 0), ("state", "withdrawn", 1), ("state", "", 5),
     ("task", "classification of images", 3), ("device", "not stated", 2)],
)  # fmt: skip
def test_models_are_filtered_when_a_reader_types_or_selects(
    site: Registry, tmp_path: Path, name: str, value: str, shown: int
) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="{site.page.as_uri()}" width="1200" height="900"></iframe><script>onload=()=>{{'
        f"const page=frames[0].document,field=page.querySelector('[name={name}]');field.value={json.dumps(value)};"
        "field.dispatchEvent(new Event('input'));"
        'document.body.dataset.shown=page.querySelector("#shown").textContent;'
        'document.body.dataset.rows=[...page.querySelectorAll("tbody tr")].filter(e=>e.offsetHeight>0).length}</script>'
    )
    done = browsing.run(frame, tmp_path, *browsing.PHONE)
    assert f'data-shown="{shown} shown"' in done.stdout and f'data-rows="{shown}"' in done.stdout


@in_a_browser
def test_page_is_complete_when_scripts_are_disabled(site: Registry, tmp_path: Path) -> None:
    page = tmp_path / "still.html"
    page.write_text(site.page.read_text().split("<script>")[0])
    opened = browsing.open_page(page, tmp_path)
    assert opened.document.count("data-words") == 5 and 'class="noscript"' in opened.document


def test_signature_of_another_key_is_not_valid(certify_small: Callable[..., Any], tmp_path: Path) -> None:
    made = certify_small()
    folder = tmp_path / "in" / "forged"
    shutil.copytree(made.path.parent, folder)
    payload = Certificate.read(folder / "certificate.json").envelope.payload
    (folder / "certificate.json").write_bytes(sign(payload, new_key()).to_bytes())
    (entry,) = build(tmp_path / "in", tmp_path / "out", made=MADE).entries
    assert entry.state == "not valid" and not entry.claims
