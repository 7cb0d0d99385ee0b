"""The published schemas: strict, and an error names the field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.schema import SCHEMAS, load_schema, validate

HEX = "ab" * 32
ROW: dict[str, Any] = {
    "pass": "structured_prune",
    "version": 1,
    "stage": "torch",
    "config": {"macs_target": 0.5},
    "model_digest_in": HEX,
    "model_digest_out": HEX,
    "parameters": 1,
    "macs": 1,
    "bytes": 4,
    "validation_accuracy": 0.9,
    "seconds": 1.5,
    "energy_j": Estimate.exact(3.0, "J", "made up").to_json(),
    "done": {"steps": 3},
    "declined": [{"what": "head", "why": "the classes need it"}],
}
LINEAGE: dict[str, Any] = {
    "version": 1,
    "leanmark": "0.1.0",
    "model": {"spec": "resnet18", "origin": "trained here", "weights": None},
    "data": {"name": "mnist5k", "spec": "mnist5k", "digests": {"train": HEX, "test": None}, "counts": {"train": 3}},
    "recipe": {"name": "balanced", "digest": HEX, "passes": ["structured_prune"]},
    "seed": 0,
    "baseline": {
        "model_digest": HEX,
        "parameters": 1,
        "macs": 1,
        "bytes": 4,
        "validation_accuracy": None,
        "trained_here": True,
        "seconds": 0,
        "energy_j": None,
    },
    "rows": [ROW],
    "export": {
        "exporter": "dynamo",
        "opset": 18,
        "declined": [],
        "parity": {"samples": 64, "top1_agreement": 1.0, "max_relative_difference": 1e-5, "tolerance": 1e-3},
    },
    "artifacts": {"baseline.onnx": HEX},
}


@pytest.mark.parametrize("name", [*SCHEMAS, "common-1"])
def test_schema_is_valid_against_the_draft(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(f"/{name}.json")


def test_lineage_fits_when_complete() -> None:
    validate(LINEAGE, "lineage-1")
    validate({**LINEAGE, "export": None, "rows": []}, "lineage-1")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown member": (lambda v: v.update(more=1), r"\$ does"),
    "missing member": (lambda v: v.pop("rows"), r"\$ does"),
    "another version": (lambda v: v.update(version=2), r"\$\.version"),
    "stage": (lambda v: v["rows"][0].update(stage="jax"), r"\$\.rows\[0\]\.stage"),
    "pass missing": (lambda v: v["rows"][0].pop("pass"), r"\$\.rows\[0\]"),
    "accuracy over one": (lambda v: v["rows"][0].update(validation_accuracy=90.1), r"validation_accuracy"),
    "negative seconds": (lambda v: v["rows"][0].update(seconds=-1), r"seconds"),
    "energy as bare number": (lambda v: v["rows"][0].update(energy_j=3.0), r"energy_j"),
    "energy without unit": (lambda v: v["rows"][0]["energy_j"].pop("unit"), r"energy_j"),
    "declined without why": (lambda v: v["rows"][0]["declined"].append({"what": "x"}), r"declined\[1\]"),
    "digest in capitals": (lambda v: v["recipe"].update(digest=HEX.upper()), r"\$\.recipe\.digest"),
    "artifact in a folder": (lambda v: v["artifacts"].update({"../x": HEX}), r"\$\.artifacts"),
    "hidden artifact": (lambda v: v["artifacts"].update({".x": HEX}), r"\$\.artifacts"),
    "parity without samples": (lambda v: v["export"]["parity"].pop("samples"), r"parity"),
    "part of the data": (lambda v: v["data"]["counts"].update(dev=3), r"\$\.data\.counts"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_validate_names_the_field_when_the_lineage_does_not_fit(what: str) -> None:
    change, path = CHANGES[what]
    lineage = copy.deepcopy(LINEAGE)
    change(lineage)
    with pytest.raises(CertificateError, match=path):
        validate(lineage, "lineage-1")


@pytest.mark.parametrize("value", [None, [], 3, "text", json.loads("1e308")])
@pytest.mark.parametrize("name", SCHEMAS)
def test_validate_refuses_when_the_value_is_not_an_object(name: str, value: Any) -> None:
    with pytest.raises(CertificateError, match="does not fit"):
        validate(value, name)
