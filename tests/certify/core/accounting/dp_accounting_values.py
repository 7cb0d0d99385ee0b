"""Epsilons and divergences by Google's dp-accounting, with which the accountant is compared.

    python tests/certify/core/accounting/dp_accounting_values.py > tests/certify/core/accounting/dp_accounting.json

It needs only dp-accounting (0.6.0 made the table), of the extra accountant. The tests compare the accountant with the
table, and the table with the package where it is installed.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from typing import Any

ORDERS = (*range(2, 65), 72, 80, 96, 112, 128, 160, 192, 256, 384, 512)
"""Orders of our accountant."""
SOME_ORDERS = (2, 3, 8, 32, 128, 512)
"""Orders whose divergences are listed."""
TRAININGS = (
    # q, noise, steps, delta
    (1 / 12, 1.5, 480, 1e-5),
    (1 / 12, 0.8, 480, 1e-5),
    (0.01, 1.0, 5000, 1e-5),
    (0.004, 1.1, 15000, 1e-5),
    (256 / 60000, 0.7, 14000, 1e-6),
    (1.0, 20.0, 100, 1e-5),
    (0.2, 2.384, 300, 1e-5),
    (0.2, 26.66, 300, 1e-5),
    (0.5, 4.0, 50, 1e-7),
    (0.001, 0.6, 100000, 1e-8),
)
VOTES = (
    # noise, answers, noise of the check, queries, delta
    (40.0, 2000, None, None, 1e-5),
    (40.0, 1264, 150.0, 2000, 1e-5),
    (100.0, 300, None, None, 1e-6),
)


def table() -> dict[str, Any]:
    """Return all values."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # fractional orders that do not converge are left out
    return {
        "version": version("dp-accounting"),
        "trainings": [_training(*one) for one in TRAININGS],
        "votes": [_votes(*one) for one in VOTES],
    }


def _training(rate: float, noise: float, steps: int, delta: float) -> dict[str, Any]:
    import dp_accounting
    from dp_accounting import pld, rdp

    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    ours, usual, one = rdp.RdpAccountant(ORDERS), rdp.RdpAccountant(), rdp.RdpAccountant(SOME_ORDERS)
    tight, replaced = pld.PLDAccountant(), pld.PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE)
    for accountant in (ours, usual, tight, replaced):
        accountant.compose(step, steps)
    one.compose(step)
    return {
        "rate": rate, "noise": noise, "steps": steps, "delta": delta,
        "divergences": [float(value) for value in one._rdp],
        "epsilon": float(ours.get_epsilon(delta)),
        "epsilon_usual_orders": float(usual.get_epsilon(delta)),
        "epsilon_pld": float(tight.get_epsilon(delta)),
        "epsilon_pld_replace_one": float(replaced.get_epsilon(delta)),
    }  # fmt: skip


def _votes(noise: float, answers: int, check: float | None, queries: int | None, delta: float) -> dict[str, Any]:
    """Return the cost of votes: an answer is a Gaussian mechanism of sensitivity sqrt(2), a check one of 1."""
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(ORDERS)
    accountant.compose(dp_accounting.GaussianDpEvent(noise / 2**0.5), answers)
    if check is not None and queries is not None:
        accountant.compose(dp_accounting.GaussianDpEvent(check), queries)
    return {
        "noise": noise, "answers": answers, "threshold_noise": check, "queries": queries, "delta": delta,
        "epsilon": float(accountant.get_epsilon(delta)),
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(table(), sys.stdout, indent=1)
    print()
