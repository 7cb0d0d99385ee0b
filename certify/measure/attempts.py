"""How often a pair of models has been measured on this machine.

Who measures until the result pleases has a better one by luck. Every measurement is written down before its first
window that counts, and the certificate says which one it was. Two are of one pair where either what a model computes or
the values of its weights are the same, for both models: a new name, folder, version or documentation makes no other
pair of it. The file is the user's own and can be deleted, so that it counts the least number of measurements; the log
is there for the honest, and for remeasurements to be compared with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.errors import MeasureError
from certify.core.evidence import Workload
from certify.core.folders import state_folder

try:
    from fcntl import LOCK_EX, flock
except ImportError:  # Windows, where nothing is measured
    flock = None  # type: ignore[assignment]

LOG_NAME = "measurements.jsonl"


def count_attempt(
    baseline: Sequence[str], candidate: Sequence[str], workload: Workload, test_digest: str, created: str
) -> int:
    """Log a measurement and return its number, from 1, among those of the same models, workload and data.

    Args:
        baseline: digests, of which one that is known makes it the same model.
        candidate: likewise.
        workload: how they are run. Thread numbers are left out, since each measurement finds the cheapest by itself.
        test_digest: of the test data.
        created: time of the measurement.

    Raises:
        MeasureError: the log can't be written, or a line of it is damaged.
    """
    conditions = hashlib.sha256(f"{replace(workload, threads=0, candidate_threads=0).digest()} {test_digest}".encode())
    key = {"baseline": list(baseline), "candidate": list(candidate), "conditions": conditions.hexdigest()}
    path = state_folder() / LOG_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as log:
            if flock is not None:
                flock(log, LOCK_EX)
            log.seek(0)
            earlier = sum(_is_of(line, key, path) for line in log)
            log.write(json.dumps({**key, "created": created}).encode() + b"\n")
    except OSError as error:
        raise MeasureError(
            f"The log of measurements {path} can't be written ({error.strerror}); "
            "make it writable, or set LEANMARK_STATE_HOME to a folder that is."
        ) from error
    return earlier + 1


def _is_of(line: bytes, key: dict[str, Any], path: Path) -> bool:
    """Whether a line of the log is about the same models under the same conditions."""
    try:
        fields = json.loads(line)
        shared = [set(map(str, fields[arm])) & set(key[arm]) for arm in ("baseline", "candidate")]
        return bool(all(shared) and fields["conditions"] == key["conditions"])
    except (ValueError, KeyError, TypeError) as error:
        raise MeasureError(
            f"The log of measurements {path} holds a damaged line; repair or delete the file."
        ) from error
