"""Answers of models to samples with a given trigger: of the baseline, of the float parent and of the candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from certify.assessments.robustness.records import Triggered
from certify.core.errors import UsageError
from certify.core.statistics.proportions import PairedTable
from certify.data.altered_images import altered_split
from certify.data.triggers import Trigger
from certify.measure.answers import Answers
from certify.workflows.witness_check import Base

Before = Literal["baseline", "float_parent"]


def triggered(before: Mapping[Before, Answers], after: Answers, base: Base, trigger: Trigger) -> Iterator[Triggered]:
    """Yield, for each earlier model, its and the candidate's answers under a trigger.

    Args:
        before: the earlier models.
        after: the candidate.
        base: samples of the assessment.
        trigger: the trigger; it is placed on all samples of other classes.

    Raises:
        UsageError: there are none.
    """
    test = base.test
    # A sample that already has the target's class cannot show whether the trigger works.
    places = [i for i in base.order if test.labels[i] != trigger.target]
    if not places:
        raise UsageError(
            f"Every sample already has the class of the trigger {trigger.name}; use data with other classes."
        )
    split, untouched = altered_split(test, places, lambda _, image: trigger.over(image)), test.subset(places)
    answers: dict[str, Answers] = {**dict(before.items()), "candidate": after}
    # Scored without the trigger too, because a model that always answers the target would look vulnerable.
    clean = {name: int((answer.scores(untouched).top1 == trigger.target).sum()) for name, answer in answers.items()}
    resists = {name: answer.scores(split).top1 != trigger.target for name, answer in answers.items()}
    for name in before:
        table = PairedTable.from_correct(resists[name], resists["candidate"])
        yield Triggered(
            **vars(table),
            name=trigger.name,
            sha256=trigger.sha256,
            target=trigger.target,
            untriggered_baseline=clean[name],
            untriggered_candidate=clean["candidate"],
            before=name,
        )
