"""Records of the federation assessment: one canonical JSON object per line.

A header; the signed lines of each run in order (``line``); the use policies that clients name by digest (``policy``);
the passes of the lineage (``step``); and the results of a central run on the same data, if one was measured
(``central``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import rfc8785
from annotated_types import Ge, Gt

from certify.assessment.record_file import (
    Counts,
    Digest,
    RecordHeader,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import is_time
from certify.core.errors import CertificateError
from certify.core.federation import FederatedRun
from certify.core.federation.fields import Level, is_digest
from certify.core.federation.run import MAX_LINES, run_of

VERSION = 1
KINDS = ("line", "policy", "step", "central")


@dataclass(frozen=True)
class Header(RecordHeader):
    """Circumstances of the runs, which begin with the first.

    Attributes:
        lineage: hex SHA-256 of ``lineage.json``; None where there is none.
    """

    lineage: Digest | None


@dataclass(frozen=True)
class Step:
    """A pass of the lineage.

    Attributes:
        name: name of the pass.
        stage: kind of model the pass works on; the export between the stages gives the model another digest.
        model_in: digest of the model before the pass.
        model_out: digest of the model after it.
    """

    name: Text
    stage: Literal["torch", "onnx"]
    model_in: Digest
    model_out: Digest


@dataclass(frozen=True)
class Central(Counts):
    """A measured central run on the same data: counts of correct answers of both models on the same test samples.

    ``candidate`` is the federated model and ``baseline`` the central one. :mod:`.central` derives it from two jobs.

    Attributes:
        model: hex SHA-256 of the central job's model file.
        test_digest: hex SHA-256 over the test samples.
        cpu_s: CPU-seconds of the central run.
        energy_j: joules of the central run; None if not measured.
        level: evidence level of the joules; None if ``energy_j`` is None.
    """

    model: Digest
    test_digest: Digest
    cpu_s: Annotated[float, Gt(0)]
    energy_j: Annotated[float, Ge(0)] | None
    level: Level | None

    def __post_init__(self) -> None:
        if (self.energy_j is None) != (self.level is None) or self.table.n == 0:
            raise ValueError("energy_j and level must be given together, for at least one sample")


@dataclass(frozen=True)
class Records:
    """Everything from which the statement is derived.

    Attributes:
        header: subject and origin.
        runs: runs in the order of the passes, one for each federated pass.
        policies: use policies by digest.
        steps: passes of the lineage.
        central: central run; None if none was measured.
    """

    header: Header
    runs: tuple[FederatedRun, ...]
    policies: Mapping[str, UsePolicy]
    steps: tuple[Step, ...]
    central: Central | None


def dump(records: Records) -> bytes:
    """Serialise records; equal records give equal bytes."""
    rows: list[tuple[str, Mapping[str, Any]]] = [
        ("line", {"line": json.loads(line)}) for run in records.runs for line in run.lines()
    ]
    rows += [("policy", {"policy": records.policies[digest].to_json()}) for digest in sorted(records.policies)]
    rows += [("step", asdict(step)) for step in records.steps]
    rows += [("central", asdict(central_run)) for central_run in (records.central,) if central_run is not None]
    return dump_lines(VERSION, records.header, rows)


def parse(content: bytes, name: str) -> Records:
    """Read a record file.

    Raises:
        CertificateError: a line is malformed or out of order, or there is no run.
    """
    (place, _, head), *rows = read_lines(content, name, KINDS, most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    if not is_time(header.created) or not all(map(is_digest, asdict(header.model).values())):
        raise CertificateError(f"{place}: the header lacks a time, or does not name its model by hex SHA-256.")
    lines: list[bytes] = []
    policies: dict[str, UsePolicy] = {}
    steps: list[Step] = []
    central: list[Central] = []
    for at, kind, values in rows:
        if kind == "line":
            lines.append(rfc8785.dumps(_only(values, "line", at)))
        elif kind == "policy":
            policy = UsePolicy.from_json(_only(values, "policy", at), at)
            policies[policy.digest] = policy
        elif kind == "step":
            steps.append(read_record(Step, values, at))
        else:
            central.append(read_record(Central, values, at))
    if len(central) > 1:
        raise CertificateError(f"{name}: names more than one central run.")
    records = Records(header, split_runs(lines, name), policies, tuple(steps), central[0] if central else None)
    if dump(records) != content:
        raise CertificateError(f"{name} is not the serialised form of its records, so a line was repeated or moved.")
    return records


def _only(values: Mapping[str, Any], field: str, place: str) -> Any:
    if set(values) != {field} or not isinstance(values[field], dict):
        raise CertificateError(f"{place}: must hold only the object '{field}'.")
    return values[field]


def split_runs(lines: Sequence[bytes], name: str) -> tuple[FederatedRun, ...]:
    """Split a log into runs, each of which begins with its opening.

    Raises:
        CertificateError: there is no run, or a line is malformed or misplaced.
    """
    starts = [at for at, line in enumerate(lines) if at == 0 or b'"kind":"run"' in line]
    if not starts:
        raise CertificateError(f"{name} holds no run; the log must begin with the opening of one.")
    ends = [*starts[1:], len(lines)]
    return tuple(run_of(lines[first:last], f"{name}, the log") for first, last in zip(starts, ends, strict=True))
