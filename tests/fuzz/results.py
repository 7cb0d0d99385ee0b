"""Results of a long run, recorded part by part, so that a stopped run can resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Results:
    """Finished parts of a run, by name.

    Args:
        path: a file of one line of JSON a part, made if it is not there; None keeps them in memory alone.
        settings: what the run was started with; a file of other settings is refused.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.parts: dict[str, Any] = {}
        if path is None:
            return
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"settings": settings}) + "\n")
        first, *rest = path.read_text().splitlines()
        if json.loads(first) != {"settings": settings}:
            raise SystemExit(f"{path} belongs to a run with other settings ({first}); give another file.")
        for line in rest:
            self.parts.update(json.loads(line))

    def add(self, part: str, found: Any) -> None:
        """Record a finished part."""
        self.parts[part] = found
        if self._path is not None:
            with self._path.open("a") as stream:
                stream.write(json.dumps({part: found}) + "\n")
