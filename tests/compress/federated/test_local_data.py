"""Clients' own data: read under their own use policy, and noted in their own journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certify.core.data_use.guard import Use
from certify.core.errors import NotPermittedError, UsageError
from certify.core.federation import RoundLog, parse_run
from certify.core.federation import Use as StatedUse
from certify.core.private_data import DataKey
from certify.core.signing_keys import SigningKey
from certify.data import default_preprocess
from certify.workflows.data_governance import bind_policy
from certify.workflows.use_control import governing
from compress.federated.client import Client
from compress.federated.client_folder import ClientFolder
from compress.federated.coordinator import Coordinator
from compress.federated.costs import Spending
from compress.federated.learner import Learner
from compress.federated.local_data import own_data
from compress.federated.memory import Memory
from compress.federated.plan import Plan
from compress.federated.run_opening import opening_of_rounds
from compress.federated.weights import digest
from compress.testing.networks import blobs
from tests.compress.federated.conftest import TRAINING, small_model

KEY = DataKey(bytes(range(32)))
RESEARCH = "dpv:ResearchAndDevelopment"
TERMS: Mapping[str, Any] = {
    "name": "ward", "controller": "Clinic", "contact": "privacy@example.org",
    "permissions": [{"actions": ["finetune", "evaluate"], "purposes": [RESEARCH]}],
    "legal_basis": "dpv:PublicInterest", "consent": "unless-withdrawn", "withdrawal": "by letter",
}  # fmt: skip


def write(folder: Path, number: int) -> str:
    """A client's files; the specification of its data."""
    random = np.random.default_rng(number)
    for part, count in (("train", 24), ("test", 8)):
        labels = np.arange(count) % 4
        images = random.integers(0, 60, (count, 32, 32, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[16 * (label // 2) :, 16 * (label % 2) :][:16, :16] += 120
        np.savez(folder / f"{part}-{number}.npz", x=images, y=labels)
    return f"npz:train={folder}/train-{number}.npz,test={folder}/test-{number}.npz"


def client(folder: Path, spec: str, purpose: str | None, number: int) -> Client:
    use = None if purpose is None else Use(purpose, "", KEY)
    dataset, data = own_data(spec, use)
    learner = Learner(small_model(), default_preprocess(blobs()))
    assert dataset.train is not None
    return Client(
        SigningKey(Ed25519PrivateKey.generate()), lambda: data, learner, ClientFolder(folder / f"client-{number}"),
        Spending(), purpose=purpose,
    )  # fmt: skip


def run(folder: Path, clients: dict[str, Client], purpose: str, rounds: int = 1) -> RoundLog:
    """Rounds of real clients, each with a folder of its own."""
    plan, key = Plan(rounds, len(clients), TRAINING, "int8"), SigningKey(Ed25519PrivateKey.generate())
    layout = next(iter(clients.values())).learner.layout
    content = layout.content(small_model())
    opening = opening_of_rounds(plan, layout, digest(content), 9, StatedUse("finetune", purpose))
    path = folder / "log.jsonl"
    log = RoundLog.create(path, replace(opening, server=key.public.hex, run="ab" * 32), key)
    server = Coordinator(plan, layout, Memory(sorted(clients), clients.__getitem__), log, folder / "server")
    server.start(content)
    server.run()
    log.stop()
    return log


def test_training_is_noted_in_the_journal_of_each_client_and_named_by_digest(tmp_path: Path) -> None:
    specs = [write(tmp_path, number) for number in range(2)]
    bind_policy(specs[0], TERMS, KEY)
    clients = {
        "governed": client(tmp_path, specs[0], RESEARCH, 0),
        "free": client(tmp_path, specs[1], None, 1),
    }
    run(tmp_path, clients, RESEARCH, rounds=2)
    folder = governing(specs[0])
    actions = [one["action"] for one in folder.journal().entries if one["kind"] == "decision"]
    assert "finetune" in actions and "train" not in actions
    found = parse_run((tmp_path / "log.jsonl").read_bytes(), "the log")
    assert {one.message.policy for one in found.entries} == {None, folder.policy().digest}
    assert (tmp_path / "client-0" / "receipts.jsonl").read_text().count("\n") == 4


def test_client_declines_when_its_policy_does_not_permit_the_purpose(tmp_path: Path) -> None:
    specs = [write(tmp_path, number) for number in range(2)]
    bind_policy(specs[0], TERMS, KEY)
    clients = {"governed": client(tmp_path, specs[0], RESEARCH, 0), "free": client(tmp_path, specs[1], None, 1)}
    run(tmp_path, clients, "dpv:Marketing")
    found = parse_run((tmp_path / "log.jsonl").read_bytes(), "the log")
    assert len(list(found.entries)) == 1 and len(found.clients) == 1


def test_client_that_may_not_fine_tune_cannot_load_its_data(tmp_path: Path) -> None:
    spec = write(tmp_path, 0)
    bind_policy(spec, {**TERMS, "permissions": [{"actions": ["evaluate"], "purposes": [RESEARCH]}]}, KEY)
    first_client = client(tmp_path, spec, RESEARCH, 0)
    run(tmp_path, {"one": first_client}, RESEARCH)
    (dropped,) = parse_run((tmp_path / "log.jsonl").read_bytes(), "the log").rounds[0].close.message.dropped
    assert dropped.reason == "policy"


def test_data_under_a_policy_are_not_read_when_nobody_says_what_for(tmp_path: Path) -> None:
    spec = write(tmp_path, 0)
    bind_policy(spec, TERMS, KEY)
    with pytest.raises(NotPermittedError, match="state what they are used for"):
        own_data(spec, None)


def test_data_without_a_train_part_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 0)
    with pytest.raises(UsageError, match="no train split"):
        own_data(f"npz:test={tmp_path}/test-0.npz", None)


def test_two_clients_with_one_key_are_one(tmp_path: Path) -> None:
    first_client = client(tmp_path, write(tmp_path, 0), None, 0)
    run(tmp_path, {"one": first_client, "two": first_client}, RESEARCH)
    found = parse_run((tmp_path / "log.jsonl").read_bytes(), "the log")
    assert len(found.clients) == 1 and len(found.rounds[0].begin.selected) == 1
