"""Records of a model, from the runs and the lineage of its job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from certify.assessment.record_file import ModelDigests
from certify.assessments.federation.lineage_check import steps_of
from certify.assessments.federation.records import Central, Header, Records
from certify.core.data_use.policy import UsePolicy
from certify.core.federation import FederatedRun


def record(
    runs: Sequence[FederatedRun],
    model: Mapping[str, str],
    lineage: Mapping[str, Any],
    lineage_digest: str,
    leanmark: str,
    policies: Iterable[UsePolicy] = (),
    central: Central | None = None,
) -> Records:
    """Return the records of a model that was trained by federated passes.

    Args:
        runs: runs in the order of the passes, at least one.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        lineage: lineage of schema ``lineage-1``.
        lineage_digest: hex SHA-256 of the lineage's file.
        leanmark: version that writes the records.
        policies: use policies that clients named by digest, so that verifiers can evaluate them again.
        central: a measured central run on the same data.

    Example:
        >>> record([run], {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}, lineage, "ef" * 32,
        ...        "0.1.0")  # doctest: +SKIP
    """
    digests = ModelDigests(model["sha256"], model["leanmarkContent"])
    header = Header(runs[0].opening.message.started, leanmark, digests, lineage_digest)
    return Records(header, tuple(runs), {policy.digest: policy for policy in policies}, steps_of(lineage), central)
