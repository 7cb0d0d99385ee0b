"""What setup.cfg ships is what the tree holds, and the base install stays the referee alone."""

from __future__ import annotations

import configparser
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_every_package_is_shipped(setup: configparser.ConfigParser) -> None:
    folders = {path.parent for house in ("certify", "compress") for path in (ROOT / house).rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(lines(setup["options"]["packages"])) == found | {"compress.recipes"}


def test_every_data_file_is_shipped(setup: configparser.ConfigParser) -> None:
    data = {package: lines(globs) for package, globs in setup["options.package_data"].items()}
    endings = ("yaml", "json", "css", "j2")
    kept = [*ROOT.glob("recipes/*.yaml"), *(path for end in endings for path in ROOT.glob(f"certify/**/*.{end}"))]
    assert {path.suffix.lstrip(".") for path in kept} == set(endings)
    for path in kept:
        own = path.relative_to(ROOT)
        packages = {"recipes": "compress.recipes"}
        for depth in range(1, len(own.parts)):
            package = ".".join(own.parts[:depth])
            rest = "/".join(own.parts[depth:])
            if any(fnmatch(rest, glob) for glob in data.get(packages.get(package, package), [])):
                break
        else:
            pytest.fail(f"{own} is in no package_data")


def test_base_install_contains_only_the_referee(setup: configparser.ConfigParser) -> None:
    base = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in lines(setup["options"]["install_requires"])}
    maker = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in lines(setup["options.extras_require"]["compress"])}
    measure = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in lines(setup["options.extras_require"]["measure"])}
    assert not {"torch", "torchvision", "torch-pruning", "onnxscript", "onnxruntime", "pillow"} & base
    assert {"torch", "torch-pruning", "leanmark"} <= maker
    assert "nvidia-ml-py" in measure and "pynvml" not in base | maker | measure
