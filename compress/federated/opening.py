"""The opening of a run, as the log states it, from what is fixed before the first round."""

from __future__ import annotations

from certify import __version__
from certify.core.data_use.times import now
from certify.core.federation import Rule, Run, Update, Use
from compress.federated.plan import Plan
from compress.federated.public_samples import PublicSamples
from compress.federated.weights import Layout

UNKNOWN = "0" * 64
"""Stands for the run's name and the server's key until the log is made, which fills them in."""


def opening_of_rounds(
    plan: Plan, layout: Layout, model: str, population: int, use: Use, transport: str = "memory"
) -> Run:
    """The opening of FedAvg and its relatives.

    Args:
        plan: what is fixed.
        layout: of the model.
        model: digest of the model that goes in.
        population: clients that might be asked.
        use: what their data are used for.
        transport: by its name.
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
    """The opening of FedDF: one round, in which all clients answer.

    Args:
        public: samples that all have.
        outputs: of the model.
        temperature: by which answers are softened.
        layout: of the model.
        model: digest of the model that goes in.
        population: clients that are asked.
        use: what their data are used for.
    """
    return Run(
        run=UNKNOWN, server=UNKNOWN, leanmark=__version__, started=now(), model=model, parameters=layout.count,
        transport="memory", method="feddf", population=population, rounds=1, selection=Rule("all"),
        aggregation=Rule("mean", {"temperature": temperature}),
        update=Update("logits", len(public) * outputs, 16, 0), use=use,
    )  # fmt: skip
