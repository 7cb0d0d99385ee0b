"""Names that could pass for others are not signed nor believed, and the baseline's contract is the one in its file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import certify.attest.statement as statement
from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation
from certify.core.finding import Finding
from certify.present.wording import circumstances

_SPEC = importlib.util.spec_from_file_location("papers_of_attest", Path(__file__).with_name("conftest.py"))
assert _SPEC is not None and _SPEC.loader is not None
_papers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_papers)
contract, write_papers = _papers.contract, _papers.write_papers

CYRILLIC = "R\u0435sNet-50, as published"
Builder = Callable[..., Evidence]


def failed(model: Path, key: SigningKey) -> list[str]:
    return [check.name for check in verify(model, trust=[key.public]).checks if check.outcome == "fail"]


def renamed(evidence: Evidence, what: str, text: str) -> Evidence:
    header = evidence.header
    if what == "origin":
        return replace(evidence, header=replace(header, baseline_origin=text))
    changed = {**getattr(header, what), ("name" if what == "data" else "processor"): text}
    return replace(evidence, header=replace(header, **{what: changed}))


@pytest.mark.parametrize("what", ["origin", "data", "device"])
def test_text_is_neither_signed_nor_trusted_when_it_mixes_scripts(
    what: str, tmp_path: Path, normalised: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    evidence = renamed(certified_evidence(), what, CYRILLIC)
    with pytest.raises(CertificateError, match="CYRILLIC SMALL LETTER IE"):
        write_papers(tmp_path / "out", normalised, evidence, key)
    with mock.patch.object(statement, "first_look_alike", return_value=None):  # a changed leanmark signs it
        model = write_papers(tmp_path / "out", normalised, evidence, key)
    assert failed(model, key) == ["names_of_one_script"]
    passing = Finding("names_of_one_script", "pass", "It is disabled.")
    with mock.patch("certify.attest.verify.check_names", return_value=passing):
        assert failed(model, key) == []


def test_japanese_text_with_latin_is_signed(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    evidence = renamed(certified_evidence(), "origin", "ResNet-50、ここで学習したモデル")
    assert failed(write_papers(tmp_path / "out", normalised, evidence, key), key) == []


def fed(evidence: Evidence, declared: str | None = None, **changes: Any) -> Evidence:
    """Evidence of a baseline with another contract."""
    told = {"baseline": contract(**changes).to_json(), "candidate": contract().to_json(), "declared": declared}
    others = [one for one in evidence.observations if one.name != "contracts"]
    return replace(evidence, observations=(*others, Observation("contracts", told)))


def test_contract_is_found_when_it_differs_from_that_in_the_baseline_file(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    """The size may differ, so only the file tells that the stated contract is another."""
    evidence = fed(certified_evidence(), height=16, width=16)
    model = write_papers(tmp_path / "out", normalised, evidence, key)
    assert failed(model, key) == ["contracts_match"]
    with ExitStack() as stack:
        stack.enter_context(mock.patch("certify.assessments.efficiency.facts.contract_checks", return_value=[]))
        assert failed(model, key) == []


def test_declared_difference_is_shown_on_the_label(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    evidence = fed(certified_evidence(), "the new camera needs it", mean=(0.4, 0.4, 0.4))
    model = write_papers(tmp_path / "out", normalised, evidence, key)
    found = verify(model, trust=[key.public]).certificate
    assert found is not None and not found.claims.refused
    rows = dict(circumstances(found.claims))  # type: ignore[arg-type]
    assert rows["Contracts"] == "differ between the models, their maker says: the new camera needs it"
    assert found.predicate["baseline"]["preprocess"]["mean"] == [0.4] * 3


def test_differing_contracts_are_refused_when_nothing_was_declared(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    model = write_papers(tmp_path / "out", normalised, fed(certified_evidence(), mean=(0.4, 0.4, 0.4)), key)
    found = verify(model, trust=[key.public]).certificate
    assert found is not None and found.claims.refused
    assert any("same_contract" in reason and "mean" in reason for reason in found.claims.reasons)
