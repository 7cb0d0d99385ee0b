"""The rounds of a finished run again, in memory: the same clients, the same data, the same ones away."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from certify.assessments.federation.assessment import Federation
from certify.attest.keys import load_private
from certify.core.federation import Spent, parse_run, read_receipts
from certify.core.progress import Silent
from compress.federated.client import Client
from compress.federated.coordinator import Coordinator
from compress.federated.flower.joining import contract_of, start_of
from compress.federated.keeping import Keeping
from compress.federated.learner import LocalTraining
from compress.federated.local_data import own_data
from compress.federated.memory import Memory
from compress.federated.plan import Plan
from compress.federated.simulation import Simulation
from compress.federated.spending import Spending
from compress.job import recipe as recipes
from compress.job.original import Request, find_original

Digests = list[tuple[str, str]]


def replayed(folder: Path, log: Path, nodes: dict[int, str], data: dict[int, str]) -> tuple[Digests, Digests]:
    """Digests of aggregate and model behind every round, as the log states them and as memory gives them.

    Args:
        folder: of the fleet.
        log: the records of its statement.
        nodes: by the client's number.
        data: specifications by the client's number.
    """
    (run,) = Federation().parse(log.read_bytes(), log.name).runs
    opening = run.opening.message
    (applied,) = [one for one in recipes.load(str(folder / "fleet.yaml")).passes if one.name == "federated_finetune"]
    datasets = {nodes[number]: own_data(spec, None) for number, spec in data.items()}
    start, (first, _) = folder / "out" / "start", next(iter(datasets.values()))
    original = find_original(Request("fleetnets:net", preprocess=contract_of(start)), first, Silent()).module
    learner = start_of(start, original)
    ids = {load_private(folder / f"client-{n}" / "client.key").public.key_id: node for n, node in nodes.items()}
    away = {(ids[one.client], each.begin.number) for each in run.rounds for one in each.close.message.dropped}
    there = {(ids[one], each.begin.number) for each in run.rounds for one in each.begin.selected}
    heard = {
        (node, one.receipt.message.number)
        for n, node in nodes.items()
        for one in read_receipts(folder / f"client-{n}" / "receipts.jsonl")
    }
    plan = Plan(
        rounds=opening.rounds, per_round=len(nodes), update=applied.update, weighting=applied.weighting, seed=0,
        training=LocalTraining(
            **{name: getattr(applied, name) for name in SHARED}, flip=False, proximal=applied.proximal
        ),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        place = Simulation(Path(made) / "run", Path(made) / "log")
        server = place.opened(replace(opening, transport="memory"))

        def client(name: str) -> Client:
            key = next(load_private(folder / f"client-{n}" / "client.key") for n, node in nodes.items() if node == name)
            keeping = Keeping(Path(made) / name, simulated=True)
            return Client(key, lambda: datasets[name][1], learner, keeping, Spending())

        def lost(name: str, kind: str, number: int) -> bool:
            if kind == "receipt":  # a client that was killed before it had its receipt counts its update as lost
                return (name, server.closed) not in heard
            return kind == "train" and ((name, number) in away or (name, number) not in there)

        model = learner.layout.content(learner.model)
        transport = Memory(sorted(nodes.values()), client, lost)
        coordinator = Coordinator(plan, learner.layout, transport, server, place.folder)
        coordinator.start(model)
        coordinator.run()
        server.end(server.model, Spent(0.0))
        again = parse_run(place.log.read_bytes(), "log")
    return tuple(  # type: ignore[return-value]
        [(each.close.message.aggregate, each.close.message.model) for each in one.rounds] for one in (run, again)
    )


SHARED = ("epochs", "batch", "lr", "optimizer", "weight_decay", "warmup", "label_smoothing", "augment")
