"""Observations of the data, the models' interfaces and their predictions; each a class with fixed fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.observation import Counts, Observed


@dataclass(frozen=True)
class Interface(Observed):
    """Interface of a model; by arm.

    Attributes:
        input: shape of its input, the batch first.
        outputs: width of the scored output.
        scored: number of scored columns.
        graph_outputs: number of outputs of the graph.
    """

    NAME = "interfaces"
    input: list[Any]
    outputs: float
    scored: float
    graph_outputs: float


@dataclass(frozen=True)
class FiniteOutputs(Observed):
    """Whether all outputs for the test samples were finite, and the width of the scored output; by arm."""

    NAME = "outputs"
    finite: Any
    width: float | None = None


@dataclass(frozen=True)
class Contracts(Observed):
    """Preprocessing contracts of two models.

    Attributes:
        baseline: contract of the baseline.
        candidate: contract of the candidate.
        declared: why they differ, in the maker's words; None if not declared.
    """

    NAME = "contracts"
    baseline: Mapping[str, Any]
    candidate: Mapping[str, Any]
    declared: str | None = None


@dataclass(frozen=True)
class Inputs(Observed):
    """Statistics of the inputs of the windows.

    Attributes:
        samples: number of samples.
        std: standard deviation over all preprocessed values.
        distinct: number of distinct samples.
        constant_share: fraction of samples with a single constant value.
        neighbour_correlation: for images, correlation of each value with its right neighbour, over all samples: near 1
            for real images, near 0 for random numbers; None for text.
        repetition: for text, how much more often two tokens are equal than two random tokens; None for images.
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
    """Further seed of the samples' order, besides both files and the data (certify.core.sample_order).

    Attributes:
        salt: text added by an audit; empty for a measurement that anybody can repeat in the same order.
    """

    NAME = "sample_order"
    salt: Any


@dataclass(frozen=True)
class RepeatedAnswers(Observed):
    """Predictions for the samples that were scored again in other batches; by arm.

    Attributes:
        samples: positions among the predictions.
        top1: top-1 class of the model.
        margin: its largest output minus its second largest.
    """

    NAME = "repeated_answers"
    samples: list[Any]
    top1: list[Any]
    margin: list[Any]


@dataclass(frozen=True)
class ChangedAnswers(Observed):
    """Predictions for samples after label-preserving changes; by arm.

    Attributes:
        samples: positions of the unchanged samples among the predictions.
        top1: top-1 class of the model.
    """

    NAME = "changed_answers"
    samples: list[Any]
    top1: list[Any]


@dataclass(frozen=True)
class ChangedCost(Observed):
    """Seconds per inference on changed samples and on the same samples unchanged, from windows in turn; by arm.

    Attributes:
        unchanged_s: wall seconds on unchanged samples, one value per window, in order of execution.
        changed_s: wall seconds on changed samples.
        unchanged_cpu_s: CPU seconds on unchanged samples.
        changed_cpu_s: CPU seconds on changed samples.
    """

    NAME = "changed_cost"
    unchanged_s: list[Any]
    changed_s: list[Any]
    unchanged_cpu_s: list[Any]
    changed_cpu_s: list[Any]


@dataclass(frozen=True)
class FreshScores(Observed):
    """Results of both models on data that the maker has not seen.

    Attributes:
        name: name of the data.
        test_digest: digest of their test part.
        samples: number of samples.
        shared: number of samples that are also in the certified test set.
        both: samples that both models got right.
        only_baseline: samples that only the baseline got right.
        only_candidate: samples that only the candidate got right.
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
        """Return the fraction of the samples that a model got right."""
        only = self.only_baseline if arm == "baseline" else self.only_candidate
        return (self.both + only) / self.samples


@dataclass(frozen=True)
class Overlap(Counts):
    """Number of samples of the second part that also occur in the first, by pair of parts; None for a missing part."""

    NAME = "overlap"


@dataclass(frozen=True)
class ClassNames(Observed):
    """Names of the classes of the data, from class 0 on."""

    NAME = "classes"
    names: list[Any]


@dataclass(frozen=True)
class NearDuplicates(Observed):
    """Test samples that nearly equal a sample of another part, or another test sample; by pair of parts.

    Attributes:
        near: number of test samples with such a neighbour.
        samples: number of examined test samples.
        among: number of examined samples of the other part.
        of: number of distinct samples in the other part.
    """

    NAME = "near_duplicates"
    near: float
    samples: float
    among: float
    of: float


@dataclass(frozen=True)
class TargetValues(Observed):
    """Numeric targets.

    Attributes:
        numbers: distinct targets, ascending; a sample's label is the index of its target.
    """

    NAME = "targets"
    numbers: list[Any]


@dataclass(frozen=True)
class ConstantAnswers(Observed):
    """Scores of constant answers by a third-party metric.

    A metric scores each sample by its output and label alone, so the score of a constant answer on any test set follows
    from its scores by label.

    Attributes:
        answers: descriptions of the answers.
        scores: for each answer its score by label, from class 0 on.
    """

    NAME = "constant_answers"
    answers: list[Any]
    scores: list[Any]


@dataclass(frozen=True)
class PairedCounts(Observed):
    """Public summary of the predictions for private data, counted over distinct samples.

    Attributes:
        scored: scored test samples, including repeated ones.
        both: samples that both models got right.
        only_baseline: samples that the baseline alone got right.
        only_candidate: samples that the candidate alone got right.
        neither: samples that neither got right.
        agreed: samples for which both have the same top-1 class.
        commonest: samples of the most common class.
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
    """Number of test samples that a single model got right."""

    NAME = "scored"
    correct: float
    samples: float
