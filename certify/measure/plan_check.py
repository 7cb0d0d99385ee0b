"""Early checks of a plan, before any work is done for it."""

from __future__ import annotations

from certify.data.metrics import get_metric
from certify.measure import meters, runtimes
from certify.measure.plan import Plan


def require_usable(plan: Plan) -> None:
    """Check that the runtime, metric and meter of a plan are usable here.

    Raises:
        UsageError: one is not, or this system cannot measure.
    """
    runtimes.check(plan.runtime)
    get_metric(plan.metric)
    # "record:" is not a meter but a request to record the best one; meters.require checks it.
    if plan.meter is not None and not plan.meter.startswith(meters.RECORD):
        meters.get(plan.meter)
