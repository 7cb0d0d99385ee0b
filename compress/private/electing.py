"""Training the teachers of PATE and holding their vote."""

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
"""Of a teacher's training; the same for all data, so that nothing is chosen by a look at them."""
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Election:
    """Who votes, on what, and how.

    Attributes:
        teachers: number of them.
        steps: of each teacher's training.
        by_features: whether they see what the model's head reads, and not the samples themselves.
        vote: how votes are held.
    """

    teachers: int
    steps: int
    by_features: bool
    vote: Vote


def elect(
    model: nn.Module, private: Split, public: Split, election: Election, context: PassContext
) -> tuple[list[Labels], Labels, Labels]:
    """Train teachers on disjoint parts and have them label public samples.

    Args:
        model: whose features teachers may see; in eval mode.
        private: the private part, read under the mechanism.
        public: samples to ask about, in order.
        election: who votes, and how.
        context: of the pass.

    Returns:
        Samples of each part, which public samples were answered, and the answers. The counts of votes stay here.

    Raises:
        UsageError: the parts are too small.
        ModelError: the votes do not hold the noise that is accounted for.
    """
    classes, vote = len(context.data.classes), election.vote
    none = np.zeros(classes, dtype=np.int64)
    require_noise(lambda: teachers.noisy_votes(none, vote), vote.noise, f"gnmax#{context.place}")
    parts = teachers.parts_of(private, election.teachers)
    teachers.require_disjoint(parts)
    queries = _inputs(model, public, election, context)
    scale, shift = _scale(queries)
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
    """One deviation for all inputs, and the mean of each, over public samples."""
    return max(float(queries.std()), 1e-12), queries.mean(0)


def _inputs(model: nn.Module, split: Split, election: Election, context: PassContext) -> npt.NDArray[np.float64]:
    if election.by_features:
        path = features.linear_head(model, len(context.data.classes), context.preprocess)
        return features.features(model, path, split, context.preprocess)
    samples = as_tensor(context.preprocess.batch(split, np.arange(len(split))))
    flat: npt.NDArray[np.float64] = samples.flatten(1).double().numpy()
    return flat
