"""Opening of a run for the log, from the settings fixed before the first round."""

from __future__ import annotations

from certify import __version__
from certify.core.data_use.times import now
from certify.core.federation import Rule, Run, Update, Use
from compress.federated.plan import Plan
from compress.federated.public_samples import PublicSamples
from compress.federated.weights import Layout

UNKNOWN = "0" * 64
"""Placeholder for the run's nonce and the server's key, which are filled in when the log is created."""


def opening_of_rounds(
    plan: Plan, layout: Layout, model: str, population: int, use: Use, transport: str = "memory"
) -> Run:
    """Return the opening of a run of FedAvg or a variant.

    Args:
        plan: settings of the run.
        layout: layout of the model.
        model: digest of the initial model.
        population: number of clients that may take part.
        use: use of the clients' data.
        transport: name of the transport.
    """
    return Run(
        run=UNKNOWN, server=UNKNOWN, leanmark=__version__, started=now(), model=model, parameters=layout.count,
        transport=transport, method="fedavg", population=population, rounds=plan.rounds,
        selection=plan.logged_selection(), aggregation=plan.logged_aggregation(), update=plan.logged_update(layout),
        use=use, mask_threshold=plan.threshold, privacy=None if plan.noise is None else plan.noise.described(),
    )  # fmt: skip


def opening_of_logits(
    public: PublicSamples,
    outputs: int,
    temperature: float,
    layout: Layout,
    model: str,
    population: int,
    use: Use,
) -> Run:
    """Return the opening of a simulated run of FedDF: one round, in which all clients answer.

    Args:
        public: samples that all clients have.
        outputs: number of outputs of the model.
        temperature: temperature of the softmax.
        layout: layout of the model.
        model: digest of the initial model.
        population: number of clients.
        use: use of the clients' data.
    """
    return Run(
        run=UNKNOWN, server=UNKNOWN, leanmark=__version__, started=now(), model=model, parameters=layout.count,
        transport="memory", method="feddf", population=population, rounds=1, selection=Rule("all"),
        aggregation=Rule("mean", {"temperature": temperature}),
        update=Update("logits", len(public) * outputs, 16, 0), use=use,
    )  # fmt: skip
