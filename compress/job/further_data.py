"""Check of the data that passes bring, before a job begins."""

from __future__ import annotations

from collections.abc import Sequence

from certify.core.errors import UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Progress
from certify.data import Dataset
from certify.data.specs import load_public
from compress.job.recipe import Recipe


def require_further_data(
    recipe: Recipe,
    dataset: Dataset,
    private_parts: Sequence[str],
    *,
    seed: int,
    key: DataKey | None = None,
    progress: Progress | None = None,
) -> tuple[Dataset, ...]:
    """Return the data that passes bring; reject those that cannot be used next to the job's own, before any work.

    Args:
        recipe: recipe of the job.
        dataset: data set of the job.
        private_parts: parts that a private recipe makes a claim about.
        seed: seed of the job.
        key: key of the identifiers of the job's data; None for plain digests.
        progress: where to report progress.

    Raises:
        UsageError: a pass uses a private part as public data, or its data have no train part.
        DataError: its data contain samples of a part that they must be apart from.
        LeanmarkError: they cannot be loaded.
    """
    brought = []
    protected = tuple(private_parts) if recipe.is_private else ()
    for each in recipe.passes:
        if (public := each.config().get("public")) in protected:
            raise UsageError(f"{each.name} would use the private part {public} as public data; name other data.")
        further = each.further_data
        if further is None:
            continue
        found, _ = load_public(further.spec, seed, progress)
        found = found if key is None else found.keyed(key)
        split = further.train_part(found)
        # In a private recipe, no pass may read a private sample without noise, not even as part of other data.
        apart = dict.fromkeys((*further.apart_from, *protected))
        further.require_apart(split, {part: dataset.parts[part].digests() for part in apart if part in dataset.parts})
        brought.append(found)
    return tuple(brought)
