"""What a plan names, tried before any work is done for it."""

from __future__ import annotations

from certify.data.metrics import get_metric
from certify.measure import meters, runtimes
from certify.measure.plan import Plan


def require_usable(plan: Plan) -> None:
    """Make sure that runtime, metric and meter of a plan can be used here.

    Raises:
        UsageError: one cannot, or this system cannot measure.
    """
    runtimes.check(plan.runtime)
    get_metric(plan.metric)
    if plan.meter is not None and not plan.meter.startswith(meters.RECORD):
        meters.get(plan.meter)
