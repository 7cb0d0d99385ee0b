"""Run a guide's files and commands from the first block to the last, as its reader would.

``make guide`` runs recipes/guides/model-to-scorecard.md. ``python tests/guides/run_guide.py GUIDE --folder OUT`` runs
another guide, or keeps the files. Blocks with a title (```` ```python title="NAME" ````) become files, and each line of
a ``sh`` block is a command. A command must end with 0, or with 3 (not graded) if it is ``leanmark certify``: a busy
machine cannot grade, and the statements that follow do not need a grade.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "recipes" / "guides" / "model-to-scorecard.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([\w.-]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
NOT_GRADED = 3


def steps(text: str) -> Iterator[tuple[str | None, str]]:
    """Yield the blocks of a guide in order: name and content of a file, or None and a command."""
    for language, name, content in BLOCK.findall(text):
        if name:
            yield name, content
        elif language == "sh":
            yield from ((None, line) for line in content.splitlines() if line and not line.startswith("#"))


def allowed(command: list[str], status: int) -> bool:
    """Return whether a command may end with a status."""
    return status == 0 or (status == NOT_GRADED and command[:2] == ["leanmark", "certify"])


def run(text: str, folder: Path) -> int:
    """Run a guide in a folder, with the environment of this interpreter first in the path.

    Returns:
        0, or the status of the first command that may not end with it.
    """
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    began = time.monotonic()
    for name, content in steps(text):
        if name is not None:
            (folder / name).write_text(content, encoding="utf-8")
            continue
        print(f"$ {content}", flush=True)
        start, command = time.monotonic(), shlex.split(content)
        status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        print(f"# status {status}, {time.monotonic() - start:.0f} s", flush=True)
        if not allowed(command, status):
            return status
    print(f"# The guide ran to its end in {(time.monotonic() - began) / 60:.1f} minutes.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("guide", nargs="?", type=Path, default=GUIDE)
    parser.add_argument("--folder", type=Path, help="where to run, and to keep the files [default: a temporary folder]")
    given = parser.parse_args()
    text = given.guide.read_text(encoding="utf-8")
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
        return run(text, given.folder)
    with tempfile.TemporaryDirectory() as folder:
        return run(text, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
