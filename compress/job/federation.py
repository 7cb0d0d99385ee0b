"""Records of a federation statement, from the logs of federated passes and the lineage next to the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from certify.assessments.federation.recording import record
from certify.assessments.federation.records import dump
from certify.core.data_use.policy import UsePolicy
from certify.core.federation import parse_run
from certify.core.files import sha256_file, write_bytes
from certify.model_file.subject import subject_digests
from compress.job.job import LINEAGE, MODEL
from compress.job.lineage import maker_version

FEDERATION = "federation.jsonl"


def write_federation(out: Path, logs: Sequence[bytes], policies: Iterable[UsePolicy] = ()) -> Path | None:
    """Write ``federation.jsonl`` for ``leanmark state --assessment federation``.

    Args:
        out: folder of the job, with the finished model and its lineage.
        logs: contents of the logs, in the order of the passes; if empty, the file of an earlier job is removed.
        policies: use policies of the clients' data, which the logs name by digest.

    Returns:
        Path of the file; None if no pass was federated.

    Raises:
        CertificateError: a log is truncated or malformed.
    """
    path = out / FEDERATION
    if not logs:
        path.unlink(missing_ok=True)
        return None
    runs = [parse_run(content, FEDERATION) for content in logs]
    lineage = out / LINEAGE
    records = record(
        runs, subject_digests(out / MODEL), json.loads(lineage.read_bytes()), sha256_file(lineage), maker_version(),
        policies,
    )  # fmt: skip
    write_bytes(path, dump(records))
    return path
