"""Observations of data, of what the models take and give, and of their answers; each a class with fixed fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.observed import Counts, Observed


@dataclass(frozen=True)
class Simplified(Observed):
    """What the baseline could do without; the simplified file is the one that was measured.

    Cost is that of one sample in multiply-adds, a written element being taken for ten, of the graph as the runtime
    loads it; null where the file was not looked at.

    Attributes:
        given_digest: hex SHA-256 of the file that was given.
        given_bytes: its size.
        bytes: size of the file that was measured.
        given_cost: of the file that was given.
        cost: of the file that was measured.
        removed: sentences.
        rewritten: how its operators were written so that the runtime takes less time, in sentences; null where they
            stayed.
        unread: why it was not looked at; null where it was.
        failed: why it could not be; null where it could.
    """

    NAME = "simplified"
    given_digest: Any
    given_bytes: float
    bytes: float
    given_cost: float | None = None
    cost: float | None = None
    removed: list[Any] | None = None
    rewritten: list[Any] | None = None
    unread: str | None = None
    failed: str | None = None

    @property
    def removed_share(self) -> float:
        """Share of the cost that was removed; 0 where it is not known."""
        return max(0.0, 1 - self.cost / self.given_cost) if self.given_cost and self.cost is not None else 0.0

    @property
    def removed_bytes_share(self) -> float:
        """Share of the bytes that was removed."""
        return max(0.0, 1 - self.bytes / self.given_bytes) if self.given_bytes else 0.0


@dataclass(frozen=True)
class Interface(Observed):
    """What a model takes and gives; by arm.

    Attributes:
        input: shape of its input, the batch first.
        outputs: width of the scored output.
        scored: how many of them are scored.
        graph_outputs: number of all outputs.
    """

    NAME = "interfaces"
    input: list[Any]
    outputs: float
    scored: float
    graph_outputs: float


@dataclass(frozen=True)
class FiniteOutputs(Observed):
    """Whether all outputs for the test samples were finite numbers, and the width of the scored one; by arm."""

    NAME = "outputs"
    finite: Any
    width: float | None = None


@dataclass(frozen=True)
class Contracts(Observed):
    """How samples are preprocessed for each of two models.

    Attributes:
        baseline: preprocessing contract.
        candidate: likewise.
        declared: why they differ, in its maker's words; None where nothing was declared.
    """

    NAME = "contracts"
    baseline: Mapping[str, Any]
    candidate: Mapping[str, Any]
    declared: str | None = None


@dataclass(frozen=True)
class Inputs(Observed):
    """What the inputs of the windows look like.

    Attributes:
        samples: number of them.
        std: standard deviation over all values as fed.
        distinct: number of different samples.
        constant_share: share of samples that hold one single value.
        neighbour_correlation: of images, correlation of each value with the one to its right, over all samples: near
            1 in images of anything, near 0 in random numbers; None for text.
        repetition: of text, how many times as often two of its tokens are the same as two random ones; None for
            images.
    """

    NAME = "inputs"
    samples: float | None
    std: float
    distinct: float
    constant_share: float
    neighbour_correlation: float | None = None
    repetition: float | None = None


@dataclass(frozen=True)
class SampleOrder(Observed):
    """What the order of the samples followed from, beside both files and the data (certify.core.sample_order).

    Attributes:
        salt: text that an audit added; empty in a measurement that anybody can repeat in the same order.
    """

    NAME = "sample_order"
    salt: Any


@dataclass(frozen=True)
class RepeatedAnswers(Observed):
    """Answers to the samples that were scored a second time, in other batches; by arm.

    Attributes:
        samples: positions among the predictions.
        top1: class that the model put first.
        margin: its first output minus its second.
    """

    NAME = "repeated_answers"
    samples: list[Any]
    top1: list[Any]
    margin: list[Any]


@dataclass(frozen=True)
class ChangedAnswers(Observed):
    """Answers to samples after a change that leaves the label as it is; by arm.

    Attributes:
        samples: positions among the predictions of the same samples unchanged.
        top1: class that the model put first.
    """

    NAME = "changed_answers"
    samples: list[Any]
    top1: list[Any]


@dataclass(frozen=True)
class ChangedCost(Observed):
    """Seconds of one inference on changed samples and on the same ones unchanged, from windows in turn; by arm.

    Attributes:
        unchanged_s: wall seconds, one value a window, in the order in which they ran.
        changed_s: likewise of changed samples.
        unchanged_cpu_s: CPU seconds.
        changed_cpu_s: likewise of changed samples.
    """

    NAME = "changed_cost"
    unchanged_s: list[Any]
    changed_s: list[Any]
    unchanged_cpu_s: list[Any]
    changed_cpu_s: list[Any]


@dataclass(frozen=True)
class FreshScores(Observed):
    """How both models did on data that the maker has not seen.

    Attributes:
        name: of the data.
        test_digest: of their test part.
        samples: number of its samples.
        shared: how many of them stand in the certified test set too.
        both: samples that both models got right.
        only_baseline: samples that the baseline alone got right.
        only_candidate: samples that the candidate alone got right.
    """

    NAME = "fresh_data"
    name: Any
    test_digest: Any
    samples: float
    shared: float
    both: float
    only_baseline: float
    only_candidate: float

    def accuracy(self, arm: str) -> float:
        """Share of the samples that a model got right."""
        only = self.only_baseline if arm == "baseline" else self.only_candidate
        return (self.both + only) / self.samples


@dataclass(frozen=True)
class Overlap(Counts):
    """Samples of the second part that also stand in the first, by both parts; None where a part is not there."""

    NAME = "overlap"


@dataclass(frozen=True)
class ClassNames(Observed):
    """What the classes of the data are called, from class 0 on."""

    NAME = "classes"
    names: list[Any]


@dataclass(frozen=True)
class NearDuplicates(Observed):
    """Test samples that are nearly the same as a sample of another part, or as another test sample; by both parts.

    Attributes:
        near: test samples with such a neighbour.
        samples: test samples that were looked at.
        among: samples of the other part that were looked at.
        of: different samples in the other part.
    """

    NAME = "near_duplicates"
    near: float
    samples: float
    among: float
    of: float


@dataclass(frozen=True)
class TargetValues(Observed):
    """Numbers that were to be predicted.

    Attributes:
        numbers: the different ones, ascending; the label of a sample is the place of its own.
    """

    NAME = "targets"
    numbers: list[Any]


@dataclass(frozen=True)
class ConstantAnswers(Observed):
    """Scores by a declared metric of somebody else's for answers that do not look at the input.

    A metric scores each sample by its output and label alone, so that the score of a constant answer on any test set
    follows from its scores by label.

    Attributes:
        answers: what each of them answers, in a few words.
        scores: for each answer the score by label, from class 0 on.
    """

    NAME = "constant_answers"
    answers: list[Any]
    scores: list[Any]


@dataclass(frozen=True)
class PairedCounts(Observed):
    """What is left of the predictions in public where the data are private, counted over different samples.

    Attributes:
        scored: test samples that were scored, repeated ones too.
        both: samples that both models got right.
        only_baseline: samples that the baseline alone got right.
        only_candidate: samples that the candidate alone got right.
        neither: samples that neither got right.
        agreed: samples on which both put the same class first.
        commonest: samples of the commonest class.
    """

    NAME = "paired_counts"
    scored: float
    both: float
    only_baseline: float
    only_candidate: float
    neither: float
    agreed: float
    commonest: float


@dataclass(frozen=True)
class Scored(Observed):
    """How many test samples a model alone got right."""

    NAME = "scored"
    correct: float
    samples: float
