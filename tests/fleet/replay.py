"""The rounds of finished runs again, in memory: the same clients, the same data, the same ones away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.assessments.federation.assessment import Federation
from certify.attest.keys import load_private
from certify.core.federation import FederatedRun, Spent, parse_run, read_receipts
from certify.core.progress import Silent
from certify.core.signing_keys import SigningKey
from compress.federated.client import Client
from compress.federated.client_folder import ClientFolder
from compress.federated.coordinator import Coordinator
from compress.federated.costs import Spending
from compress.federated.flower.fleet_client import contract_of, start_of
from compress.federated.learner import Learner, LocalTraining
from compress.federated.local_data import own_data
from compress.federated.memory import Memory
from compress.federated.plan import Plan
from compress.federated.simulation import Simulation
from compress.job import recipe as recipes
from compress.job.original import Request, find_original

Digests = list[tuple[str, str]]


def replayed(
    folder: Path, log: Path, nodes: dict[int, str], data: dict[int, str]
) -> Iterator[tuple[str, Digests, Digests]]:
    """Yield the form of each run, and the digests of aggregate and model behind its rounds, as logged and in memory.

    Args:
        folder: of the fleet.
        log: the records of its statement.
        nodes: by the client's number.
        data: specifications by the client's number.
    """
    runs = Federation().parse(log.read_bytes(), log.name).runs
    passes = [one for one in recipes.load(str(folder / "fleet.yaml")).passes if one.name == "federated_finetune"]
    datasets = {nodes[number]: own_data(spec, None) for number, spec in data.items()}
    start, (first, _) = folder / "first", next(iter(datasets.values()))
    original = find_original(Request("fleetnets:net", preprocess=contract_of(start)), first, Silent()).module
    learner = start_of(start, original)
    keys = {node: load_private(folder / f"client-{n}" / "client.key") for n, node in nodes.items()}
    receipts = {node: read_receipts(folder / f"client-{n}" / "receipts.jsonl") for n, node in nodes.items()}
    model = learner.layout.content(learner.model)
    with tempfile.TemporaryDirectory() as made:
        for run, applied in zip(runs, passes, strict=True):
            nonce = run.opening.message.run

            def client(name: str) -> Client:
                store = ClientFolder(Path(made) / name, simulated=True)
                return Client(keys[name], lambda: datasets[name][1], learner, store, Spending())

            heard = {
                (node, one.receipt.message.number)
                for node, kept in receipts.items()
                for one in kept
                if one.receipt.message.run == nonce
            }
            place = Simulation(Path(made) / nonce, Path(made) / f"{nonce}.log")
            again, model = again_in_memory(run, applied, keys, heard, client, learner, place, model)
            yield applied.update, digests_of(run), digests_of(again)


def again_in_memory(
    run: FederatedRun,
    applied: Any,
    keys: dict[str, SigningKey],
    heard: set[tuple[str, int]],
    client: Callable[[str], Client],
    learner: Learner,
    place: Simulation,
    model: bytes,
) -> tuple[FederatedRun, bytes]:
    """Play the rounds of a run in memory; the new log, and the model behind the last round."""
    opening = run.opening.message
    ids = {key.public.key_id: node for node, key in keys.items()}
    away = {(ids[one.client], each.begin.number) for each in run.rounds for one in each.close.message.dropped}
    there = {(ids[one], each.begin.number) for each in run.rounds for one in each.begin.selected}
    plan = Plan(
        rounds=opening.rounds, per_round=len(keys), update=applied.update, kept=applied.kept,
        weighting=applied.weighting, seed=0,
        training=LocalTraining(
            **{name: getattr(applied, name) for name in SHARED}, flip=False, proximal=applied.proximal
        ),
    )  # fmt: skip
    server = place.opened(replace(opening, transport="memory"))

    def lost(name: str, kind: str, number: int) -> bool:
        if kind == "receipt":  # a client that was killed before it had its receipt counts its update as lost
            return (name, server.closed) not in heard
        return kind == "train" and ((name, number) in away or (name, number) not in there)

    coordinator = Coordinator(plan, learner.layout, Memory(sorted(keys), client, lost), server, place.folder)
    coordinator.start(model)
    made = coordinator.run()
    server.end(server.model, Spent(0.0))
    return parse_run(place.log.read_bytes(), "log"), made


def digests_of(run: FederatedRun) -> Digests:
    """Digests of aggregate and model behind every round."""
    return [(each.close.message.aggregate, each.close.message.model) for each in run.rounds]


SHARED = ("epochs", "batch", "lr", "optimizer", "weight_decay", "warmup", "label_smoothing", "augment")
