"""Each ring of the installation does its work with the libraries of that ring alone.

A ring holds what the installed distributions require; everything else that is installed here is hidden from the
process. ``make rings`` installs the base ring for real, on every Python that is named.
"""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np

from certify.core.exit_codes import DONE, USAGE

ROOT = Path(__file__).resolve().parents[2]
HIDE = """
import json, sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
HIDDEN = set(sys.argv[1].split(","))
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from click.testing import CliRunner
from certify.cli.main import main
results = [CliRunner().invoke(main, command) for command in json.loads(sys.argv[2])]
print(json.dumps([[result.exit_code, result.output] for result in results]))
"""


def _plain(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[(]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def _ring(extra: str | None) -> set[str]:
    """Names of all distributions that a ring installs, what they require included."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    wanted = config["options"]["install_requires"].split("\n")
    if extra is not None:
        wanted += extras[extra].split("\n")
    found: set[str] = set()
    queue = [line.partition(";")[0] for line in wanted if line.strip()]
    while queue:
        requirement = queue.pop()
        if inner := re.match(r"leanmark\[(.*)\]", requirement.strip()):
            queue += [line for name in inner[1].split(",") for line in extras[name].split("\n") if line.strip()]
            continue
        name = _plain(requirement)
        if name in found:
            continue
        found.add(name)
        try:
            queue += [line for line in requires(name) or () if "extra ==" not in line or "crypto" in line]
        except PackageNotFoundError:
            continue  # for another Python or system
    return found


def _hidden(extra: str | None) -> str:
    ring = _ring(extra)
    installed = packages_distributions()
    own = {"certify", "compress"}
    return ",".join(
        sorted(
            module
            for module, names in installed.items()
            if module not in own and not ({name.lower().replace("_", "-").replace(".", "-") for name in names} & ring)
        )
    )


def leanmark(extra: str | None, *commands: tuple[object, ...]) -> list[tuple[int, str]]:
    """Exit code and output of each command, in one process of a ring."""
    listed = json.dumps([[str(part) for part in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", HIDE, _hidden(extra), listed], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return [(code, output) for code, output in json.loads(done.stdout.splitlines()[-1])]


def test_base_ring_is_small_and_knows_no_runtime() -> None:
    hidden = set(_hidden(None).split(","))
    assert {"torch", "onnxruntime", "PIL", "pynvml", "resvg_py"} <= hidden
    assert not {"numpy", "onnx", "scipy", "click", "cryptography", "jsonschema_rs", "pydantic"} & hidden


def test_base_ring_judges_a_certified_file(graded: tuple[Path, str], tmp_path: Path) -> None:
    model, key = graded
    commands = [
        ("verify", model, "--strict", "--trust", key),
        ("audit", model, "--trust", key),
        ("gate", model, "--at-least", "G", "--trust", key),
        ("report", model, "--out", tmp_path / "report.html"),
        ("badge", model, "--out", tmp_path / "badge.svg"),
    ]
    for command, (code, output) in zip(commands, leanmark(None, *commands), strict=True):
        assert code == DONE, (command, output)


def test_base_ring_names_the_extra_when_a_command_needs_one(graded: tuple[Path, str], tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=samples, y=np.arange(8))
    label, profile = leanmark(None, ("label", graded[0]), ("profile", graded[0], "--data", f"npz:{tmp_path / 'x.npz'}"))
    for (code, output), extra in ((label, "label"), (profile, "measure")):
        assert code == USAGE and f"pip install '.[{extra}]'" in output, output


def test_label_and_measure_rings_draw_and_meter(graded: tuple[Path, str], tmp_path: Path) -> None:
    ((code, output),) = leanmark("label", ("label", graded[0], "--out", tmp_path / "label"))
    assert code == DONE and (tmp_path / "label.png").is_file(), output
    ((code, output),) = leanmark("measure", ("meters",))
    assert code == DONE, output


def test_compress_ring_includes_everything_that_the_main_job_imports() -> None:
    ring = _ring("compress")
    assert {"torch", "torchvision", "torch-pruning", "onnxruntime", "pillow", "resvg-py", "pydantic"} <= ring
