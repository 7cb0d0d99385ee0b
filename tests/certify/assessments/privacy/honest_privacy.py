"""Honest records of privacy, and ways to change one thing in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from certify.assessments.privacy.records import (
    Batches,
    Choice,
    ClassAccuracy,
    DpSgd,
    GnMaxVotes,
    Header,
    Members,
    Randomness,
    Records,
    Sampling,
    SourceOf,
    Touch,
)
from certify.core.private_data import DataKey

KEY = DataKey(bytes(range(32)))
DIGESTS = {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}
UNITS, STEPS, NOISE = 3000, 300, 2.385
BATCH = 600.0
LINEAGE = {
    "version": 1, "leanmark": "0.1.0", "model": {"spec": "tiny", "origin": "made here", "weights": None},
    "data": {"name": "d", "spec": "d", "digests": {}, "counts": {}},
    "recipe": {"name": "r", "digest": "00" * 32, "passes": ["dp_head"]}, "seed": None,
    "baseline": {"model_digest": "00" * 32, "parameters": 1, "macs": 1, "bytes": 1, "validation_accuracy": None,
                 "trained_here": False, "seconds": 0, "energy_j": None, "touched": {}},
    "rows": [{"pass": "dp_head", "version": 1, "stage": "torch", "config": {}, "model_digest_in": "00" * 32,
              "model_digest_out": "00" * 32, "parameters": 1, "macs": 1, "bytes": 1, "validation_accuracy": None,
              "seconds": 0, "energy_j": None, "done": {}, "declined": [],
              "touched": {"train": ["dp-sgd#0"], "validation": ["raw"]}}],
    "export": None, "artifacts": {},
}  # fmt: skip


def honest(model: Mapping[str, str] = DIGESTS, **header: Any) -> Records:
    """A private head at epsilon 8, add or remove, with everything that an auditor sees."""
    stated: dict[str, Any] = {
        "created": "2026-01-02T03:04:05Z",
        "leanmark": "0.1.0",
        "model": dict(model),
        "claimed_epsilon": 8.0,
        "delta": 1e-5,
        "unit": "record",
        "contribution_bound": 1,
        "adjacency": "add-remove",
        "units": UNITS,
        "private_parts": ("train",),
        "trust_model": "central",
        "attempts": 1,
        "lineage": "ef" * 32,
    }
    sizes = np.random.default_rng(5).binomial(UNITS, 0.2, STEPS).tolist()
    training = DpSgd(
        "dp-sgd#0", 1, STEPS, NOISE, 1.0, "record", 1, Sampling("poisson", 0.2, BATCH), Randomness("os"), (), 1e-7
    )  # fmt: skip
    return Records(
        Header(**{**stated, **header}),
        sgd=(training,),
        sources=(
            SourceOf("original", "a head without weights", "public", "11" * 32),
            SourceOf("features", "fashion-mnist", "public", "22" * 32),
        ),
        touches=(Touch("0 dp_head", "train", ("dp-sgd#0",)), Touch("0 dp_head", "validation", ("raw",))),
        choices=(Choice("clipping norm", "none"), Choice("epoch to keep", "public")),
        classes=(ClassAccuracy("0", 100, 95, 90), ClassAccuracy("1", 100, 95, 85)),
        batches=(Batches("dp-sgd#0", 0, tuple(sizes)),),
        members=(
            Members("train", tuple(KEY.keyed(f"train {i}") for i in range(20))),
            Members("public:fashion-mnist", tuple(KEY.keyed(f"fashion {i}") for i in range(20))),
        ),
    )


def pate(model: Mapping[str, str] = DIGESTS, **header: Any) -> Records:
    """A student of two teachers on disjoint parts."""
    whole = honest(model, **{"claimed_epsilon": 6.5, **header})
    votes = GnMaxVotes("gnmax#0", 1, 2, 40.0, 1264, 150.0, 2000, True, Randomness("os"))
    parts = tuple(Members(f"teacher:{k}", tuple(KEY.keyed(f"train {i}") for i in range(k, 20, 2))) for k in range(2))
    return replace(
        whole,
        sgd=(),
        votes=(votes,),
        touches=(Touch("0 pate_distill", "train", ("gnmax#0",)),),
        batches=(),
        members=(*whole.members, *parts),
    )


def training(records: Records, **changed: Any) -> Records:
    """The same with something changed in its training."""
    return replace(records, sgd=(replace(records.sgd[0], **changed),))


def head(records: Records, **changed: Any) -> Records:
    """The same with something changed in its header."""
    return replace(records, header=replace(records.header, **changed))
