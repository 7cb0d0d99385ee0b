"""Records that the data holder keeps of a job on governed data, and the data-use statement for its model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import certify
from certify.assessments.data_use.assessment import DataUse
from certify.assessments.data_use.recording import record
from certify.assessments.data_use.records import write
from certify.attest.keys import SigningKey
from certify.core.data_use.folder import MadeModel
from certify.core.data_use.guard import Guard
from certify.core.data_use.merkle import root_of
from certify.core.data_use.times import now
from certify.core.data_use.vocabulary import ACTION_OF_PART, ACTIONS, Action, action
from certify.core.errors import NotPermittedError
from certify.core.files import sha256_file
from certify.core.private_data import FOLDER
from certify.data import Dataset
from certify.data.preprocess import Preprocess
from certify.model_file.subject import subject_digests
from compress.job.context import weight_files
from compress.job.lineage import Lineage, maker_version

ACTION_OF_PASS: Mapping[str, Action] = {
    "distill": "distil",
    "federated_distill": "distil",
    "federated_finetune": "finetune",
    "finetune": "finetune",
    "qat": "finetune",
}
"""The use of the training part by passes that do not train from scratch."""
EDITION = "2026"


@dataclass(frozen=True)
class Places:
    """Where a model of a job is, and where it will be.

    Attributes:
        made: file in the workspace.
        final: path in OUT.
    """

    made: Path
    final: Path


def enter_use(
    dataset: Dataset,
    models: Mapping[str, Places],
    lineage: Lineage,
    job: Mapping[str, Any],
    further: Sequence[Dataset] = (),
) -> MadeModel | None:
    """Enter a job's models in the journal of its data, before they leave the workspace.

    A job that is killed afterwards then leaves no model that ``leanmark forget`` does not know. A model's entry lists
    every record of the parts that were read, and the records that its original is known to have seen.

    Args:
        dataset: data set of the job.
        models: models by role, ``original`` and ``model``.
        lineage: lineage, which says which parts were read.
        job: arguments of :func:`compress.run`, and ``start``, the digest of the initial weights or file.
        further: data that passes bring; the model's entry in their own journals lists their train part.

    Returns:
        The entry of the compressed model, or None if no policy governs the data.

    Raises:
        NotPermittedError: a record that was read has been withdrawn, or its consent has ended, since then.
    """
    weights, guard, brought = _weights(lineage), dataset.test.guard, _brought(further)
    parts = _parts_read(lineage)
    _require_usable(dataset, parts, further)
    own = brought.pop(guard.folder.path, None) if guard is not None else None
    for other, identifiers in brought.values():
        _enter_further(other, identifiers, models["model"], lineage, weights, job)
    model = None if guard is None else _enter_own(dataset, guard, models, lineage, job, own[1] if own else set())
    # Again, because forgetting lists the models only after it has withdrawn the records.
    _require_usable(dataset, parts, further)
    return model


def _enter_own(
    dataset: Dataset,
    guard: Guard,
    models: Mapping[str, Places],
    lineage: Lineage,
    job: Mapping[str, Any],
    further: set[str],
) -> MadeModel:
    """Enter original and model in the journal of the job's own data; ``further`` are records of it that passes read."""
    weights, parts = _weights(lineage), _parts_read(lineage)
    read = {identifier for name in parts for identifier in dataset.parts[name].identifiers} | further
    actions = _actions(guard, parts)
    original = _entry(guard, "original", models["original"], read if lineage.baseline.trained_here else set(), actions)
    original = replace(original, parents=tuple(filter(None, [job["start"]])))
    inherited = _seen_before(guard, original.sha256, original.content, *original.parents)
    # Every model made from the original has also seen what the original's weights saw.
    original = replace(original, records=_sorted(inherited, original.records))
    # A teacher hands on what it saw, as do weights that a pass starts from.
    taught = _seen_before(guard, *weights)
    model = _entry(guard, "model", models["model"], inherited | taught | read, actions)
    earlier_job = _job(job, guard.use.recipient)
    checkpoint = tuple(sorted(lineage.artifacts.values()))
    model = replace(model, parents=(original.sha256, *weights), files=checkpoint, job=earlier_job)
    entries = [replace(entry, root=root_of(entry.records)) for entry in (original, model)]
    for entry in entries:
        guard.folder.add_model(entry)
    return entries[-1]


def _require_usable(dataset: Dataset, parts: Sequence[str], further: Sequence[Dataset]) -> None:
    """Refuse a model if a record that it saw may not be used any more.

    Raises:
        NotPermittedError: a record was withdrawn, or its consent has ended.
    """
    read = [(name, dataset.parts[name]) for name in parts]
    read += [(f"train part of {each.spec}, the", each.train) for each in further if each.train is not None]
    for name, split in read:
        action = ACTION_OF_PART.get(name, "train")
        if split.guard is not None and not all(split.guard.usable(split.identifiers, action)):
            raise NotPermittedError(
                f"A record of the {name} part was withdrawn, or its consent ended, after the job had read it, so the "
                "model is not kept; the same command makes it again without the record."
            )


def state_use(guard: Guard, model: MadeModel, signer: SigningKey) -> Path:
    """Write a data-use statement for the compressed model, once it is at its place, and return the auditor file.

    Raises:
        NotPermittedError: the model was revoked after its entry, because a record was withdrawn.
    """
    path = Path(model.path)
    revoked = [entry.get("content") for entry in guard.folder.journal().entries if entry.get("kind") == "revoked"]
    auditor = _state(guard, path, model, signer)
    if model.content in revoked:
        raise NotPermittedError(
            f"A record that {path} saw was withdrawn while the job was finishing, so the model is revoked; the same "
            "command makes it again without the record."
        )
    return auditor


def _state(guard: Guard, path: Path, model: MadeModel, signer: SigningKey) -> Path:
    """Sign how the data was used, and return the auditor file."""
    digests = {"sha256": model.sha256, "leanmarkContent": model.content}
    actions = tuple(map(action, model.actions))
    records = record(guard.folder, guard.use, digests, actions, model.records, model.made, maker_version())
    auditor = path.parent / FOLDER / "data_use.jsonl"
    auditor.parent.mkdir(exist_ok=True)
    public = auditor.with_name("data_use.public.jsonl")
    write(records, public, auditor, guard.use.key)
    certify.state(path, DataUse.name, public, edition=EDITION, signer=signer)
    # The statement contains the public records; a file next to it would repeat them.
    public.unlink()
    return auditor


def _weights(lineage: Lineage) -> tuple[str, ...]:
    """Return the SHA-256 of each file of weights that a pass names, such as a teacher's."""
    return tuple(dict.fromkeys(sha256_file(file) for row in lineage.rows for file in weight_files(row.config)))


def _brought(further: Sequence[Dataset]) -> dict[Path, tuple[Guard, set[str]]]:
    """Return guard and identifiers of the governed data that passes brought, by the path of their use folder."""
    found: dict[Path, tuple[Guard, set[str]]] = {}
    for dataset in further:
        if dataset.train is not None and (guard := dataset.train.guard) is not None:
            found.setdefault(guard.folder.path, (guard, set()))[1].update(dataset.train.identifiers)
    return found


def _enter_further(
    guard: Guard,
    identifiers: set[str],
    model: Places,
    lineage: Lineage,
    weights: tuple[str, ...],
    job: Mapping[str, Any],
) -> None:
    """Enter a model in the journal of governed data that its passes brought."""
    before = tuple(filter(None, (job["start"], *weights)))
    entry = _entry(guard, "model", model, _seen_before(guard, *before) | identifiers, ("train",))
    files, again = tuple(sorted(lineage.artifacts.values())), _job(job, guard.use.recipient)
    guard.folder.add_model(replace(entry, parents=before, files=files, job=again))


def _seen_before(guard: Guard, *names: str) -> set[str]:
    """Return the records that models in the journal have seen, by the digests of their files or weights."""
    known = [each for each in guard.folder.models() if set(names) & {each.sha256, each.content, *each.files}]
    return {record for each in known for record in each.records}


def _sorted(*records: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set[str]().union(*records)))


def _job(arguments: Mapping[str, Any], recipient: str) -> Mapping[str, Any] | None:
    """Return the arguments as JSON values, or None if one of them is not."""
    start = arguments["start"]
    stored = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    stored = {name: value.to_json() if isinstance(value, Preprocess) else value for name, value in stored.items()}
    del stored["start"]
    # A job given Python objects cannot be run again from the journal.
    if not all(map(_is_json, stored.values())):
        return None
    plain: Mapping[str, Any] = json.loads(json.dumps({**stored, "recipient": recipient, "weights_digest": start}))
    return plain


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | int | float | bool)


def _parts_read(lineage: Lineage) -> list[str]:
    """Return the parts that were read according to the lineage; the test part only judges the result."""
    touched = [lineage.baseline.touched, *(row.touched for row in lineage.rows)]
    touched.append((lineage.export or {}).get("touched"))
    names = {part for each in touched for part in each or {}}
    return [part for part in ("train", "calibration", "validation") if part in names]


def _actions(guard: Guard, parts: Sequence[str]) -> tuple[Action, ...]:
    """Return the actions by which the model saw records, including those of an earlier run of the same job."""
    found = {*guard.seen()[0], *(ACTION_OF_PART[part] for part in parts)}
    return tuple(each for each in ACTIONS if each in found)


def _entry(guard: Guard, role: str, model: Places, seen: set[str], actions: Sequence[Action]) -> MadeModel:
    digests, records = subject_digests(model.made), _sorted(seen)
    return MadeModel(
        sha256=digests["sha256"], content=digests["leanmarkContent"], role=role, path=str(model.final.resolve()),
        made=now(), policy=guard.policy.digest, purpose=guard.use.purpose, actions=tuple(actions),
        root=root_of(records), records=records,
    )  # fmt: skip
