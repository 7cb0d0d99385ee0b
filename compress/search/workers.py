"""Work of one process for a study."""

from __future__ import annotations

from compress.search.question import Question
from compress.search.study import Study
from compress.search.trial import Objective
from compress.search.turns import Turns
from compress.search.workshop import Workshop


def work(question: Question, until_s: float) -> None:
    """Run trials of a question in this process; the study already exists."""
    workshop = Workshop(question)
    objective = Objective(workshop, question.max_loss_percent, Turns())
    Study(question, workshop.space, workshop.job).work(objective, until_s)
