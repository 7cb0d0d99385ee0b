from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

import certify.core.schema
from certify.assessment.profile import Profile
from certify.assessments.efficiency.assessment import Efficiency
from certify.assessments.efficiency.grade import Grade
from certify.attest.keys import generate
from certify.attest.verification import Verification
from certify.core.estimate import Estimate
from certify.core.private_data import DataKey
from certify.data.images import ImagePreprocess
from certify.measure.plan import Plan

Run = Callable[..., Result]
Make = Callable[..., Path]

FLAGS = [
    "--input-size", "8x8", "--colour", "RGB", "--scale", "255", "--mean", "0.5,0.4,0.3", "--std", "1,1,1",
    "--layout", "NCHW", "--resize", "none", "--crop", "none", "--interpolation", "bilinear",
]  # fmt: skip

EXAMPLES = Path(certify.core.schema.__file__).parent / "examples"
EXAMPLE = json.loads((EXAMPLES / "certificate-1.graded.json").read_text())["predicate"]
PROFILE = Profile({"macs_candidate": Estimate.exact(4e9, "1", "count")}, ())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the program asked of certify.api, which measures nothing here."""
    calls: dict[str, Any] = {}

    def certify(candidate: Path, **settings: Any) -> SimpleNamespace:
        calls.update(candidate=candidate, **settings)
        grade = Grade("C", True, 6.1, 0.243, 0.88, (), ())
        files = {"model.onnx": Path("out/model.onnx")}
        result = {"grade": grade.to_json(), "profile": PROFILE.to_json(), "files": {"model.onnx": "out/model.onnx"}}
        claims = Efficiency().claims({**EXAMPLE, "grade": grade.to_json()}, "ab" * 32)
        certificate = SimpleNamespace(claims=claims)
        return SimpleNamespace(
            certificate=certificate,
            profile=PROFILE,
            grade=grade,
            files=files,
            model=files["model.onnx"],
            to_json=lambda: result,
        )

    monkeypatch.setattr("certify.api.certify", certify)
    return calls


def test_certify_passes_every_flag_on(leanmark: Run, onnx_file: Make, asked: dict[str, Any]) -> None:
    candidate, baseline = onnx_file("small.onnx"), onnx_file("original.onnx")
    key = generate(candidate.with_name("release.key"))
    result = leanmark(
        "certify", candidate, "--baseline", baseline, "--data", "mnist5k", "--out", "out", "--threads", 2, "--batch", 4,
        "--time-limit", 30, "--precision", 2.5, "--seed", 7, "--origin", "from a zoo",
        "--contracts-differ", "a new camera", "--key", candidate.with_name("release.key"), *FLAGS,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Grade C~" in result.stdout
    assert asked.pop("progress") is not None
    assert asked.pop("signer").public == key.public
    assert asked == {
        "candidate": candidate,
        "baseline": baseline,
        "data": "mnist5k",
        "out": Path("out"),
        "origin": "from a zoo",
        "contracts_differ": "a new camera",
        "keep_data": False,
        "edition": "2026",
        "baseline_preprocess": None,
        "plan": Plan(threads=2, batch=4, time_limit_s=30, wanted_half_width=0.025, seed=7),
        "preprocess": ImagePreprocess(
            "pixels", "scores", 8, 8, "NCHW", "RGB", 255.0, (0.5, 0.4, 0.3), (1.0, 1.0, 1.0), None, "none",
            "bilinear", "logits",
        ),
    }  # fmt: skip


def test_certify_takes_the_contract_from_the_file_when_none_is_given(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any]
) -> None:
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "mnist5k", "--out", "out")
    assert result.exit_code == 0, result.output
    assert asked["preprocess"] is None
    assert asked["plan"] == Plan()


def test_certify_prints_json_alone_when_asked(leanmark: Run, onnx_file: Make, asked: dict[str, Any]) -> None:
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "mnist5k", "--out", "out", "--json")
    assert json.loads(result.stdout)["grade"]["letter"] == "C"
    assert asked["candidate"] == model


def test_certify_refuses_when_file_and_flags_are_both_given(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any], tmp_path: Path
) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text("height: 8\n")
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "x", "--out", "o", "--preprocess", contract,
                      *FLAGS)  # fmt: skip
    assert result.exit_code == 2
    assert "use either the file or the flags" in result.stderr
    assert not asked


def test_certify_names_missing_flags_when_contract_is_incomplete(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any]
) -> None:
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "x", "--out", "o", *FLAGS[:-4])
    assert result.exit_code == 2
    assert "--crop, --interpolation are missing" in result.stderr
    assert not asked


def test_certify_asks_which_input_when_there_are_several(leanmark: Run, onnx_file: Make, asked: dict[str, Any]) -> None:
    model = onnx_file(inputs=("left", "right"))
    arguments = ("certify", model, "--baseline", model, "--data", "x", "--out", "o", *FLAGS)
    result = leanmark(*arguments)
    assert result.exit_code == 2
    assert "2 candidates for --input-name (left, right)" in result.stderr
    assert leanmark(*arguments, "--input-name", "left").exit_code == 0
    assert (asked["preprocess"].input_name, asked["preprocess"].output_name) == ("left", "scores")


@pytest.mark.parametrize(
    ("flag", "value"), [("--input-size", "224"), ("--mean", "a,b"), ("--resize", "big"), ("--colour", "CMYK")]
)
def test_certify_explains_when_a_flag_is_malformed(leanmark: Run, onnx_file: Make, flag: str, value: str) -> None:
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "x", "--out", "o", flag, value)
    assert result.exit_code == 2
    assert flag in result.stderr
    assert value in result.stderr


def test_certify_names_the_file_when_it_is_missing(leanmark: Run, onnx_file: Make) -> None:
    result = leanmark("certify", "nothing.onnx", "--baseline", onnx_file(), "--data", "x", "--out", "o")
    assert result.exit_code == 2
    assert "'nothing.onnx' does not exist" in result.stderr


def test_certify_refuses_when_plan_is_out_of_range(leanmark: Run, onnx_file: Make, asked: dict[str, Any]) -> None:
    model = onnx_file()
    result = leanmark("certify", model, "--baseline", model, "--data", "x", "--out", "o", "--batch", 0)
    assert result.exit_code == 2
    assert "'batch' setting must be in [1, 4096], got 0" in result.stderr
    assert not asked


def test_keygen_creates_a_private_file_when_none_exists(leanmark: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "release.key"
    result = leanmark("keygen", "--out", path, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Path(shown["public_key"]).is_file()
    secret = "".join(path.read_text().splitlines()[1:-1])
    assert secret not in result.output
    assert len(shown["key_id"]) == 64


def test_keygen_creates_a_data_key_and_never_replaces_one(leanmark: Run, tmp_path: Path) -> None:
    path = tmp_path / "data.key"
    made = leanmark("keygen", "--data-key", str(path))
    assert made.exit_code == 0 and DataKey.read(path).id in made.output and path.stat().st_mode & 0o077 == 0
    again = leanmark("keygen", "--data-key", str(path))
    assert again.exit_code == 2 and "already exists" in again.output
    assert leanmark("keygen", "--data-key", str(path), "--rotate").exit_code == 2
    refused = leanmark("keygen", "--data-key", str(tmp_path / "b.key"), "--out", str(tmp_path / "c.key"))
    assert refused.exit_code == 2 and not (tmp_path / "b.key").exists()


def test_keygen_keeps_key_when_one_exists(leanmark: Run, tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    leanmark("keygen", "--out", path)
    before = path.read_bytes()
    result = leanmark("keygen", "--out", path)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert path.read_bytes() == before
    assert leanmark("keygen", "--out", path, "--force").exit_code == 0
    assert path.read_bytes() != before


def test_verify_fails_with_one_sentence_when_file_has_no_certificate(leanmark: Run, onnx_file: Make) -> None:
    result = leanmark("verify", onnx_file())
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "No certificate was found in" in result.stderr


@pytest.mark.parametrize("code", [0, 1, 4])
def test_verify_exits_with_the_code_of_its_finding(
    leanmark: Run, onnx_file: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Found:
        exit_code = code

        def __str__(self) -> str:
            return "+ seal: fine\x1b[31m\nvalid: grade C~."

        def to_json(self) -> dict[str, Any]:
            return {"exit_code": code}

    monkeypatch.setattr("certify.attest.verify.verify", lambda *arguments, **named: Found())
    result = leanmark("verify", onnx_file())
    assert result.exit_code == code
    assert result.stdout == "+ seal: fine [31m\nvalid: grade C~.\n"
    result = leanmark("verify", onnx_file(), "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"exit_code": code}


def test_label_fails_with_one_sentence_when_file_has_no_certificate(leanmark: Run, onnx_file: Make) -> None:
    result = leanmark("label", onnx_file())
    assert result.exit_code == 1
    assert "No certificate was found in" in result.stderr


def test_label_writes_svg_and_png_when_certificate_is_read(
    leanmark: Run, onnx_file: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"><rect width="9" height="9"/></svg>'
    monkeypatch.setattr(
        "certify.attest.verify.require_derived", lambda *_, **__: (None, Verification(tmp_path, (), None))
    )
    monkeypatch.setattr("certify.present.label.sidecars.label_of", lambda certificate, others: svg)
    result = leanmark("label", onnx_file(), "--out", tmp_path / "images" / "net.v1", "--width", 400)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "images" / "net.v1.svg").read_text() == svg
    image = (tmp_path / "images" / "net.v1.png").read_bytes()
    assert int.from_bytes(image[16:20], "big") == 400
    assert str(tmp_path / "images" / "net.v1.svg") in result.stdout


def test_version_is_printed_when_asked(leanmark: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3" if name == "leanmark" else "")
    assert leanmark("--version").output == "leanmark, version 1.2.3\n"
