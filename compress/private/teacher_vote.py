"""Training of the teachers of PATE, and their vote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from certify.data import Split
from compress.core.context import PassContext
from compress.core.samples import as_tensor
from compress.private import features, teachers
from compress.private.noise_check import require_noise
from compress.private.teachers import Vote

DECAY, LR = 1e-2, 0.02
"""Settings of a teacher's training, the same for all data, so that nothing is chosen by looking at them."""
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Election:
    """Settings of an election: the teachers, their inputs, and the vote.

    Attributes:
        teachers: number of teachers.
        steps: number of steps of each teacher's training.
        by_features: whether teachers see the inputs of the model's head instead of the samples.
        vote: settings of the vote.
    """

    teachers: int
    steps: int
    by_features: bool
    vote: Vote


def elect(
    model: nn.Module, private: Split, public: Split, election: Election, context: PassContext
) -> tuple[list[Labels], Labels, Labels]:
    """Train teachers on disjoint parts, and let them label public samples.

    Args:
        model: model in eval mode; teachers may see its features.
        private: the private part, read under the name of the mechanism.
        public: samples to label, in order.
        election: teachers and settings of the vote.
        context: context of the pass.

    Returns:
        The samples of each part, the indices of the answered public samples, and the answers. Vote counts are not
        returned.

    Raises:
        UsageError: the parts are too small.
        ModelError: the votes do not contain the noise that is accounted for.
    """
    classes, vote = len(context.data.classes), election.vote
    # Tested before any teacher is trained, because training takes minutes.
    none = np.zeros(classes, dtype=np.int64)
    require_noise(lambda: teachers.noisy_votes(none, vote), vote.noise, f"gnmax#{context.place}")
    parts = teachers.parts_of(private, election.teachers)
    teachers.require_disjoint(parts)
    queries = _inputs(model, public, election, context)
    scale, shift = _scale(queries)
    # Scale by the public samples, because statistics of a private part would be a release without noise.
    queries = (queries - shift) / scale
    counts = np.zeros((len(queries), classes), dtype=np.int64)
    with context.progress.task("Training teachers", total=len(parts)) as bar:
        for part in parts:
            own = private.subset(part)
            inputs = (_inputs(model, own, election, context) - shift) / scale
            weights = teachers.train_teacher(inputs, own.labels, classes, election.steps, DECAY, LR)
            teachers.add_votes(counts, weights, queries)
            bar.advance()
    return (parts, *teachers.answer(counts, vote))


def _scale(queries: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Return one deviation for all inputs, and the mean of each input, over public samples."""
    return max(float(queries.std()), 1e-12), queries.mean(0)


def _inputs(model: nn.Module, split: Split, election: Election, context: PassContext) -> npt.NDArray[np.float64]:
    if election.by_features:
        path = features.linear_head(model, len(context.data.classes), context.preprocess)
        return features.read_features(model, path, split, context.preprocess)
    samples = as_tensor(context.preprocess.batch(split, np.arange(len(split))))
    flat: npt.NDArray[np.float64] = samples.flatten(1).double().numpy()
    return flat
