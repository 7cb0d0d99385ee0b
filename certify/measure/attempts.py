"""Count of the measurements of a pair of models on this machine.

Repeating a measurement until the result pleases yields a better one by luck. So every measurement is logged before its
first counted window, and the certificate states its number. Two measurements are of the same pair if, for both models,
either the computation, the values of the weights or their statistics are the same: a new name, folder, version or
documentation does not make a new pair, nor do scaled weights. The file belongs to the user and can be deleted, so its
count is a lower bound; it serves honest makers, and remeasurements compare with it.
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
except ImportError:  # Windows, which cannot measure
    flock = None  # type: ignore[assignment]

LOG_NAME = "measurements.jsonl"


def count_attempt(
    baseline: Sequence[str], candidate: Sequence[str], workload: Workload, test_digest: str, created: str
) -> int:
    """Log a measurement; return its number, counted from 1, among those of the same models, workload and data.

    Args:
        baseline: digests of the baseline; a single match identifies the model.
        candidate: digests of the candidate, likewise.
        workload: workload, without thread numbers, since each measurement finds the cheapest ones.
        test_digest: digest of the test data.
        created: time of the measurement.

    Raises:
        MeasureError: the log cannot be written, or a line of it is damaged.
    """
    conditions = hashlib.sha256(f"{replace(workload, threads=0, candidate_threads=0).digest()} {test_digest}".encode())
    key = {"baseline": list(baseline), "candidate": list(candidate), "conditions": conditions.hexdigest()}
    path = state_folder() / LOG_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In append mode each write goes to the end, regardless of the read position.
        with path.open("a+b") as log:
            if flock is not None:
                # Locked until the file is closed, so that two simultaneous measurements do not get the same number.
                flock(log, LOCK_EX)
            log.seek(0)
            earlier = sum(_is_of(line, key, path) for line in log)
            log.write(json.dumps({**key, "created": created}).encode() + b"\n")
    except OSError as error:
        raise MeasureError(
            f"The log of measurements {path} cannot be written ({error.strerror}); make it writable, or set "
            "LEANMARK_STATE_HOME to a writable folder."
        ) from error
    return earlier + 1


def _is_of(line: bytes, key: dict[str, Any], path: Path) -> bool:
    """Return whether a line of the log is about the same models under the same conditions."""
    try:
        fields = json.loads(line)
        # One shared digest suffices, because a graph that was only rewritten still has the same weights.
        shared = [set(map(str, fields[arm])) & set(key[arm]) for arm in ("baseline", "candidate")]
        return bool(all(shared) and fields["conditions"] == key["conditions"])
    except (ValueError, KeyError, TypeError) as error:
        raise MeasureError(
            f"The log of measurements {path} contains a damaged line; repair or delete the file."
        ) from error
