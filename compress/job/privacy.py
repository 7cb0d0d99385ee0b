"""Records of a privacy statement, from what the passes of a job recorded and how its loaders read the data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from certify.assessments.privacy.figures import total_spent
from certify.assessments.privacy.records import Header, Members, Records, SourceOf, touches_of
from certify.assessments.privacy.withholding import write
from certify.core.accounting import Adjacency
from certify.core.errors import UsageError
from certify.core.files import sha256_file
from certify.core.private_data import FOLDER, AuditorBinding, DataKey
from certify.data import Dataset
from certify.model_file.subject import subject_digests
from compress import private as engines
from compress.job.job import LINEAGE, MODEL
from compress.job.lineage import Lineage, maker_version
from compress.job.original import OriginalModel
from compress.job.recipe import Recipe
from compress.passes.dp_finetune import DpFinetune
from compress.passes.fold_norms import FoldNorms
from compress.private.account import PRIVATE, Account

RECORDS = "privacy.jsonl"
PRIVATE_PARTS = ("train",)
"""Parts covered by a claim by default; reads of other parts are outside of it."""


def require_data_key(recipe: Recipe, key: DataKey | None) -> None:
    """Reject a private recipe without the key of the data holder.

    Raises:
        UsageError: there is no data key.
    """
    if recipe.is_private and key is None:
        names = ", ".join(each.name for each in recipe.passes if each.tags.noisy)
        raise UsageError(f"{names} protects private data, but the public files would name it; add --private-data.")


def require_private_parts(recipe: Recipe, parts: Sequence[str], dataset: Dataset) -> None:
    """Reject a private recipe that could not lead to a claim about parts of the data, before any work.

    Args:
        recipe: the recipe of the job.
        parts: names of the private parts.
        dataset: data set with its parts.

    Raises:
        UsageError: a part does not exist, or two passes use different adjacencies.
    """
    if not recipe.is_private:
        return
    if unknown := [part for part in parts if part not in dataset.parts]:
        raise UsageError(f"The data has no private part '{unknown[0]}'; choose from {', '.join(dataset.parts)}.")
    if "train" not in parts:
        raise UsageError(f"The recipe protects the part train, but the private parts are {', '.join(parts)}; add it.")
    if len({_adjacency(each.config()) for each in recipe.passes if each.tags.noisy}) > 1:
        raise UsageError("All passes of a private recipe must use the same adjacency; set it to one value.")


def require_private_layers(recipe: Recipe, original: OriginalModel) -> None:
    """Reject, before any work, a network with layers that mix samples and are not folded before noisy training.

    Raises:
        UsageError: a layer mixes samples in training; the message names the first one.
    """
    names = [each.name for each in recipe.passes]
    if original.module is None or DpFinetune.name not in names:
        return
    if FoldNorms.name not in names[: names.index(DpFinetune.name)]:
        engines.require_separate_samples(copy.deepcopy(original.module).train())


def _adjacency(config: Mapping[str, Any]) -> Adjacency:
    found: Adjacency = config.get("adjacency", "add-remove")
    return found


def source_of(original: OriginalModel, digest: str, public: bool) -> SourceOf:
    """Return the record of the model that a job started from.

    Args:
        original: the model.
        digest: hex SHA-256 of its weights.
        public: whether they are declared to come from public data; random weights always do.
    """
    built = original.built
    untrained = built is not None and not built.pretrained and not built.partly_given
    status: Literal["public", "unknown"] = "public" if public or untrained else "unknown"
    return SourceOf("original", original.described, status, digest)


def write_records(
    out: Path, whole: Lineage, dataset: Dataset, original: SourceOf, parts: Sequence[str], key: DataKey
) -> Path:
    """Write ``privacy.jsonl`` for ``leanmark state --assessment privacy``, and ``auditor/privacy.jsonl``.

    Args:
        out: folder of the job, with the finished model and the public lineage.
        whole: full lineage, including what the public one withholds.
        dataset: data set of the job, with keyed identifiers.
        original: record of the model that the job started from.
        parts: names of the private parts.
        key: key of the data holder.

    Returns:
        The public records.
    """
    records = _records(whole, dataset, original, parts)
    header = replace(records.header, model=subject_digests(out / MODEL), lineage=sha256_file(out / LINEAGE))
    write(replace(records, header=header), out / RECORDS, out / FOLDER / RECORDS, key)
    return out / RECORDS


def _records(lineage: Lineage, dataset: Dataset, original: SourceOf, parts: Sequence[str]) -> Records:
    rows = [row for row in lineage.rows if PRIVATE in row.record["done"]]
    accounts = [Account.from_json(row.record["done"][PRIVATE]) for row in rows]
    own = tuple(Members(part, tuple(dataset.parts[part].digests())) for part in parts)
    header = Header(
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        leanmark=maker_version(),
        model={},
        claimed_epsilon=1.0,
        delta=min((float(row.config["delta"]) for row in rows), default=1e-5),
        unit="record",
        contribution_bound=1,
        adjacency=_adjacency(rows[0].config) if rows else "add-remove",
        units=sum(len(dataset.parts[part]) for part in parts),
        private_parts=tuple(parts),
        trust_model="central",
        attempts=max(1, len(rows)),
    )
    records = Records(
        header,
        sgd=tuple(each.sgd for each in accounts if each.sgd is not None),
        votes=tuple(each.votes for each in accounts if each.votes is not None),
        sources=(original, *(source for each in accounts for source in each.sources)),
        touches=touches_of(lineage.to_json()),
        choices=tuple(dict.fromkeys(choice for each in accounts for choice in each.choices)),
        batches=tuple(batches for each in accounts for batches in each.batches),
        members=(*own, *_once([member for each in accounts for member in each.members])),
    )
    withheld = AuditorBinding("0" * 64, "0" * 64).to_json()  # sampling counts, since the sizes will be withheld
    # Derive the claim from the records as the referee does, so that the two cannot differ.
    total = total_spent(replace(records, header=replace(header, auditor=withheld)))
    return records if total is None else replace(records, header=replace(header, claimed_epsilon=total.epsilon))


def _once(members: Sequence[Members]) -> tuple[Members, ...]:
    return tuple({each.part: each for each in members}.values())
