"""Records of a privacy statement, from what the passes of a job left and how its loaders read the data."""

from __future__ import annotations

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
from compress.job.job import LINEAGE, MODEL
from compress.job.lineage import Lineage, maker_version
from compress.job.original import OriginalModel
from compress.job.recipe import Recipe
from compress.private.account import PRIVATE, Account

RECORDS = "privacy.jsonl"
PRIVATE_PARTS = ("train",)
"""What a claim is about by default; whatever reads another part is outside of it."""


def require_private_job(recipe: Recipe, key: DataKey | None, parts: Sequence[str], dataset: Dataset) -> None:
    """Refuse a private recipe that no claim could follow from, before any work.

    Args:
        recipe: what to do.
        key: of the data holder.
        parts: names of the private parts.
        dataset: with its parts.

    Raises:
        UsageError: there is no data key, a part that is not there, or two passes mean other neighbours.
    """
    if not recipe.is_private:
        return
    noisy = [each for each in recipe.passes if each.tags.noisy]
    if key is None:
        names = ", ".join(each.name for each in noisy)
        raise UsageError(f"{names} hides private data, and the files beside would name them; add --private-data.")
    if unknown := [part for part in parts if part not in dataset.parts]:
        raise UsageError(f"The data have no part '{unknown[0]}' to be private; there are {', '.join(dataset.parts)}.")
    if "train" not in parts:
        raise UsageError(f"The recipe hides the part train, and {', '.join(parts)} is named private; name train too.")
    if len({_adjacency(each.config()) for each in noisy}) > 1:
        raise UsageError("Passes of one recipe must mean the same neighbours; give all of them one adjacency.")


def _adjacency(config: Mapping[str, Any]) -> Adjacency:
    found: Adjacency = config.get("adjacency", "add-remove")
    return found


def source_of(original: OriginalModel, digest: str, public: bool) -> SourceOf:
    """The record of what a job began with.

    Args:
        original: the model.
        digest: hex SHA-256 of its weights.
        public: whether they are stated to come from public data; random weights are known to.
    """
    untrained = original.needs_training and original.built is not None and not original.built.pretrained
    status: Literal["public", "unknown"] = "public" if public or untrained else "unknown"
    return SourceOf("original", original.described, status, digest)


def write_records(
    out: Path, whole: Lineage, dataset: Dataset, original: SourceOf, parts: Sequence[str], key: DataKey
) -> Path:
    """Write ``privacy.jsonl`` for ``leanmark state --assessment privacy``, and ``auditor/privacy.jsonl``.

    Args:
        out: folder of the job, which holds the finished model and the public lineage.
        whole: the lineage with what is withheld.
        dataset: of the job, its identifiers keyed.
        original: what it began with.
        parts: names of the private parts.
        key: of the data holder.

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
        sgd=tuple(one.sgd for one in accounts if one.sgd is not None),
        votes=tuple(one.votes for one in accounts if one.votes is not None),
        sources=(original, *(source for one in accounts for source in one.sources)),
        touches=touches_of(lineage.to_json()),
        choices=tuple(dict.fromkeys(choice for one in accounts for choice in one.choices)),
        batches=tuple(batches for one in accounts for batches in one.batches),
        members=(*own, *_once([member for one in accounts for member in one.members])),
    )
    withheld = AuditorBinding("0" * 64, 0, "0" * 64).to_json()  # sampling counts, since the sizes will be withheld
    total = total_spent(replace(records, header=replace(header, auditor=withheld)))
    return records if total is None else replace(records, header=replace(header, claimed_epsilon=total.epsilon))


def _once(members: Sequence[Members]) -> tuple[Members, ...]:
    return tuple({one.part: one for one in members}.values())
