"""Named checks of a federation statement, over all runs of the log."""

from __future__ import annotations

from collections.abc import Iterator

from certify.assessments.federation.edition import FederationEdition
from certify.assessments.federation.records import Records, Step
from certify.core.data_use.decision import Request, decide
from certify.core.federation import FederatedRun
from certify.core.federation.consistency import CHECKS, problems
from certify.core.finding import Finding

NAMES = (*CHECKS, "model_in_lineage", "policy_permits", "enough_clients")


def judge_findings(records: Records, edition: FederationEdition) -> tuple[Finding, ...]:
    """Run all checks; a failed one refuses the statement."""
    found = [
        _finding(name, [problem for run in records.runs for problem in problems(run, name)], CHECKS[name][1])
        for name in CHECKS
    ]  # fmt: skip
    return (
        *found,
        _finding("model_in_lineage", list(_lineage(records)), "The lineage names the models that the runs state."),
        _policy_permits(records),
        _finding("enough_clients", list(_too_few(records, edition)), "Enough clients took part."),
    )


def _finding(name: str, wrong: list[str], holds: str) -> Finding:
    if not wrong:
        return Finding(name, "pass", holds)
    more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return Finding(name, "fail", f"{wrong[0]}{more}.")


def _lineage(records: Records) -> Iterator[str]:
    """Check that the passes of the lineage are consecutive, and that each run is one of them, in order."""
    steps = list(records.steps)
    if not all(_follows(step, other) for step, other in zip(steps, steps[1:], strict=False)):
        yield "The passes of the lineage do not follow one another"
    names = [run.opening.message.run for run in records.runs]
    if len(names) != len(set(names)):
        yield "A run is in the log twice"
    at = 0
    for run in records.runs:
        opening = run.opening.message
        models = opening.model, None if run.end is None else run.end.message.model
        # The search starts after the pass found last, so that runs must be in the order of the passes.
        place = next((n for n in range(at, len(steps)) if (steps[n].model_in, steps[n].model_out) == models), None)
        if place is None:
            yield f"No pass of the lineage has the models that run {opening.run[:16]} began and ended with"
        else:
            at = place + 1


def _follows(step: Step, following: Step) -> bool:
    """Return whether a pass takes up the model of the pass before it; the export from torch changes the digest."""
    # The export changes the format, and with it the digest.
    if (step.stage, following.stage) == ("torch", "onnx"):
        return True
    return step.stage == following.stage and step.model_out == following.model_in


def _policy_permits(records: Records) -> Finding:
    """Evaluate each use policy again for every entry that names it."""
    name, unknown, entries = "policy_permits", set(), 0
    for run in records.runs:
        use = run.opening.message.use
        for each in run.rounds:
            for entry in (signed.message for signed in each.entries):
                policy = None if entry.policy is None else records.policies.get(entry.policy)
                if policy is None:
                    unknown.add(entry.client)
                    continue
                # The policy must have permitted it when the round began, before the client computed anything.
                request = Request(use.action, use.purpose, use.recipient, each.begin.started)
                decision = decide(policy, request)
                if not decision.permitted:
                    explanation = f"Client {entry.client[:16]} took part in round {entry.number} against its policy"
                    return Finding(name, "fail", f"{explanation}: {decision.sentence}")
                entries += 1
    if unknown:
        sentence = f"The data of {len(unknown)} clients have no use policy, or it is not on record."
        return Finding(name, "unknown", sentence)
    return Finding(name, "pass", f"The use policies permit all {entries} entries.")


def took_part(run: FederatedRun) -> set[str]:
    """Return the ids of clients with an entry."""
    return {entry.message.client for entry in run.entries}


def _too_few(records: Records, edition: FederationEdition) -> Iterator[str]:
    for run in records.runs:
        count = len(took_part(run))
        if count < edition.least_clients:
            yield f"{count} clients took part; a federation has at least {edition.least_clients}"
        if run.opening.message.privacy is not None and count < edition.least_private_clients:
            yield (
                f"{count} clients took part; a meaningful client-level epsilon needs at least "
                f"{edition.least_private_clients}"
            )
