"""The folder of an audit: each finished part stays there, so that an audit that was stopped resumes after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError
from certify.core.files import write_text
from certify.core.progress import Progress
from compress.job.workspace import library_versions

FOLDER = ".audit"
STATE = "audit.json"


class Shelf:
    """Finished parts of one audit, as JSON values by name.

    Secrets lie here too until the audit is done: the folder is for its owner alone, and is removed at the end.

    Args:
        out: folder of the audited model; ``.audit`` is made inside it.
        fingerprint: everything that the parts depend on; those of another audit are removed.
        progress: where it is said which of the two happened.

    Raises:
        UsageError: a folder of that name is there and holds something else.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any], progress: Progress) -> None:
        self.folder = out / FOLDER
        wanted = json.loads(json.dumps({**fingerprint, "libraries": library_versions()}))
        if self.folder.is_dir() and any(self.folder.iterdir()):
            if not (self.folder / STATE).is_file():
                raise UsageError(f"{self.folder} is in the way and not leanmark's; remove it.")
            if self._read(STATE) != wanted:
                progress.say("The audit that lies here is a different one; starting over.")
                shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        write_text(self.folder / STATE, json.dumps(wanted))

    def _read(self, file: str) -> Any:
        try:
            return json.loads((self.folder / file).read_bytes())
        except (OSError, ValueError):
            return None

    def finished(self, name: str) -> Any:
        """What an earlier run left under a name; None where it did not get there."""
        return self._read(f"{name}.json")

    def finish(self, name: str, values: Any) -> Any:
        """Keep a finished part; the values as they will be read again."""
        text = json.dumps(values)
        write_text(self.folder / f"{name}.json", text)
        return json.loads(text)

    def remove(self) -> None:
        """Remove the folder, once the records are written."""
        shutil.rmtree(self.folder)
