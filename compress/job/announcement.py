"""Messages that a job prints before it starts."""

from __future__ import annotations

from pathlib import Path

from certify.data import Dataset
from compress.job.lineage import describe_data
from compress.job.original import OriginalModel
from compress.job.preprocessing import describe


def seen_in_training(original: OriginalModel, dataset: Dataset) -> str | None:
    """Return a warning if parts were set aside from samples that the given weights may have been trained on."""
    if original.needs_training or not dataset.set_aside:
        return None
    return (
        f"The {' and '.join(dataset.set_aside)} samples were set aside at random from samples that this model may have "
        "been trained on; their accuracy is then too high before and after compression. Give parts it has not seen."
    )


def first_line(original: OriginalModel, dataset: Dataset, recipe: str, folder: Path) -> str:
    """Return the first line of a job: model, weights, data with part sizes, preprocessing, recipe, folder."""
    parts = ", ".join(f"{part} {count:,}" for part, count in describe_data(dataset)["counts"].items())
    return (
        f"{original.described} ({original.origin}) on {dataset.spec} ({parts}); preprocessing: "
        f"{describe(original.preprocess)} ({original.stated}); recipe {recipe}; folder {folder}."
    )
