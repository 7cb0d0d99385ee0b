"""The workflows and templates of the repository are valid YAML and call what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize(
    "name",
    ["CITATION.cff", ".pre-commit-config.yaml"]
    + [str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github").rglob("*.yml"))],
)
def test_file_is_a_mapping_of_yaml(name: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)


def test_workflows_call_existing_makefile_targets_and_files() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    assert len(WORKFLOWS) >= 2
    for path in WORKFLOWS:
        jobs = yaml.safe_load(path.read_text())["jobs"].values()
        runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
        matrix = [str(value) for job in jobs for value in job.get("strategy", {}).get("matrix", {}).get("target", [])]
        called = [run.split()[1] for run in runs if run.startswith("make ") and "${{" not in run]
        assert {*called, *(value.split()[0] for value in matrix)} <= targets
        assert all((ROOT / run.split()[1]).is_file() for run in runs if run.startswith("bash "))


def test_citation_names_the_built_version() -> None:
    version = re.search(r"(?m)^version = (.+)$", (ROOT / "setup.cfg").read_text())
    assert version and yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version[1]


def test_oldest_and_newest_python_are_those_that_setup_declares() -> None:
    declared = re.findall(r"Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    checks = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text())
    assert checks["jobs"]["test"]["strategy"]["matrix"]["python"] == [declared[0], declared[-1]]
