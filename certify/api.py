"""The referee's Python interface: measure two model files, grade, sign and seal the result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.facts import baseline_name
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.withholding import require_private, withhold
from certify.assessments.social.edition import load_edition as load_social_edition
from certify.attest import certificate
from certify.attest.certificate import LINEAGE_NAME
from certify.attest.keys import SigningKey, signing_key
from certify.attest.lineage import require_same_file, unchanged_beside, users_lineage
from certify.attest.statements import discard_outdated, require_statements_kept
from certify.core.errors import UsageError
from certify.core.files import copy, require_kept, write_bytes
from certify.core.folders import state_folder
from certify.core.private_data import FOLDER, DataKey
from certify.core.progress import Progress, job, shown
from certify.core.scripts import first_look_alike, look_alikes
from certify.data import Dataset, Preprocess, load
from certify.data.contract_slot import as_given_to, contract_of, normalise
from certify.data.saved_data import keep_test_part
from certify.measure.experiment import Further, measure
from certify.measure.machine import require_measuring
from certify.measure.partial import keeping_windows
from certify.measure.plan import Plan
from certify.measure.plan_check import require_usable
from certify.measure.simplify import simplify
from certify.model_file.subject import subject_name
from certify.present.label.sidecars import write_label
from certify.workflows.certification_result import Result
from certify.workflows.group_records import Grouping
from certify.workflows.group_statement import GROUPS_PLACE, state_groups
from certify.workflows.issuance import issue
from certify.workflows.profiling import profile_workloads

if TYPE_CHECKING:
    from certify.core.evidence import Evidence
    from certify.workflows.profile_result import Profiled

ROWS_NAME = "efficiency.jsonl"
"""Auditor file of a certificate."""


@job("Certifying", when_stopped="The same command measures from the start.")
def certify(
    candidate: str | Path,
    *,
    baseline: str | Path,
    data: Any,
    out: str | Path,
    preprocess: Preprocess | str | Path | None = None,
    baseline_preprocess: Preprocess | str | Path | None = None,
    plan: Plan | None = None,
    edition: str = "2026",
    origin: str | None = None,
    contracts_differ: str | None = None,
    lineage: str | Path | None = None,
    companions: Mapping[str, Path] | None = None,
    model_name: str | None = None,
    keep_data: bool = False,
    data_key: DataKey | None = None,
    groups: str | None = None,
    signer: SigningKey | None = None,
    progress: Progress | bool | None = None,
) -> Result:
    """Measure a candidate against its baseline, grade it, sign the result and seal it into the candidate.

    Args:
        candidate: ONNX file to grade, made by any toolkit, or a program exported by torch (``.pt2``, for
            ``torch-cuda``).
        baseline: the original model, a file of the same kind.
        data: data specification or data set (see :func:`certify.data.load`); the models are scored on its test split.
        out: folder for ``model.onnx``, ``baseline.onnx`` (``.pt2`` for programs), ``certificate.json``,
            ``evidence.jsonl`` and the label; weights of models over 2 GB are stored in a ``.data`` file next to the
            model.
        preprocess: the candidate's preprocessing contract, or a YAML file with one; None uses the one in the model
            file.
        baseline_preprocess: likewise for the baseline; None uses the one in its file, else the candidate's.
        plan: how to measure.
        edition: edition of the grade.
        origin: source of the baseline, in one sentence.
        contracts_differ: reason why the two preprocessing contracts differ, in one sentence; shown on the label.
            Without it, any difference other than the input size is refused.
        lineage: ``lineage.json`` of the candidate, if its maker wrote one; it also states the source of the baseline.
        companions: further files to bind by digest, by their name in ``out``. Default: the unchanged ones of the
            lineage.
        model_name: display name. Default: taken from the lineage or the file name.
        keep_data: whether to save the test split as ``test-data.npz``, for auditors of an in-memory data set.
        data_key: key of the holder of private data: identifiers are then keyed, and rows are written only to
            ``auditor/efficiency.jsonl``.
        groups: group columns of the data, such as ``sex,race`` or ``sex,race,sex:race`` (crossed): the effect of
            compression on each group is stated in ``statements/social.json`` next to the certificate.
        signer: signing key. Default: the user's own, created on first use.
        progress: progress display. Default: bars in a notebook or terminal; False shows none.

    Returns:
        The certificate, the figures and the written files; a refusal is a result too.

    Raises:
        UsageError: no contract was given and the file has none, a name is unknown, the lineage belongs to another file,
            or a text mixes scripts.
        DataError: the data cannot be read or have no test split.
        ModelError: a file is damaged, or the model cannot be fed or run.
        MeasureError: a worker, a meter or the runtime failed.

    Example:
        >>> import certify
        >>> found = certify.certify("small.onnx", baseline="original.onnx", data="photos", out="graded",
        ...                         preprocess="contract.yaml", plan=certify.Plan(threads=1))  # doctest: +SKIP
        >>> found.grade.letter  # doctest: +SKIP
    """
    plan = plan or Plan()
    require_usable(plan)
    constants = load_edition(edition)
    candidate, baseline, out = Path(candidate), Path(baseline), Path(out)
    progress = shown(progress)
    dataset = load(data, seed=plan.seed, progress=progress)
    if data_key is not None:
        require_private(plan.metric, dataset.test.targets is not None, keep_data)
        dataset = dataset.keyed(data_key)
    grouping = None if groups is None else Grouping.of(dataset, groups, load_social_edition())
    contract = contract_of(candidate, preprocess, default=as_given_to(candidate, dataset))
    contracts = contract_of(baseline, baseline_preprocess, default=contract), contract
    original = baseline_name(baseline)
    require_kept(baseline, out / subject_name(candidate))
    require_kept(candidate, out / original)
    require_statements_kept(candidate, out, lambda target: normalise(candidate, target, contract))
    signer = signer or signing_key()
    lineage = None if lineage is None else Path(lineage)
    lineage_values = None if lineage is None else users_lineage(lineage)
    if lineage is not None and lineage_values is not None:
        model_name, origin = model_name or lineage_values["model"]["spec"], origin or lineage_values["model"]["origin"]
        companions = unchanged_beside(lineage_values, lineage, out) if companions is None else companions
    origin, model_name = origin or _origin(baseline), model_name or candidate.stem
    texts = {"model's name": model_name, "baseline's origin": origin}
    _require_plain({**texts, "reason why the contracts differ": contracts_differ or ""})
    out.mkdir(parents=True, exist_ok=True)
    if keep_data:
        progress.say(keep_test_part(dataset, out))
    with keeping_windows(out), tempfile.TemporaryDirectory(prefix=".measuring-", dir=out) as folder:
        measured_baseline, measured = Path(folder, original), Path(folder, subject_name(candidate))
        evidence = _measure(
            (baseline, candidate),
            (measured_baseline, measured),
            contracts,
            dataset,
            plan,
            constants,
            origin,
            progress,
            lineage_values,
            contracts_differ=contracts_differ,
            further=None if grouping is None else grouping.collect,
        )
        if data_key is not None:
            evidence, rows = withhold(evidence, data_key)
            write_bytes(out / FOLDER / ROWS_NAME, rows)
        names = sorted((path.name for path in Path(folder).iterdir()), key=lambda name: name.startswith(original))
        beside = {name: out / name for name in names if name.startswith(original)}
        for name, path in beside.items():
            copy(Path(folder, name), path)
        certificate = issue(
            measured,
            evidence,
            lineage,
            contract,
            {**(companions or {}), **beside},
            out,
            signer,
            model_name=model_name,
        )
    if lineage is None:
        (out / LINEAGE_NAME).unlink(missing_ok=True)  # left by an earlier model in this folder
    discard_outdated(out, certificate.subject_digest, progress)
    others = [] if grouping is None else [state_groups(grouping, evidence, out / names[0], lineage, model_name, signer)]
    write_label(certificate, out, others)
    letter = grade(certificate.profile, constants)
    return Result(certificate, certificate.profile, letter, _written(out, *names))


@job("Profiling", when_stopped="The same command measures from the start.")
def profile(
    model: str | Path,
    *,
    data: Any,
    against: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    plan: Plan | Sequence[Plan] | None = None,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Profiled:
    """Measure a model without grading it.

    Args:
        model: ONNX file.
        data: data specification or data set (see :func:`certify.data.load`); the model is scored on its test split.
        against: ONNX file to compare with, measured in alternation with the model. None measures the model alone.
        preprocess: preprocessing contract, or a YAML file with one; None uses the one in the model file.
        plan: how to measure; a sequence measures one workload per plan (other batches, other runtimes). Without
            ``against``, a model is scored once per runtime, at the first batch.
        out: folder for ``profile.json``, ``profile.svg``, ``profile.png`` and the evidence of each workload; None
            writes nothing.
        progress: progress display. Default: bars in a notebook or terminal; False shows none.

    Returns:
        The workloads in the order of the plans, with ``_candidate`` for ``model`` and ``_baseline`` for ``against``.

    Raises:
        LeanmarkError: as :func:`certify` does.

    Example:
        >>> import certify
        >>> plans = [certify.Plan(batch=batch) for batch in (1, 8, 32)]
        >>> found = certify.profile("small.onnx", data="photos", plan=plans)  # doctest: +SKIP
        >>> [workload.per_sample("candidate") for workload in found.workloads]  # doctest: +SKIP
    """
    require_measuring()
    sources = [Path(model)] if against is None else [Path(against), Path(model)]
    dataset = load(data, progress=shown(progress))
    contract = contract_of(sources[-1], preprocess, default=as_given_to(sources[-1], dataset))
    contracts = [*(contract_of(other, None, default=contract) for other in sources[:-1]), contract]
    plans = [plan or Plan()] if plan is None or isinstance(plan, Plan) else list(plan)
    folder = None if out is None else Path(out)
    with keeping_windows(folder or state_folder()):
        return profile_workloads(sources, contracts, dataset, plans, folder, shown(progress))


def _measure(
    sources: tuple[Path, Path],
    normal: tuple[Path, Path],
    contracts: tuple[Preprocess, Preprocess],
    dataset: Dataset,
    plan: Plan,
    edition: Edition,
    origin: str,
    progress: Progress,
    lineage: Mapping[str, Any] | None = None,
    contracts_differ: str | None = None,
    further: Further | None = None,
) -> Evidence:
    """Convert both models to normal form, simplify the baseline, and measure both.

    A model without a lineage may have been trained on the test samples, regardless of the other splits of these data.
    So those splits are left out of the observation.
    """
    _require_plain({"data's name": dataset.name})
    if lineage is None:
        dataset = replace(dataset, train=None, calibration=None, validation=None)
    for source, target, contract in zip(sources, normal, contracts, strict=True):
        normalise(source, target, contract)
    if lineage is not None:
        for source, target in zip(sources, normal, strict=True):  # the lineage also states the baseline's origin
            require_same_file(lineage, source, target)
    simplified = simplify(normal[0], contracts[0], dataset, plan, edition.plan, progress)
    models = tuple(zip(normal, contracts, strict=True))
    return measure(
        models,
        dataset,
        plan,
        edition.plan,
        baseline_origin=origin,
        contracts_differ=contracts_differ,
        simplified=simplified,
        trials=None if lineage is None else lineage.get("search", {}).get("trials"),
        further=further,
        progress=progress,
    )


def _origin(baseline: Path) -> str:
    """Return the default origin of a baseline, without its name if that could be mistaken for another."""
    origin = f"{baseline.name}, as given"
    return origin if look_alikes(origin) is None else "as given"


def _require_plain(texts: Mapping[str, str]) -> None:
    """Reject texts before measuring that could not be signed afterwards."""
    if (found := first_look_alike(texts)) is not None:
        raise UsageError(f"{found} Write it in one script, or in Latin with Japanese, Korean or Chinese.")


def _written(out: Path, *models: str) -> dict[str, Path]:
    sidecars = (certificate.CERTIFICATE_NAME, certificate.EVIDENCE_NAME, certificate.LINEAGE_NAME)
    drawn = (certificate.LABEL_SVG_NAME, certificate.LABEL_PNG_NAME)
    names = (*models, *sidecars, certificate.SIGNER_NAME, *drawn, GROUPS_PLACE)
    return {name: out / name for name in names if (out / name).is_file()}
