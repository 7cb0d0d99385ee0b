"""Records of a federation statement: the logs of federated passes, their lineage, and a central run next to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from certify.assessments.federation.central import MeasuredJob, central_run
from certify.assessments.federation.recording import record
from certify.assessments.federation.records import Central, dump, parse
from certify.attest.certificate import EVIDENCE_NAME, read_lineage
from certify.core.data_use.policy import UsePolicy
from certify.core.errors import UsageError
from certify.core.evidence_file import read_evidence
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


def add_central(out: Path, central: Path) -> Central:
    """Add a central run to the records of a federated job; an earlier one is replaced.

    Args:
        out: folder of the federated job, which was measured.
        central: folder of a measured job with the same data and passes that trained in one place.

    Returns:
        The record that was added.

    Raises:
        UsageError: a file is missing, or the jobs differ in more than where they trained.
        CertificateError: a file is malformed.
    """
    path = out / FEDERATION
    if not path.is_file():
        raise UsageError(f"{out} has no {FEDERATION}; name the folder of a job with a federated pass.")
    records = parse(path.read_bytes(), str(path))
    found = central_run(records, _measured(out), _measured(central))
    write_bytes(path, dump(replace(records, central=found)))
    return found


def _measured(folder: Path) -> MeasuredJob:
    lineage, evidence = folder / LINEAGE, folder / EVIDENCE_NAME
    if not evidence.is_file():
        raise UsageError(
            f"{folder} has no {EVIDENCE_NAME}, so its accuracy is unknown; measure it with leanmark certify, or run "
            "leanmark compress without --no-measure."
        )
    return MeasuredJob(str(folder), read_lineage(lineage), sha256_file(lineage), read_evidence(evidence))
