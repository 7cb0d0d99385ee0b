"""The folder ``OUT/.work``: finished steps of a run, from which an interrupted run resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from certify.core.errors import UsageError
from certify.core.files import write_text
from certify.core.progress import Progress
from compress.job.lineage import Row

FOLDER = ".work"
STATE = "run.json"
STATE_VERSION = 1
LIBRARIES = ("leanmark", "torch", "torchvision", "torch-pruning", "onnx", "onnxruntime")
"""Steps finished with another version of one of these are not reused."""


@dataclass(frozen=True)
class Step:
    """A finished step: its file in the folder, and its lineage row if it was a pass."""

    name: str
    file: str
    row: Row | None
    notes: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that :meth:`from_json` reads."""
        row = None if self.row is None else self.row.to_json()
        return {"name": self.name, "file": self.file, "row": row, "notes": dict(self.notes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Step:
        """Read the output of :meth:`to_json`; KeyError, TypeError or ValueError if something is missing."""
        row = None if values["row"] is None else Row.from_json(values["row"])
        return cls(values["name"], values["file"], row, values["notes"])


class Steps(Protocol):
    """Store in which a job finds finished steps and records new ones."""

    folder: Path

    def finished(self, name: str) -> Step | None:
        """Return the step of that name if it was finished before."""

    def path(self, file: str) -> Path:
        """Return the path of a file of this job."""

    def finish(self, name: str, file: Path, row: Row | None = None, notes: Mapping[str, Any] | None = None) -> Step:
        """Record a finished step; its file must already be complete and in the folder."""


class Workspace:
    """Finished steps of one job, valid for its fingerprint.

    Args:
        out: folder of the job; ``.work`` is created inside.
        fingerprint: everything that the results depend on, as JSON values; if it differs from that of the earlier
            run, the earlier run's files are removed.
        progress: where to report whether the earlier run is reused.

    Raises:
        UsageError: a folder of that name exists with other contents.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any], progress: Progress) -> None:
        self.folder = out / FOLDER
        # Convert through JSON, so that tuples compare equal to the lists of the file.
        self._fingerprint = json.loads(json.dumps({**fingerprint, "libraries": library_versions()}))
        self._progress = progress
        self._steps = self._earlier_steps()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Write before the first step, so that the next run recognises the folder of a killed one.
        self._write()

    def _earlier_steps(self) -> dict[str, Step]:
        if not self.folder.is_dir() or not any(self.folder.iterdir()):
            return {}
        # Never remove a folder that leanmark did not write.
        if not (self.folder / STATE).is_file():
            raise UsageError(f"{self.folder} exists and is not leanmark's; remove it or choose another folder.")
        try:
            state = json.loads((self.folder / STATE).read_bytes())
            same = state["version"] == STATE_VERSION and state["fingerprint"] == self._fingerprint
            steps = [Step.from_json(values) for values in state["steps"]] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            same, steps = False, []
        if not same:
            self._progress.say("The existing workspace belongs to a different job or version; starting over.")
            shutil.rmtree(self.folder)
            return {}
        whole = {}
        for step in steps:
            if not (self.folder / step.file).is_file():
                break  # later steps depend on its file
            whole[step.name] = step
        return whole

    def finished(self, name: str) -> Step | None:
        """Return and report the step of that name if an earlier run has finished it."""
        step = self._steps.get(name)
        if step is not None:
            label = name if step.row is None else step.row.name
            self._progress.say(f"{label}: done in an earlier run, skipped.")
        return step

    def path(self, file: str) -> Path:
        """Return the path of a file of this job."""
        return self.folder / file

    def finish(self, name: str, file: Path, row: Row | None = None, notes: Mapping[str, Any] | None = None) -> Step:
        """Record a finished step; its file must already be complete and in the folder."""
        step = Step(name, file.name, row, notes or {})
        self._steps[name] = step
        self._write()
        return step

    def _write(self) -> None:
        state = {
            "version": STATE_VERSION,
            "fingerprint": self._fingerprint,
            "steps": [step.to_json() for step in self._steps.values()],
        }
        write_text(self.folder / STATE, json.dumps(state, indent=1))

    def remove(self) -> None:
        """Remove the folder, once all results are in OUT."""
        shutil.rmtree(self.folder)


def library_versions() -> dict[str, str | None]:
    """Return the versions of the libraries that a finished step depends on; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
