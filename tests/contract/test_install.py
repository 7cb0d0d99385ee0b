"""What make setup takes, and that what make dist builds installs and runs without any index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGGING = """#!/bin/sh
case "$1" in -c) exit {reachable};; esac
echo "$@" >> '{log}'
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git would hold of the parts that are installed, with a .venv that counts as set up."""
    clone = tmp_path / "clone"
    for name in ("certify", "compress", "recipes"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy2(ROOT / name, clone / name)
    (clone / ".venv").mkdir()
    return clone


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("gpu", "reachable", "index", "size"),
    [(True, True, False, "7 GB, with CUDA"), (False, True, True, "about 2 GB"), (False, False, False, "2 to 7 GB")],
)
def test_setup_installs_torch_without_cuda_when_there_is_no_gpu_and_the_index_is_reachable(
    clone: Path, tmp_path: Path, gpu: bool, reachable: bool, index: bool, size: str
) -> None:
    log, tools = tmp_path / "log", tmp_path / "tools"
    script(clone / ".venv/bin/python", LOGGING.format(reachable=0 if reachable else 1, log=log))
    script(tools / "nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 1}\n")
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "setup", f"PYTHON={sys.executable}"], cwd=clone, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert size in done.stdout and "tests" in done.stdout
    first = log.read_text().splitlines()[0]
    assert first.endswith("--editable .[compress]")
    assert ("--extra-index-url https://download.pytorch.org/whl/cpu" in first) is index


@pytest.fixture
def install(tmp_path: Path) -> Callable[[Path], Path]:
    """Installs an archive into a fresh environment that sees the packages of this one, without any index."""

    def install(archive: Path) -> Path:
        home = tmp_path / archive.suffix.lstrip(".")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        python = home / "bin" / "python"
        inner = sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)})
        linked = [path for path in sys.path if path.endswith("-packages")]
        Path(inner, "linked.pth").write_text("\n".join(linked))
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps",
             "--no-build-isolation", "--ignore-installed", archive],
            check=True,
        )  # fmt: skip
        return python

    return install


def test_dist_installs_and_runs_when_there_is_no_index(
    clone: Path, tmp_path: Path, install: Callable[[Path], Path]
) -> None:
    for stamp in ("compress", "dev"):
        (clone / f".venv/{stamp}.stamp").touch()
    subprocess.run(["make", "dist", f"BIN={Path(sys.executable).parent}"], cwd=clone, capture_output=True, check=True)
    source, wheel = sorted((clone / "dist").iterdir(), key=lambda path: path.suffix)
    assert (source.suffix, wheel.suffix) == (".gz", ".whl")  # the wheel is built from the source archive
    python = install(wheel)
    shown = "import certify, compress; print(certify.__file__, compress.__file__)"
    for arguments, said in (
        (["-c", shown], str(python.parents[1])),
        (["-m", "certify.cli.main", "recipes"], "balanced"),
        (["-m", "certify.cli.main", "keygen", "--out", str(tmp_path / "my.key")], "Key id"),
    ):
        done = subprocess.run([python, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and said in done.stdout, done.stderr
