"""What holds for every format: it is its own library's idea of valid, and its list of what it left out is true."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certify.assessments.efficiency.assessment import Efficiency
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, MissingExtra, UsageError
from certify.export import FORMATS, Export, cyclonedx, export
from certify.export.source import filled, is_included, pattern

Statement = dict[str, Any]
FORMAT_NAMES = sorted(FORMATS)
HEX = re.compile(r"[0-9a-f]{64}")
WORDS = {"graded": "refused", "refused": "graded", "pass": "unknown", "unknown": "pass", "fail": "pass"}
"""Another allowed word for each that stands in an enumeration."""

UNREADABLE = "\x1b[31m<script>alert(1)</script> {{7*7}} ${x} [a](javascript:x) `</td>\n# |"


def changed(value: Any, path: tuple[str, ...]) -> Any:
    """Another value that fits the same place."""
    if isinstance(value, bool):
        return not value
    if path[-1] == "low":
        return value - 1
    if path[-1] == "value":
        return value * 1.0001
    if path[-1] == "high":
        return value * 1.001 + 1
    if isinstance(value, int | float):
        return value + 1
    if path[-1] in ("letter", "point_letter"):
        return "G" if value != "G" else "F"
    if value in WORDS:
        return WORDS[value]
    if path[-1] == "evidence":
        return "modelled" if value != "modelled" else "proxy"
    if path[-1] == "level":
        return "proxy" if value == "modelled" else "wall"
    if path[-1] == "created":
        return value.replace("2026", "2025")
    if HEX.fullmatch(value):
        return f"{value[:-1]}{'0' if value[-1] != '0' else '1'}"
    return f"{value[:-1]}?"


def put(statement: Statement, path: tuple[str, ...]) -> None:
    """Change the field at a path."""
    place: Any = statement
    for key in path[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    key = int(path[-1]) if isinstance(place, list) else path[-1]
    place[key] = changed(place[key], path)


def written(statement: Statement, name: str, lineage: Statement | None = None) -> Export:
    """Of a statement that nobody signed, so that a change of one field changes no digest."""
    subject, digest = statement["subject"][0], "00" * 32
    certificate = SimpleNamespace(
        statement=statement, subject_name=subject["name"], subject_digest=subject["digest"], content=b"{}",
        digest=digest, claims=Efficiency().claims(statement["predicate"], digest),
    )  # fmt: skip
    return export(certificate, name, lineage)  # type: ignore[arg-type]


def split(statement: Statement, made: Export) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Paths of the fields that a document holds, and of those that it left out."""
    held, left_out = [], []
    for path in filled(statement):
        (left_out if ".".join(path) in made.left_out else held).append(path)
    return held, left_out


def one_of_each(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One path of each pattern; of the estimates the energy ratio's, whose value has room within its interval."""
    ratio_first = sorted(paths, key=lambda path: "energy_ratio" not in path)
    return list({pattern(".".join(path)): path for path in reversed(ratio_first)}.values())


@pytest.mark.parametrize("kind", ["graded", "modelled", "refused", "no meter"])
@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_export_is_the_same_when_repeated(
    certificates: dict[str, Certificate], lineage: Statement, name: str, kind: str
) -> None:
    first, second = (export(certificates[kind], name, lineage) for _ in range(2))
    assert first == second
    assert first.format == name
    assert first.content.endswith("\n")
    assert certificates[kind].digest in first.content


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("kind", ["modelled", "refused"])
def test_document_changes_when_a_field_it_includes_does(
    make_statement: Callable[[str], Statement], name: str, kind: str
) -> None:
    statement = make_statement(kind)
    before = written(statement, name)
    for path in one_of_each(split(statement, before)[0]):
        other = copy.deepcopy(statement)
        put(other, path)
        assert written(other, name).content != before.content, path


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("kind", ["graded", "modelled", "refused", "no meter"])
def test_document_is_unchanged_when_only_omitted_fields_change(
    make_statement: Callable[[str], Statement], name: str, kind: str
) -> None:
    statement = make_statement(kind)
    before = written(statement, name)
    assert before.left_out
    other = copy.deepcopy(statement)
    for path in split(statement, before)[1]:
        put(other, path)
    assert written(other, name).content == before.content


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_list_names_each_omitted_field_once(certificates: dict[str, Certificate], name: str) -> None:
    document = export(certificates["graded"], name)
    assert len(set(document.left_out)) == len(document.left_out)
    assert len(document.summary()) <= len(document.left_out)
    assert sum(int(found[1]) if (found := re.search(r"\((\d+)\)$", line)) else 1 for line in document.summary()) == len(
        document.left_out
    )
    assert document.to_json()["left_out"] == list(document.left_out)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_energy_is_marked_as_modelled_when_it_is(certificates: dict[str, Certificate], name: str) -> None:
    assert "modelled" in export(certificates["modelled"], name).content
    graded = json.dumps(export(certificates["graded"], name).content)
    assert "modelled by" not in graded and "(modelled)" not in graded


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_refusal_says_why_when_there_is_no_letter(certificates: dict[str, Certificate], name: str) -> None:
    certificate = certificates["refused"]
    assert certificate.predicate["grade"]["letter"] is None
    content = export(certificate, name).content
    assert "null_holds" in content.replace("\\_", "_")


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_text_of_the_certificate_stays_text_when_it_is_hostile(
    make_statement: Callable[[str], Statement], name: str
) -> None:
    statement = make_statement("graded")
    predicate = statement["predicate"]
    predicate["model"]["name"] = predicate["baseline"]["origin"] = predicate["data"]["name"] = UNREADABLE
    predicate["profile"]["guards"][0]["sentence"] = predicate["device"]["processor"] = UNREADABLE
    content = written(statement, name).content
    assert "\x1b" not in content
    if name == "hf-model-card":
        body = content.split("\n---\n", 1)[1]
        assert "<script" not in body and "[a](" not in body and "49" not in body.split("## Figures")[0]
    else:
        assert UNREADABLE in str(list(texts(json.loads(content)))) or repr(UNREADABLE)[1:-1] in str(
            list(texts(json.loads(content)))
        )


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def test_export_names_the_nearest_when_format_is_unknown(certificates: dict[str, Certificate]) -> None:
    with pytest.raises(UsageError, match="did you mean 'cyclonedx'"):
        export(certificates["graded"], "cyclondx")


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_export_names_the_extra_when_the_library_is_missing(
    certificates: dict[str, Certificate], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    real = builtins.__import__
    libraries = ("cyclonedx", "huggingface_hub", "in_toto_attestation", "spdx_python_model")

    def without(module: str, *arguments: Any, **settings: Any) -> Any:
        if module.partition(".")[0] in libraries:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return real(module, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install '\.\[export\]'"):
        export(certificates["graded"], name)


def test_export_is_refused_when_a_format_cannot_hold_a_value(
    make_statement: Callable[[str], Statement],
) -> None:
    statement = make_statement("graded")
    statement["predicate"]["created"] = "2026-13-41T00:00:00Z"  # fits the pattern of the schema
    with pytest.raises(CertificateError, match="cannot be written as cyclonedx"):
        written(statement, "cyclonedx")


@pytest.mark.parametrize(("name", "version"), [("cyclonedx", "V1_6"), ("cyclonedx-1.7", "V1_7")])
def test_validator_of_the_library_agrees(certificates: dict[str, Certificate], name: str, version: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = export(certificates["graded"], name)
    assert JsonStrictValidator(SchemaVersion[version]).validate_str(document.content) is None


@pytest.mark.parametrize("version", ["1.6", "1.7"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"serialNumber": "urn:uuid:none"},
        {"metadata": {"timestamp": "yesterday"}},
        {"metadata": {"component": {"type": "toaster", "name": "net"}}},
        {"metadata": {"component": {"type": "file", "name": "net", "licenses": [{"license": {"id": "none"}}]}}},
    ],
    ids=["key", "pattern", "format", "enumeration", "shared schema"],
)
def test_document_is_refused_when_it_breaks_the_official_schema(wrong: Statement, version: cyclonedx.Version) -> None:
    sound = {"bomFormat": "CycloneDX", "specVersion": version, "metadata": {"timestamp": "2026-11-27T00:00:00Z"}}
    cyclonedx._check(json.dumps(sound), version)
    with pytest.raises(CertificateError, match=f"does not conform to CycloneDX {version}"):
        cyclonedx._check(json.dumps({**sound, **wrong}), version)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cyclonedx", '"text classification"'),
        ("hf-model-card", "text-classification"),
        ("spdx3", "text classification"),
    ],
)
def test_task_is_about_text_when_the_model_takes_tokens(
    make_statement: Callable[[str], Statement], name: str, words: str
) -> None:
    statement = make_statement("graded")
    assert words not in written(statement, name).content
    statement["predicate"]["preprocess"] = {"kind": "tokens", "input_ids": "ids"}
    assert words in written(statement, name).content


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("predicate.grade.text", True), ("predicate.grade", False), ("predicate.device.processor", True),
        ("predicate.profile.guards.3.name", True), ("predicate.profile.guards.3.sentence", False),
        ("subject.0.name", True), ("predicateType", False), ("predicate.device.*", True), ("predicate.*.text", False),
    ],
)  # fmt: skip
def test_field_is_held_when_a_pattern_covers_it(path: str, held: bool) -> None:
    patterns = ("grade.text", "device", "profile.guards.*.name", "subject.*.name")
    assert is_included(tuple(path.split(".")), patterns) == held


def test_in_toto_gives_the_same_text_in_every_process(certificates: dict[str, Certificate], folder: Path) -> None:
    (folder / "certificate.json").write_bytes(next(iter(certificates.values())).content)
    code = (
        "import sys; from pathlib import Path; from certify.attest.certificate import Certificate; "
        "from certify.export import export; print(export(Certificate.read(Path(sys.argv[1])), 'in-toto', None).content)"
    )
    command = [sys.executable, "-c", code, str(folder / "certificate.json")]
    texts = set()
    for seed in ("1", "2"):  # of the hashes by which sets are ordered
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        texts.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(texts) == 1
