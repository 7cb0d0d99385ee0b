"""The context that a job gives to its passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from certify.core.files import sha256_file
from certify.core.group_columns import column_digest
from certify.core.progress import Progress
from certify.data import Dataset, Split
from compress.core.callbacks import TrainingCallback, checked
from compress.core.context import PassContext, PassData
from compress.core.targets import choose
from compress.job.original import OriginalModel
from compress.job.recipe import Recipe


def make_context(
    original: OriginalModel,
    dataset: Dataset,
    *,
    target: str | None,
    progress: Progress,
    callbacks: Iterable[TrainingCallback] = (),
    **options: Any,
) -> PassContext:
    """Build the context of a job's passes.

    Args:
        original: original model, whose contract the passes keep.
        dataset: data set, whose test part the passes do not see.
        target: kind of processor; this machine's if None.
        progress: where to report progress.
        callbacks: called during every training.
        options: further fields of the context.
    """
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=original.preprocess,
        target=choose(target),
        device="cuda" if torch.cuda.is_available() else "cpu",
        progress=progress,
        callbacks=checked(callbacks),
        test_digests=frozenset(dataset.test.digests()),
        **options,
    )


def fingerprint(
    original: OriginalModel,
    recipe: Recipe,
    data: Mapping[str, Any],
    context: PassContext,
    further: Sequence[Dataset] = (),
) -> dict[str, Any]:
    """Return everything that the files of a job depend on.

    Data and weights that passes name are listed by digest: a record may be withdrawn from such data, or a teacher made
    again, while a job is interrupted.

    No pass sees the test part, so finished passes stay valid if a test image is corrected; the exception is a pass that
    brings its own data, because its data were checked against the test part. Groups are listed too, because remedies
    depend on them and the digests of samples do not. The runtime is included if a pass measures in it.
    """
    unseen = () if any(each.further_data for each in recipe.passes) else ("test",)
    parts = {key: {k: v for k, v in data[key].items() if k not in unseen} for key in ("digests", "counts")}
    return {
        "model": original.spec,
        "arguments": dict(original.arguments or {}),
        "weights": original.weights,
        "digest": original.digest,
        "preprocess": original.preprocess.to_json(),
        "recipe": [[each.name, each.version, each.config()] for each in recipe.passes],
        "weight_files": [sha256_file(path) for each in recipe.passes for path in weight_files(each.config())],
        "data": {**data, **parts},
        "further_data": [None if each.train is None else each.train.whole_digest() for each in further],
        "groups": group_digests({"train": context.data.train, "validation": context.data.validation}),
        "seed": context.seed,
        "target": context.target.name,
        "device": context.device,
        "max_train_time": context.max_train_time,
        "max_loss_percent": context.max_loss_percent,
        "runtime": context.runtime if any(each.tags.measures for each in recipe.passes) else None,
    }


def weight_files(config: Mapping[str, Any]) -> list[Path]:
    """Return the files of weights, such as a teacher's, that a pass names in its config and that exist."""
    named = (value for name, value in config.items() if name.endswith("weights") and isinstance(value, str))
    return [path for path in (Path(value).expanduser() for value in named) if path.is_file()]


def group_digests(parts: Mapping[str, Split | None]) -> dict[str, dict[str, str]]:
    """Return the digest of each group column, by part."""
    return {
        part: {name: column_digest("", split.digests(), values.tolist()) for name, values in split.groups.items()}
        for part, split in parts.items()
        if split is not None
    }
