"""How often a pair of models has been measured on this machine.

Who measures until the result pleases has a better one by luck. Every measurement is written down before its first
window that counts, and the certificate says which one it was. The file is the user's own and can be deleted; the log
is there for the honest, and for remeasurements to be compared with.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from certify.core.errors import MeasureError
from certify.core.folders import state_folder

LOG_NAME = "attempts.jsonl"


def count_attempt(baseline_digest: str, candidate_digest: str, workload_digest: str, created: str) -> int:
    """Log a measurement and return its number, from 1, among those of the same files and workload.

    Raises:
        MeasureError: the log can't be written, or a line of it is damaged.
    """
    key = {"baseline": baseline_digest, "candidate": candidate_digest, "workload": workload_digest}
    path = state_folder() / LOG_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.seek(0)
            earlier = sum(_key(line, path) == key for line in log)
            log.write(json.dumps({**key, "created": created}).encode() + b"\n")
    except OSError as error:
        raise MeasureError(
            f"The log of measurements {path} can't be written ({error.strerror}); "
            "make it writable, or set LEANMARK_STATE_HOME to a folder that is."
        ) from error
    return earlier + 1


def _key(line: bytes, path: Path) -> dict[str, str]:
    try:
        fields = json.loads(line)
        return {name: str(fields[name]) for name in ("baseline", "candidate", "workload")}
    except (ValueError, KeyError, TypeError) as error:
        raise MeasureError(f"The log of measurements {path} holds a damaged line; mend or delete the file.") from error
