"""Folder of an audit that keeps each finished part, so that an interrupted audit resumes after the last one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.assessments.privacy_audit.records import EarlierAudit
from certify.core.errors import UsageError
from certify.core.files import write_text
from certify.core.progress import Progress
from compress.auditing.earlier import abandoned, as_records
from compress.job.workspace import library_versions

FOLDER = ".audit"
STATE = "audit.json"
ABANDONED = "abandoned"
COST = "-cost"
"""Suffix of the names under which the costs of a step are kept."""


class Shelf:
    """Finished parts of one audit, as JSON values by name.

    It also holds the secret of the coins until the audit is done; only its owner can read it, and it is removed at the
    end.

    Args:
        out: folder of the audited model, in which ``.audit`` is created.
        fingerprint: everything that the parts depend on; parts with another fingerprint are removed.
        progress: where to report that parts were removed.

    Raises:
        UsageError: the folder exists and is not of an audit.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any], progress: Progress) -> None:
        self.folder = out / FOLDER
        # Convert through JSON, so that tuples compare equal to the lists that are read back.
        wanted, spent = json.loads(json.dumps({**fingerprint, "libraries": library_versions()})), []
        if self.folder.is_dir() and any(self.folder.iterdir()):
            if not (self.folder / STATE).is_file():
                raise UsageError(f"{self.folder} is in the way and does not belong to an audit; remove it.")
            if (left := self._read(STATE)) != wanted:
                progress.say("The interrupted audit in this folder is a different one; starting over.")
                spent = self._spent() if isinstance(left, dict) and left.get("lineage") == wanted.get("lineage") else []
                shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Anyone who reads the coins before the end could choose the guesses to match.
        self.folder.chmod(0o700)
        # Written first, since a folder whose state is written keeps its other files.
        if spent:
            self.finish(ABANDONED, spent)
        write_text(self.folder / STATE, json.dumps(wanted))

    @property
    def abandoned(self) -> tuple[EarlierAudit, ...]:
        """Audits of the same lineage that were begun in this folder and then given up, with their joules."""
        return as_records(self.finished(ABANDONED) or ())

    def _spent(self) -> list[Any]:
        """Return the JSON values of the abandoned audits, the one in this folder included."""
        files = sorted(self.folder.glob(f"*{COST}.json"))
        costs = [cost for file in files for cost in self._read(file.name) or (None,)]
        own = [abandoned(self.finished("begun") or "unknown", costs)] if costs else []
        return [*(self.finished(ABANDONED) or ()), *own]

    def _read(self, file: str) -> Any:
        try:
            return json.loads((self.folder / file).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None

    def finished(self, name: str) -> Any:
        """Return the values of a finished part; None if it is not finished."""
        return self._read(f"{name}.json")

    def finish(self, name: str, values: Any) -> Any:
        """Keep a finished part, and return its values as they will be read again."""
        text = json.dumps(values)
        write_text(self.folder / f"{name}.json", text)
        return json.loads(text)

    def remove(self) -> None:
        """Remove the folder after the records are written."""
        shutil.rmtree(self.folder)
