"""Order of the test samples in a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from certify.core.sample_order import ENERGY, order_seed, ranked
from certify.data.dataset import Dataset
from certify.measure.inputs import window_samples
from certify.measure.model_under_test import Subject
from certify.measure.plan import Plan


def order_seed_of(models: Sequence[Subject], dataset: Dataset, plan: Plan) -> str:
    """Return the seed of all sample orders: derived from both files, the data and the plan's salt."""
    return order_seed([model.facts.file_digest for model in models], dataset.test_digest(), plan.salt)


def energy_samples(models: Sequence[Subject], dataset: Dataset, plan: Plan) -> list[int]:
    """Return the samples for the windows of all models."""
    largest = max(model.preprocess.sample_bytes() for model in models)
    order = ranked(dataset.test.digests(), order_seed_of(models, dataset, plan), ENERGY)
    return window_samples(order, largest, plan.batch)
