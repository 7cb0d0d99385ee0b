"""A job on private data: no byte of a public file names a sample or a seed, and an auditor can judge the rest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from certify.assessments.efficiency.guards import NEED_ROWS
from certify.attest.audit import audit
from certify.attest.auditor import Access
from certify.attest.pack import pack
from certify.core.errors import UsageError
from certify.core.private_data import AuditorBinding, DataKey
from certify.core.schema import validate
from certify.data import IMAGENET_MEAN, IMAGENET_STD
from certify.measure.plan import Plan
from compress.job import pipeline, recipe

SEED = 918273645
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.05, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False, seed=SEED)
SMALL = recipe.parse("name: small\npasses:\n  - finetune: {epochs: 1}\n  - quantize_static: {samples: 16}\n", "s.yaml")
PIXELS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
KEY = DataKey(bytes(range(32)))


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp(name)))


def public_files(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and "auditor" not in path.relative_to(out).parts]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def names_of(dataset, keyed: bool) -> set[str]:
    """Digests of all samples and parts, plain and keyed."""
    found = set()
    for data in (dataset, dataset.keyed(KEY)) if keyed else (dataset,):
        for split in data.parts.values():
            found |= {*split.digests(), split.whole_digest()}
    return found


def _leaks(files: dict[str, bytes], needles: set[str]) -> list[str]:
    return [
        f"{name}: {needle[:12]}"
        for name, content in files.items()
        for needle in needles
        if needle.encode() in content or (len(needle) == 64 and bytes.fromhex(needle) in content)
    ]


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory) -> Path:
    from compress.testing.networks import network

    out = tmp_path_factory.mktemp("job") / "out"
    pipeline.run(
        network("residual"), SMALL, dataset, out=out, plan=QUICK, seed=SEED, preprocess=PIXELS, data_key=KEY,
        progress=False,
    )  # fmt: skip
    return out


def test_public_files_name_neither_a_sample_nor_the_seed(made: Path, dataset) -> None:
    files = public_files(made)
    assert {"evidence.jsonl", "certificate.json", "lineage.json", "model.onnx", "label.svg"} <= set(files)
    samples = names_of(dataset, keyed=True) - {dataset.keyed(KEY).test_digest()}  # one keyed digest of the whole test
    assert len(samples) > 500
    assert _leaks(files, samples | {str(SEED), KEY.secret.hex(), dataset.spec}) == []
    pack(made)
    packed = {"pack": Path(f"{made}.zip").read_bytes()}
    assert _leaks(packed, samples | {str(SEED)}) == [] and b"auditor/" not in packed["pack"]


def test_leak_search_finds_planted_values(made: Path, dataset) -> None:
    private = {path.name: path.read_bytes() for path in (made / "auditor").iterdir()}
    assert set(private) == {"efficiency.jsonl", "lineage.json"}
    assert _leaks(private, set(dataset.keyed(KEY).test.digests())) and _leaks(private, {str(SEED)})
    assert _leaks(private, names_of(dataset, keyed=False)) == []  # keyed there too


def paths(values: Any, at: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """All values of a JSON document that are not objects or lists, by their path."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    if not isinstance(values, dict | list):
        return {at: values}
    return {path: value for name, each in items for path, value in paths(each, (*at, name)).items()}


def test_lineage_states_touches_and_neither_seed_nor_numbers(made: Path, dataset) -> None:
    public = json.loads((made / "lineage.json").read_text())
    validate(public, "lineage-1")
    assert public["seed"] is None and public["data"]["digests"] == public["data"]["counts"] == {}
    whole = (made / "auditor" / "lineage.json").read_bytes()
    assert public["auditor"] == AuditorBinding.of(whole, KEY).to_json()
    assert json.loads(whole)["data"]["digests"]["train"] == dataset.keyed(KEY).train.whole_digest()
    assert public["data"]["spec"] == "withheld" and json.loads(whole)["data"]["spec"] == dataset.spec
    assert set(public["auditor"]) == {"sha256", "key"}, "the size of the auditor file would give the number of samples"
    assert not (counted := [path for path in paths(public) if "samples" in str(path[-1]).split("_") and "done" in path])
    assert ("rows", 1, "done", "calibration_samples") in paths(json.loads(whole)), counted
    assert "samples" in json.loads(whole)["export"]["parity"] and "samples" not in public["export"]["parity"]
    shares = {path: value for path, value in paths(public).items() if path[-1] == "validation_accuracy"}
    assert len(shares) == 4 and all(value == round(value, 2) for value in shares.values())
    touched = [row["touched"] for row in public["rows"]]
    assert touched[0]["train"] == ["raw"] and touched[0]["validation"] == ["raw"]
    assert "train" not in touched[1] and touched[1]["calibration"] == ["raw"]
    assert public["baseline"]["touched"]["validation"] == ["raw"] and public["export"]["touched"]


def test_auditor_judges_what_is_unknown_in_public(made: Path) -> None:
    public = audit(made / "model.onnx")
    assert public.agrees and {row.name for row in public.guards if row.derived == "unknown"} >= set(NEED_ROWS)
    check = public.verification.check("private_rows")
    assert check is not None and check.outcome == "skipped"
    found = audit(made / "model.onnx", access=Access((made / "auditor" / "efficiency.jsonl",), KEY))
    check = found.verification.check("private_rows")
    assert check is not None and check.outcome == "pass", str(check)
    assert len(found.evidence.predictions) == 64


def test_test_digest_is_keyed(made: Path, dataset) -> None:
    evidence = (made / "evidence.jsonl").read_bytes().splitlines()[0]
    header = json.loads(evidence)
    assert header["data"]["test_digest"] == dataset.keyed(KEY).test_digest() != dataset.test_digest()
    keyed = dataset.keyed(KEY).test
    assert keyed.digest(0) == KEY.keyed(dataset.test.digest(0)) != hashlib.sha256(dataset.test.digest(0).encode())
    assert np.array_equal(keyed.image(0), dataset.test.image(0)) and keyed.subset([3]).digest(0) == keyed.digest(3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"keep_data": True}, "exclude each other"), ({"metric": "top5"}, "each sample.s score")],
)
def test_private_data_are_refused_before_the_work(
    model: nn.Module, dataset, tmp_path: Path, options, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        pipeline.run(
            model, SMALL, dataset, out=tmp_path / "out", preprocess=PIXELS, data_key=KEY, progress=False, **options
        )
    assert not (tmp_path / "out").exists()
