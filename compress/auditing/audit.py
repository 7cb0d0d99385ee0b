"""A privacy audit from start to end: attacks, their order, and the records that the referee judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from certify.assessment.record_file import ModelDigests
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
from certify.model_file.suffixes import is_onnx
from certify.workflows.statements import state
from compress.auditing.audit_folder import Shelf
from compress.auditing.canaries import Claim, Plan, audit_one_run, now
from compress.auditing.earlier import ASSESSMENT, earlier_audits
from compress.auditing.extraction import Thief, steal
from compress.auditing.joined_splits import join
from compress.auditing.repetition import Repeater, digest_of_rows, read_lineage, recipe_of, require_parts, weights_of
from compress.auditing.shadows import Pool, attack_membership, require_shadows
from compress.job.context import group_digests
from compress.job.job import BASELINE, LINEAGE
from compress.job.lineage import maker_version
from compress.job.original import OriginalModel, Request, find_original

RECORDS = "privacy_audit.jsonl"
EDITION = "2026"


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit.

    Attributes:
        shadows: number of shadow models for the membership attack; 0 skips the attack.
        canaries: canaries of the twin; None skips the twin.
        claim: claim to test with the canaries. Default: that of ``privacy.jsonl`` next to the model, if there is one.
        queries: numbers of queries of a thief, for a served model; empty skips extraction.
    """

    shadows: int = 8
    canaries: Plan | None = None
    claim: Claim | None = None
    queries: tuple[int, ...] = ()


@dataclass(frozen=True)
class AuditResult:
    """Result of an audit.

    Attributes:
        statement: signed statement, stored next to the model.
        files: record files that were kept, by name.
    """

    statement: Certificate
    files: Mapping[str, Path]


@job("Auditing", when_stopped="The same command resumes after the last finished training.")
def audit(
    model: str | Path,
    data: Any,
    settings: AuditSettings,
    *,
    spec: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    weights: str | None = None,
    data_key: DataKey | None = None,
    signer: SigningKey | None = None,
    progress: Progress | bool | None = None,
) -> AuditResult:
    """Attack a model made by leanmark compress, with twins by its own recipe, and sign a statement of the findings.

    The statement replaces that of an earlier audit of the same lineage, and repeats its joules.

    Args:
        model: model file, with its original and its lineage next to it.
        data: data that the model was made from; see :func:`certify.data.load`.
        settings: settings of the audit.
        spec: name of the original, if the lineage does not say how it is built.
        model_args: arguments of the original's factory.
        weights: weights of the original. Default: those that the lineage names.
        data_key: data key of the holder of private data; findings then go only to ``auditor/``.
        signer: key that signs the statement. Default: the user's own.
        progress: where to report progress.

    Raises:
        UsageError: every attack is skipped, or the model cannot be made again from what was given.
        LeanmarkError: errors of loading, training and running.
    """
    shown_progress, path = shown(progress), Path(model)
    if not settings.shadows and settings.canaries is None and not settings.queries:
        raise UsageError("Nothing is asked: give shadows, canaries or queries.")
    subject = _Subject.of(path, data, spec, model_args, weights, data_key, shown_progress)
    # Refuse all that can be refused before the first training, and before an interrupted audit is discarded.
    pool = _pool(subject, settings.shadows) if settings.shadows else None
    thief = _thief(subject, settings.queries) if settings.queries else None
    if settings.canaries is not None:
        settings.canaries.numbers(len(subject.repeater.dataset.test))
    earlier_audits(path.parent, subject.lineage)
    shelf = Shelf(path.parent, _fingerprint(subject, settings), shown_progress)
    # A resumed audit states when it began.
    begun = shelf.finished("begun") or shelf.finish("begun", now())
    # An audit that was stopped between its statement and its end must not count itself.
    rows: list[Record] = [*earlier_audits(path.parent, subject.lineage, shelf.finished("stated")), *shelf.abandoned]
    if settings.canaries is not None:
        claim = settings.claim or Claim.beside(path.parent)
        rows += audit_one_run(subject.repeater, path, subject.contract, settings.canaries, claim, shelf, shown_progress)
    if pool is not None:
        rows += attack_membership(
            pool, subject.repeater, subject.contract, subject.recipe, settings.shadows, shelf, shown_progress
        )
    if thief is not None:
        rows += steal(thief, subject.repeater.dataset, path, subject.contract, shelf, shown_progress)
    files = _written(path, _records(subject, rows, begun, data_key is not None), data_key)
    shelf.finish("stated", sha256_file(files["records"]))
    statement = state(path, ASSESSMENT, files["records"], edition=EDITION, signer=signer)
    files.pop("records").unlink()
    shelf.remove()
    return AuditResult(statement, files)


@dataclass(frozen=True)
class _Subject:
    """Everything that is known about the model before anything is trained."""

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
    ) -> _Subject:
        # The public lineage of a private job withholds the sampling rate, without which no twin can be made.
        whole = path.parent / FOLDER / LINEAGE
        lineage = read_lineage(whole if key is not None and whole.is_file() else path.parent / LINEAGE)
        recipe, named = recipe_of(lineage), spec or str(lineage["model"]["spec"])
        if is_onnx(named):
            raise UsageError(f"{named} is an ONNX file, so its training cannot be repeated; audit a model by name.")
        if spec is None and named.endswith(")"):
            raise UsageError(f"The original is {named}; give its name with --model, its arguments with --model-args.")
        dataset = load(data, seed=lineage["seed"] or 0, progress=progress)
        dataset = dataset if key is None else dataset.keyed(key)
        require_parts(dataset, lineage)
        _require_trainable(dataset)
        contract = contract_of(path, None)
        weight_source = weights if weights is not None else weights_of(lineage)
        request = Request(named, weight_source, contract, lineage["seed"] or 0, model_args)
        original = find_original(request, dataset, progress)
        baseline = path.parent / BASELINE
        trained = bool(lineage["baseline"]["trained_here"])
        _require_original(original, lineage, trained)
        return cls(
            path=path,
            original=original,
            repeater=Repeater(request, recipe, dataset, key),
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
    """Check that the original is the lineage's, as far as its number of parameters shows.

    Raises:
        UsageError: it is not, or it cannot be trained again.
    """
    if original.module is None:
        raise ValueError("an original that is not a file has a module")
    if trained and not original.needs_training:
        raise UsageError(
            f"The original was trained by the job, but {original.spec} comes with weights; leave them out."
        )
    count = sum(parameter.numel() for parameter in original.module.parameters())
    if count != (stated := lineage["baseline"]["parameters"]):
        raise UsageError(
            f"{original.described} has {count} parameters and the model's original {stated}; give the right one with "
            "--model and --model-args."
        )


def _pool(subject: _Subject, shadows: int) -> Pool:
    """Return members and non-members, and the files to attack.

    Raises:
        UsageError: there are too few shadows, or no step of the model learned from the data.
    """
    require_shadows(shadows)
    dataset = subject.repeater.dataset
    assert dataset.train is not None  # required before
    if not subject.baseline_trained and not subject.learns:
        raise UsageError("No step of the model's making read the train part, so no shadow would differ from another.")
    files = (("baseline", subject.baseline), ("candidate", subject.path))
    arms = {name: file for name, file in files if file is not None}
    # An original that came with weights is the same in all shadows.
    shadowed = tuple(arms) if subject.baseline_trained else ("candidate",)
    return Pool(join(dataset.train, dataset.test), len(dataset.train), arms, shadowed)


def _thief(subject: _Subject, queries: tuple[int, ...]) -> Thief:
    """Return the attacker of a served model.

    Raises:
        UsageError: the original cannot be built by name, or there are more queries than half of the test part.
    """
    source, half = subject.original.source, len(subject.repeater.dataset.test) // 2
    if source is None:
        raise UsageError("Extraction needs an original that can be built again by name.")
    if max(queries) > half:
        raise UsageError(f"{max(queries)} queries are more than the {half} samples of half the test part; take fewer.")
    return Thief(source, queries)


def _fingerprint(subject: _Subject, settings: AuditSettings) -> dict[str, Any]:
    """Return everything that the parts of an audit depend on."""
    dataset = subject.repeater.dataset
    return {
        "model": sha256_file(subject.path),
        "baseline": None if subject.baseline is None else sha256_file(subject.baseline),
        "lineage": subject.lineage,
        "recipe": subject.recipe,
        "test": dataset.test.whole_digest(),
        "groups": group_digests(dataset.parts),
        "key": None if subject.repeater.key is None else subject.repeater.key.id,
        "asked": asdict(settings),
    }


def _records(subject: _Subject, rows: list[Record], begun: str, private: bool) -> Records:
    kinds: dict[Part, type] = {"membership": Membership, "canaries": Canaries, "extraction": Extraction}
    parts = tuple(name for name, kind in kinds.items() if any(type(row) is kind for row in rows))
    header = Header(
        created=begun,
        leanmark=maker_version(),
        model=ModelDigests(**subject_digests(subject.path)),
        baseline=None if subject.baseline is None else ModelDigests(**subject_digests(subject.baseline)),
        data=subject.repeater.dataset.name,
        private=private,
        recipe=subject.recipe,
        baseline_trained=subject.baseline_trained,
        parts=parts,
        lineage=subject.lineage,
    )
    return Records(header, tuple(sorted(rows, key=lambda row: list(KINDS.values()).index(type(row)))))


def _written(path: Path, records: Records, key: DataKey | None) -> dict[str, Path]:
    """Write the record file, and the auditor file if the data are private."""
    public, auditor = path.parent / RECORDS, path.parent / FOLDER / RECORDS
    if key is None:
        write_bytes(public, dump(records))
    else:
        write(records, public, auditor, key)
    return {"records": public, **({} if key is None else {"auditor": auditor})}
