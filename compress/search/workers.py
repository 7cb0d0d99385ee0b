"""Work of one process for a study."""

from __future__ import annotations

from collections.abc import Callable

from certify.core.estimate import Estimate
from compress.search.question import Question
from compress.search.study import Study
from compress.search.trial import Objective
from compress.search.trial_output import TrialOutput
from compress.search.turns import Turns
from compress.search.workshop import Workshop


def objective_of(
    question: Question, workshop: Workshop, measure: Callable[[TrialOutput], Estimate] | None = None
) -> Objective:
    """Return the objective of a process.

    Args:
        question: question of the search.
        workshop: makes models, and measures them unless ``measure`` does.
        measure: measures a made model elsewhere.
    """
    # Bytes are counted, which takes no turn.
    counted = workshop.cost if question.objective == "bytes" else None
    return Objective(workshop, question.max_loss_percent, Turns(), counted or measure)


def work(question: Question, until_s: float) -> None:
    """Run trials of a question in this process; the study already exists."""
    workshop = Workshop(question)
    Study(question, workshop.space, workshop.job).work(objective_of(question, workshop), until_s)
