"""From data with group columns and the answers of one or two models to records of the social assessment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from certify.assessment.record_file import ModelDigests
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.records import (
    Calibration,
    DataFacts,
    Flips,
    Header,
    Kind,
    MetricCounts,
    Record,
    Records,
    Reliability,
    Turned,
)
from certify.assessments.social.tabulate import Answers, parse_groups, tabulate
from certify.core.errors import DataError
from certify.core.evidence import ModelFacts
from certify.core.folders import published
from certify.core.group_columns import columns_digest
from certify.core.statistics.proportions import PairedTable
from certify.data.counterfactuals import exchanged_splits
from certify.data.dataset import Dataset
from certify.measure.predictions import Predicted
from certify.measure.recognition import Scorer

MOST_CLASSES = 1000
TOP = 3

Combinations = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ArmAnswers:
    """Answers of one model: to the samples, and whether they stay the same when an attribute is exchanged."""

    predicted: Predicted
    stays: Mapping[str, npt.NDArray[np.bool_]]


@dataclass
class Grouping:
    """Collector of both models' answers by group; :meth:`collect` runs once per model, while its worker is warm.

    Attributes:
        dataset: data set with group columns.
        combinations: columns, and pairs of columns to cross.
        edition: edition that says what may be published.
        exchanges: whether to also score samples with an attribute exchanged, which takes one pass over the data per
            other value; ``certify --groups`` does not, so that groups add almost no cost.
        answers: answers by arm.
    """

    dataset: Dataset
    combinations: Combinations
    edition: SocialEdition
    exchanges: bool = False
    answers: dict[str, ArmAnswers] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, groups: str, edition: SocialEdition, exchanges: bool = False) -> Grouping:
        """Parse the requested groups, and refuse before measuring what cannot be published.

        Raises:
            UsageError: the data lack a column.
            DataError: the task is regression, or fewer than two groups have enough people.
        """
        test = dataset.test
        if test.targets is not None:
            raise DataError(
                "Groups are compared by classification errors, but the task of these data is regression; omit --groups."
            )
        combinations = parse_groups(groups, list(test.groups))
        grouping = cls(dataset, combinations, edition, exchanges)
        # Tabulated with made-up answers, so that groups too small to publish are refused before hours of measuring.
        right = np.ones(len(test), dtype=np.bool_)
        grouping._tables(right, right)
        return grouping

    def collect(self, arm: str, scorer: Scorer, dataset: Dataset, predicted: Predicted) -> None:
        """Record a model's answers, and if requested its answers with each input attribute exchanged."""
        stays = {}
        # Exchanges are defined for single columns only.
        for (column,) in (combination for combination in self.combinations if len(combination) == 1 and self.exchanges):
            others = [scorer.predict(replace(dataset, test=split)) for split in exchanged_splits(dataset.test, column)]
            # A column with one value has nothing to exchange.
            if others:
                stays[column] = np.all([other.top1 == predicted.top1 for other in others], axis=0)
        self.answers[arm] = ArmAnswers(predicted, stays)

    def records(self, models: Mapping[str, ModelFacts], created: str, leanmark: str) -> Records:
        """Return the records of the collected answers.

        Args:
            models: facts about the models, by arm.
            created: UTC time of the measurement.
            leanmark: version that made the measurement.
        """
        after = self.answers["candidate"]
        # Without an original the model is compared with itself, and the rows about change are left out.
        before, labels = self.answers.get("baseline", after), self.dataset.test.labels
        attributes, tables = self._tables(before.predicted.top1 == labels, after.predicted.top1 == labels)
        digests = {arm: ModelDigests(facts.file_digest, facts.content_digest) for arm, facts in models.items()}
        baseline = digests.get("baseline") if "baseline" in self.answers else None
        data = self._data()
        header = Header(created, leanmark, digests["candidate"], self._decision, baseline, data, attributes)
        return Records(header, (*tables, *self._measures(before, after, baseline is not None)))

    def _tables(self, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
        places, test = self._distinct, self.dataset.test
        answers = Answers(test.labels[places], before[places], after[places], self._decision)
        columns = {name: values[places] for name, values in test.groups.items()}
        return tabulate(answers, columns, self.combinations, self.edition)

    @property
    def _decision(self) -> Kind:
        return "binary" if len(self.dataset.classes) == 2 else "classes"

    @property
    def _distinct(self) -> npt.NDArray[np.int64]:
        """Return the first index of each distinct sample, as the efficiency certificate counts them."""
        first: dict[str, int] = {}
        # The first occurrence counts, as in the efficiency certificate.
        for place, digest in enumerate(self.dataset.test.digests()):
            first.setdefault(digest, place)
        return np.array(sorted(first.values()), dtype=np.int64)

    def _data(self) -> DataFacts:
        whole, columns = self.dataset.test_digest(), self.dataset.column_digests()
        return DataFacts(
            self.dataset.name[:200],
            published(self.dataset.spec)[:4000],
            len(self._distinct),
            whole,
            columns,
            columns_digest(whole, columns),
            tuple(str(name)[:200] or "class" for name in self.dataset.classes[:MOST_CLASSES]),
        )

    def _measures(self, before: ArmAnswers, after: ArmAnswers, compares: bool) -> Iterator[Record]:
        places = self._distinct
        yield from _calibration(before.predicted, after.predicted, places)
        for arm, answers in {"baseline": before, "candidate": after}.items():
            if arm == "candidate" or compares:
                yield from _reliability(
                    arm, answers.predicted, self.dataset.test.labels, places, self.edition.calibration_bins
                )
        if compares:
            yield from _turned(before.predicted, after.predicted, self.dataset, places, self.edition.margin_parts)
        for column in after.stays:
            if column in before.stays:
                table = PairedTable.from_correct(before.stays[column][places], after.stays[column][places])
                yield Flips(**vars(table), attribute=column)
        first, second = before.predicted.beyond, after.predicted.beyond
        if first is not None and second is not None and len(self.dataset.classes) > TOP:
            table = PairedTable.from_correct(first.rank[places] < TOP, second.rank[places] < TOP)
            yield MetricCounts(**vars(table), name="top3")


def _calibration(before: Predicted, after: Predicted, places: npt.NDArray[np.int64]) -> Iterator[Calibration]:
    if before.beyond is None or after.beyond is None:
        return
    for score in ("brier", "log_loss"):
        first, second = (getattr(answers.beyond, score)[places] for answers in (before, after))
        gap = second - first
        # Sums instead of means, because the judge derives every figure from integers and sums.
        sums = (float(np.sum(part)) for part in (first, second, gap, gap**2))
        yield Calibration(score, len(places), *sums)  # type: ignore[arg-type]


def _reliability(
    arm: str, predicted: Predicted, labels: npt.NDArray[np.int64], places: npt.NDArray[np.int64], bins: int
) -> Iterator[Reliability]:
    if predicted.beyond is None:
        return
    confidence, right = predicted.beyond.confidence[places], (predicted.top1 == labels)[places]
    # A confidence of exactly 1 belongs to the last bin.
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    n = np.bincount(place, minlength=bins).tolist()
    sums = np.bincount(place, weights=confidence, minlength=bins).tolist()
    hits = np.bincount(place, weights=right, minlength=bins).astype(np.int64).tolist()
    yield Reliability(arm, tuple(n), tuple(sums), tuple(hits))  # type: ignore[arg-type]


def _turned(
    before: Predicted, after: Predicted, dataset: Dataset, places: npt.NDArray[np.int64], parts: int
) -> Iterator[Turned]:
    turned, labels = (before.top1 != after.top1)[places], dataset.test.labels[places]
    for label in range(min(len(dataset.classes), MOST_CLASSES)):
        members = labels == label
        yield Turned("class", label, int(members.sum()), int(turned[members].sum()))
    # Stable, so that equal margins keep their order on every platform.
    order = np.argsort(before.margin[places], kind="stable")
    for place, part in enumerate(np.array_split(turned[order], parts)):
        yield Turned("margin", place, len(part), int(part.sum()))
