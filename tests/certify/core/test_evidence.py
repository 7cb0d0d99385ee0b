from __future__ import annotations

import dataclasses
from collections.abc import Callable

from certify.core.evidence import Evidence, Workload


def test_workload_digest_changes_when_any_field_does() -> None:
    workload = Workload("onnxruntime-cpu", "1.31.1", "CPUExecutionProvider", 1, 2, 2)
    changed = {
        "batch": 8,
        "threads": 1,
        "candidate_threads": 1,
        "graph_optimization": "none",
        "spinning": False,
        "runtime_version": "1.30",
    }
    digests = {dataclasses.replace(workload, **{name: value}).digest() for name, value in changed.items()}
    assert len(digests | {workload.digest()}) == len(changed) + 1


def test_run_keeps_its_windows_and_its_last_attempt_apart(make_evidence: Callable[..., Evidence]) -> None:
    evidence = make_evidence(null_attempts=2, blocks=3)
    null, main = evidence.run("null"), evidence.run("main")
    assert (null.attempts, main.attempts, evidence.run("nothing").attempts) == (2, 1, 0)
    assert {window.attempt for window in null.windows} == {0, 1}
    assert {window.attempt for window in null.last.windows} == {1} and len(null.last.complete) == 10
    assert set(main.arms) == {"baseline", "candidate"} and len(main.of("baseline")) == 6
    assert evidence.run("main") is main and main.last is main  # grouped once for everybody who asks
    assert not evidence.run("nothing").blocks
