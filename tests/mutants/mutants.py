"""Change the arithmetic in one place at a time, and list the changes that no test notices.

Run ``make mutants``, or ``python tests/mutants/mutants.py --files 'certify/core/*' --count 50 --seed 1 --minutes 5``.
``parts.yaml`` says which files are changed and which tests should notice; of each file ``count`` changes are tried,
drawn by ``seed``. mutmut makes the changes and runs the tests that reach them, in a copy of the tree in a temporary
folder. It changes the bodies of functions alone: neither constants of a module nor functions with a decorator. Changes
of text, of ``strict=`` and of ``raise`` statements are not listed.

A survivor is a question to the tests and not a verdict. Some changes make no difference, such as ``<`` for ``<=``
between floats; and a test that gets a result from a cache or from a shared fixture does not count as reaching it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).with_name("parts.yaml")
NOT_COPIED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "mutants")
CONFIG = """
[mutmut]
source_paths={folders}
only_mutate={files}
also_copy={others}
process_isolation=forkserver
do_not_mutate_patterns=^\\s*raise\\b
pytest_add_cli_args=
    --hypothesis-seed=0
    -p
    no:cacheprovider
pytest_add_cli_args_test_selection={tests}
"""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
UNNOTICED = {"survived": "", "no tests": "no test reaches it"}


@dataclass(frozen=True)
class Part:
    """Files that are changed, and the tests that should notice; paths from the root."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed: the line of the file as it was and as it became."""

    file: str
    line: int
    before: str
    after: str
    remark: str

    @property
    def is_noise(self) -> bool:
        """Whether only text in quotes, or whether zip is strict, differs."""
        before, after = (re.sub(r'"[^"]*"|, strict=\w+|, (?=\))', "", line) for line in (self.before, self.after))
        return before == after


def load_parts(root: Path, table: Path, pattern: str = "*") -> list[Part]:
    """Parts of the table with those of their files that match a pattern; parts without any are left out."""
    parts = []
    for entry in yaml.safe_load(table.read_text()):
        found = sorted(path.relative_to(root).as_posix() for path in root.glob(entry["files"]))
        files = tuple(file for file in found if fnmatch.fnmatch(file, pattern))
        if files:
            parts.append(Part(files, tuple(entry["tests"])))
    return parts


def sample(names: Iterable[str], count: int, seed: int) -> list[str]:
    """Up to ``count`` names of each module, the same for the same seed whatever else there is."""
    modules = defaultdict(list)
    for name in names:
        modules[name.rpartition(".")[0]].append(name)
    return [
        name
        for module, own in sorted(modules.items())
        for name in sorted(random.Random(f"{seed} {module}").sample(sorted(own), min(count, len(own))))
    ]


@contextlib.contextmanager
def copied(root: Path, part: Part) -> Iterator[Path]:
    """A copy of the tree in a temporary folder, set up for a part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tree"
        shutil.copytree(root, folder, ignore=NOT_COPIED)
        lists = {
            "folders": {str(Path(file).parent) for file in part.files},
            "files": part.files,
            "others": {path.name for path in folder.iterdir() if path.name != "tests"},
            "tests": part.tests,
        }
        with (folder / "setup.cfg").open("a") as config:
            config.write(CONFIG.format(**{key: "\n    ".join(["", *sorted(each)]) for key, each in lists.items()}))
        yield folder


def mutmut(folder: Path, *arguments: str, limit_s: float | None = None) -> str:
    """What mutmut prints; after the time limit it is asked to stop and keeps what it has found."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            try:
                return process.communicate(timeout=limit_s)[0]
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                return process.communicate(timeout=60)[0]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def statuses(folder: Path) -> dict[str, str]:
    """What became of each change, by its name."""
    lines = [line.strip().rpartition(": ") for line in mutmut(folder, "results", "--all", "true").splitlines()]
    return {name: status for name, _, status in lines if "__mutmut_" in name}


def survivor(folder: Path, name: str, status: str) -> Survivor:
    """Where a change is and what it was, from mutmut's diff."""
    module, _, mangled = name.rpartition(".")
    file = f"{module.replace('.', '/')}.py"
    diff = [line for line in mutmut(folder, "show", name).splitlines() if line[:3] not in ("---", "+++")]
    before, after = (" ".join(line[1:].strip() for line in diff if line[:1] == sign) for sign in "-+")
    first = next((line[1:].strip() for line in diff if line[:1] == "-"), "")
    function = re.split("ǁ|^x_", mangled.rpartition("__mutmut_")[0])[-1]
    source = (folder / file).read_text()
    within = [
        number
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == function
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    ]
    lines = source.splitlines()
    line = next((number for number in within if lines[number - 1].strip() == first), min(within, default=0))
    return Survivor(file, line, before, after, UNNOTICED[status])


def reason(folder: Path, part: Part, log: str) -> str:
    """Why mutmut tried nothing: what pytest says where tests fail on the unchanged copy, else what mutmut said."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *part.tests]
    plain = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = plain.stdout if plain.returncode else "\n".join(line for line in log.splitlines() if line[:1] not in SPINNER)
    return f"nothing was tried; the end of the output is:\n{said[-3000:]}"


def try_part(root: Path, part: Part, count: int, seed: int, limit_s: float) -> tuple[Counter[str], list[Survivor]]:
    """How many changes ended how, and those that nobody noticed.

    Raises:
        RuntimeError: the tests fail on the unchanged tree, or reach nothing of the files.
    """
    end = time.monotonic() + limit_s
    with copied(root, part) as folder:
        # A name that nothing has: mutmut makes the changes, sees which tests reach which, and stops.
        log = mutmut(folder, "run", "none of them")
        chosen = sample(statuses(folder), count, seed)
        if not chosen:
            return Counter(), []
        if not (folder / "mutants/mutmut-stats.json").exists():
            raise RuntimeError(reason(folder, part, log))
        log = mutmut(folder, "run", *chosen, limit_s=max(1.0, end - time.monotonic()))
        found = {name: status for name, status in statuses(folder).items() if name in set(chosen)}
        if set(found.values()) == {"not checked"} and time.monotonic() < end:
            raise RuntimeError(reason(folder, part, log))
        unnoticed = [survivor(folder, name, status) for name, status in found.items() if status in UNNOTICED]
    return Counter(found.values()), unnoticed


def report(part: Part, counts: Counter[str], unnoticed: Sequence[Survivor]) -> None:
    """Print the survivors of a part, file by file, and how many changes there were."""
    listed = sorted((each for each in unnoticed if not each.is_noise), key=lambda each: (each.file, each.line))
    for each in listed:
        print(f"{each.file}:{each.line}  {each.remark}\n    - {each.before}\n    + {each.after}")
    ends = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    print(f"{len(part.files)} files, {sum(counts.values())} changes: {ends}; {len(listed)} listed\n", flush=True)


def main() -> int:
    """Try all parts, and say what nobody noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="*", metavar="PATTERN", help="only these of the table's files")
    parser.add_argument("--count", type=int, default=20, help="changes of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="for all parts together")
    arguments = parser.parse_args()
    parts = load_parts(ROOT, PARTS, arguments.files)
    end = time.monotonic() + 60 * arguments.minutes
    for number, part in enumerate(parts):
        limit_s = (end - time.monotonic()) / (len(parts) - number)
        try:
            report(part, *try_part(ROOT, part, arguments.count, arguments.seed, limit_s))
        except RuntimeError as error:
            print(f"{', '.join(part.tests)}: {error}")
            return 1
    return 0 if parts else 2


if __name__ == "__main__":
    sys.exit(main())
