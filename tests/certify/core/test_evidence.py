from __future__ import annotations

import dataclasses

from certify.core.evidence import Workload


def test_workload_digest_changes_when_anything_in_it_does() -> None:
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
