"""The whole audit: what is asked, in which order, and the records that the referee judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from certify.assessment.record_file import ModelDigests
from certify.assessments.privacy.record_file import parse_records
from certify.assessments.privacy_audit.records import (
    KINDS,
    Canaries,
    Extraction,
    Header,
    Membership,
    Part,
    Record,
    Records,
    dump,
)
from certify.assessments.privacy_audit.withholding import write
from certify.attest.certificate import Certificate
from certify.attest.keys import SigningKey
from certify.core.errors import UsageError
from certify.core.files import sha256_file, write_bytes
from certify.core.private_data import FOLDER, DataKey
from certify.core.progress import Progress, job, shown
from certify.data import Dataset, Preprocess, load
from certify.data.contract_slot import contract_of
from certify.model_file.subject import subject_digests
from certify.stating import state
from compress.auditing.canaries import Claim, Plan, audit_one_run, now
from compress.auditing.extraction import Thief, steal
from compress.auditing.joined import join
from compress.auditing.repeating import Repeater, digest_of_rows, read_lineage, recipe_of, require_parts
from compress.auditing.shadows import Pool, attack_membership
from compress.auditing.shelf import Shelf
from compress.job.job import BASELINE, LINEAGE
from compress.job.lineage import maker_version
from compress.job.original import OriginalModel, Request, find_original

ASSESSMENT = "privacy_audit"
RECORDS = "privacy_audit.jsonl"
PRIVACY = "privacy.jsonl"
EDITION = "2026"


@dataclass(frozen=True)
class Asked:
    """What an audit does.

    Attributes:
        shadows: trainings for the attack on membership; 0 leaves it out.
        canaries: of the twin; None leaves it out.
        claim: what canaries are held against; None takes that of ``privacy.jsonl`` beside the model, if there is one.
        queries: of a thief, for a served model; empty leaves it out.
    """

    shadows: int = 8
    canaries: Plan | None = None
    claim: Claim | None = None
    queries: tuple[int, ...] = ()


@dataclass(frozen=True)
class Audited:
    """What an audit ended in.

    Attributes:
        statement: signed, and beside the model.
        files: what was written, by name.
    """

    statement: Certificate
    files: Mapping[str, Path]


@job("Auditing", when_stopped="The same command resumes after the last finished training.")
def audit(
    model: str | Path,
    data: Any,
    asked: Asked,
    *,
    spec: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    weights: str | None = None,
    data_key: DataKey | None = None,
    signer: SigningKey | None = None,
    progress: Progress | bool | None = None,
) -> Audited:
    """Attack a model that leanmark compress made, with twins by its own recipe, and state what was found beside it.

    Args:
        model: the file, with its original and its lineage beside it.
        data: what it was made from; see :func:`certify.data.load`.
        asked: what to do.
        spec: the original's name, where the lineage does not say how it is built.
        model_args: of the original's factory.
        weights: the original's weights; those that the lineage names by default.
        data_key: of the holder of private data: findings then go to ``auditor/`` alone.
        signer: of the statement; the user's own key by default.
        progress: where to show how far it is.

    Raises:
        UsageError: nothing is asked, or the model cannot be made again from what was given.
        LeanmarkError: as loading, training and running do.
    """
    shown_progress, path = shown(progress), Path(model)
    if not asked.shadows and asked.canaries is None and not asked.queries:
        raise UsageError("Nothing is asked: neither shadows nor canaries nor queries.")
    found = _Found.of(path, data, spec, model_args, weights, data_key, shown_progress)
    pool = _pool(found) if asked.shadows else None
    shelf = Shelf(path.parent, _fingerprint(found, asked), shown_progress)
    begun = shelf.finished("begun") or shelf.finish("begun", now())
    rows: list[Record] = []
    if asked.canaries is not None:
        claim = asked.claim or _claim_beside(path.parent)
        rows += audit_one_run(found.repeater, path, found.contract, asked.canaries, claim, shelf, shown_progress)
    if pool is not None:
        rows += attack_membership(
            pool, found.repeater, found.contract, found.recipe, asked.shadows, shelf, shown_progress
        )
    if asked.queries:
        thief = Thief(_source(found.original), asked.queries)
        rows += steal(thief, found.repeater.dataset, path, found.contract, shelf, shown_progress)
    files = _written(path, _records(found, rows, begun, data_key is not None), data_key)
    statement = state(path, ASSESSMENT, files["records"], edition=EDITION, signer=signer)
    files.pop("records").unlink()
    shelf.remove()
    return Audited(statement, files)


@dataclass(frozen=True)
class _Found:
    """What is known of the model before anything is trained."""

    path: Path
    original: OriginalModel
    repeater: Repeater
    contract: Preprocess
    recipe: str
    baseline: Path | None
    baseline_trained: bool
    learns: bool
    lineage: str

    @classmethod
    def of(
        cls,
        path: Path,
        data: Any,
        spec: str | None,
        model_args: Mapping[str, Any] | None,
        weights: str | None,
        key: DataKey | None,
        progress: Progress,
    ) -> _Found:
        kept = path.parent / FOLDER / LINEAGE
        lineage = read_lineage(kept if key is not None and kept.is_file() else path.parent / LINEAGE)
        recipe, named = recipe_of(lineage), spec or str(lineage["model"]["spec"])
        if spec is None and named.endswith(")"):
            raise UsageError(f"The original is {named}; name it with --model, and its arguments with --model-args.")
        dataset = load(data, seed=lineage["seed"] or 0, progress=progress)
        dataset = dataset if key is None else dataset.keyed(key)
        require_parts(dataset, lineage)
        _require_trainable(dataset)
        contract = contract_of(path, None)
        given = weights if weights is not None else lineage["model"]["weights"]
        request = Request(named, given, contract, lineage["seed"] or 0, model_args)
        original = find_original(request, dataset, progress)
        baseline = path.parent / BASELINE
        trained = bool(lineage["baseline"]["trained_here"])
        _require_original(original, lineage, trained)
        repeater = Repeater(request, recipe, dataset, key)
        return cls(
            path=path,
            original=original,
            repeater=repeater,
            contract=contract,
            recipe=digest_of_rows(lineage),
            baseline=baseline if baseline.is_file() else None,
            baseline_trained=trained,
            learns=any("train" in (row.get("touched") or {"train": ()}) for row in lineage["rows"]),
            lineage=sha256_file(path.parent / LINEAGE),
        )


def _require_trainable(dataset: Dataset) -> None:
    if dataset.train is None:
        raise UsageError(f"{dataset.spec} has no train part, so there is no training to repeat.")
    if dataset.test.guard is not None:  # shadows and twins learn from test samples too
        dataset.test.guard.ask(dataset.test.identifiers, "train", "test")


def _require_original(original: OriginalModel, lineage: Mapping[str, Any], trained: bool) -> None:
    """Refuse another original than the one that the lineage begins with, as far as its size tells."""
    if original.module is None:
        raise UsageError(f"{original.spec} is an ONNX file, whose making cannot be repeated; audit a model by name.")
    count = sum(parameter.numel() for parameter in original.module.parameters())
    if trained and not original.needs_training:
        raise UsageError(
            f"The original was trained by the job, and {original.spec} comes with weights; leave them out."
        )
    stated = lineage["baseline"]["parameters"]
    if count != stated:
        raise UsageError(
            f"{original.described} has {count} parameters and the model's original {stated}; name the right one with "
            "--model and --model-args."
        )


def _pool(found: _Found) -> Pool:
    """Members and others, and the files that are attacked.

    Raises:
        UsageError: nothing of the model was learned from the data.
    """
    dataset = found.repeater.dataset
    if dataset.train is None:
        raise ValueError("a train part was required")
    if not found.baseline_trained and not found.learns:
        raise UsageError("No step of the model's making read the train part, so no shadow would differ from another.")
    arms = (
        {"candidate": found.path} if found.baseline is None else {"baseline": found.baseline, "candidate": found.path}
    )
    shadowed = tuple(arms) if found.baseline_trained else ("candidate",)
    return Pool(join(dataset.train, dataset.test), len(dataset.train), arms, shadowed)


def _source(original: OriginalModel) -> Any:
    if original.source is None:
        raise UsageError("Extraction needs an original that can be built again by name.")
    return original.source


def _claim_beside(folder: Path) -> Claim:
    """The claim that ``privacy.jsonl`` makes; none where it is not there."""
    path = folder / PRIVACY
    if not path.is_file():
        return Claim(None)
    header = parse_records(path.read_bytes(), str(path)).header
    return Claim(header.claimed_epsilon, header.delta, header.adjacency)


def _fingerprint(found: _Found, asked: Asked) -> dict[str, Any]:
    """Everything that the parts of an audit depend on."""
    dataset = found.repeater.dataset
    return {
        "model": sha256_file(found.path),
        "baseline": None if found.baseline is None else sha256_file(found.baseline),
        "lineage": found.lineage,
        "recipe": found.recipe,
        "test": dataset.test.whole_digest(),
        "key": None if found.repeater.key is None else found.repeater.key.id,
        "asked": asdict(asked),
    }


def _records(found: _Found, rows: list[Record], begun: str, private: bool) -> Records:
    kinds: dict[Part, type] = {"membership": Membership, "canaries": Canaries, "extraction": Extraction}
    header = Header(
        created=begun,
        leanmark=maker_version(),
        model=ModelDigests(**subject_digests(found.path)),
        baseline=None if found.baseline is None else ModelDigests(**subject_digests(found.baseline)),
        data=found.repeater.dataset.name,
        private=private,
        recipe=found.recipe,
        baseline_trained=found.baseline_trained,
        parts=tuple(name for name, kind in kinds.items() if any(type(row) is kind for row in rows)),
        lineage=found.lineage,
    )
    order = list(KINDS.values())
    return Records(header, tuple(sorted(rows, key=lambda row: order.index(type(row)))))


def _written(path: Path, records: Records, key: DataKey | None) -> dict[str, Path]:
    """Write the record file, and the auditor's where the data are private."""
    public, auditor = path.parent / RECORDS, path.parent / FOLDER / RECORDS
    if key is None:
        write_bytes(public, dump(records))
        return {"records": public}
    write(records, public, auditor, key)
    return {"records": public, "auditor": auditor}
