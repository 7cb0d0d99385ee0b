"""The referee's Python interface: measure a pair of ONNX files, grade it, sign and seal the result."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
from certify.attest.lineage import given_lineage, require_same_file, unchanged_beside
from certify.attest.statements import remove_outdated
from certify.core.errors import UsageError
from certify.core.files import copy, write_bytes
from certify.core.folders import state_folder
from certify.core.private_data import FOLDER, DataKey
from certify.core.progress import Progress, job, shown
from certify.core.scripts import first_look_alike, look_alikes
from certify.data import Dataset, Preprocess, load
from certify.data.contract_slot import as_given_to, contract_of, normalise
from certify.data.kept import keep_test_part
from certify.graded import Result
from certify.grading import issue
from certify.group_statement import GROUPS_PLACE, state_groups
from certify.grouping import Grouping
from certify.measure.experiment import Further, measure
from certify.measure.machine import require_measuring
from certify.measure.plan import Plan
from certify.measure.simplify import simplify
from certify.measure.usable import require_usable
from certify.measure.windows import MeasurementInterrupted, MeasurementStopped, window_line
from certify.model_file.subject import subject_name
from certify.present.label.sidecars import write_label
from certify.profiling import profile_workloads

if TYPE_CHECKING:
    from certify.core.evidence import Evidence
    from certify.profiled import Profiled

ROWS_NAME = "efficiency.jsonl"
"""The auditor file of a certificate."""
PARTIAL_NAME = "evidence.partial.jsonl"


@job("Certifying")
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
        candidate: ONNX file to grade, whoever made it; or a program that torch exported (``.pt2``, for ``torch-cuda``).
        baseline: the untouched original, a file of the same kind.
        data: data specification, or data of a program (see :func:`certify.data.load`); its test part is what counts.
        out: folder for ``model.onnx``, ``baseline.onnx`` (``.pt2`` for programs), ``certificate.json``,
            ``evidence.jsonl`` and the label; what weighs over 2 GB has its weights in a ``.data`` file beside it.
        preprocess: the candidate's preprocessing contract, or a YAML file with one; None takes the one that the file
            carries.
        baseline_preprocess: likewise for the baseline; None takes the one that it carries, else the candidate's.
        plan: how to measure.
        edition: of the grade.
        origin: where the baseline comes from, in one sentence.
        contracts_differ: why the two preprocessing contracts differ, in one sentence; shown on the label. Without it a
            difference other than the input's size is refused.
        lineage: ``lineage.json`` of the candidate, if its maker wrote one; it also says where the baseline comes from.
        companions: further files to bind by digest, by their name in ``out``; the lineage's unchanged ones by default.
        model_name: for people; from the lineage or the file's name by default.
        keep_data: whether to write the test part as ``test-data.npz``, for auditors of data that a program held.
        data_key: of the holder of private data; identifiers are then keyed, and rows are written to
            ``auditor/efficiency.jsonl`` and to no public file.
        groups: columns of groups of the data, such as ``sex,race`` or ``sex,race,sex:race`` (crossed too): what
            compression did to each group is stated beside the certificate, in ``statements/social.json``.
        signer: signing key; the user's own, made on first use, by default.
        progress: where to show how far it is; bars in a notebook or terminal by default, False for none.

    Returns:
        What was written; a refusal is a result too.

    Raises:
        UsageError: no contract was given and the file carries none, an unknown name, a lineage of another file, or a
            text for people that mixes scripts.
        DataError: the data can't be read or have no test part.
        ModelError: a file is damaged, or can't be fed or run.
        MeasureError: a worker, a meter or the runtime failed.
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
    signer = signer or signing_key()
    lineage = None if lineage is None else Path(lineage)
    made = None if lineage is None else given_lineage(lineage)
    if lineage is not None and made is not None:
        model_name, origin = model_name or made["model"]["spec"], origin or made["model"]["origin"]
        companions = unchanged_beside(made, lineage, out) if companions is None else companions
    origin, model_name = origin or _origin(baseline), model_name or candidate.stem
    said = {"model's name": model_name, "baseline's origin": origin}
    _require_plain({**said, "reason why the contracts differ": contracts_differ or ""})
    out.mkdir(parents=True, exist_ok=True)
    if keep_data:
        progress.say(keep_test_part(dataset, out))
    with _keeping_windows(out), tempfile.TemporaryDirectory(prefix=".measuring-", dir=out) as folder:
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
            made,
            contracts_differ=contracts_differ,
            further=None if grouping is None else grouping.look,
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
        (out / LINEAGE_NAME).unlink(missing_ok=True)  # of an earlier model in this folder
    remove_outdated(out, certificate.subject_digest)
    others = [] if grouping is None else [state_groups(grouping, evidence, out / names[0], lineage, model_name, signer)]
    write_label(certificate, out, others)
    letter = grade(certificate.profile, constants)
    return Result(certificate, certificate.profile, letter, _written(out, *names))


@job("Profiling")
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
        data: data specification, or data of a program (see :func:`certify.data.load`); its test part is what counts.
        against: ONNX file to compare with, measured in turn with the model. None measures the model alone.
        preprocess: preprocessing contract, or a YAML file with one; None takes the one that the file carries.
        plan: how to measure; several measure a workload each (other batches, other runtimes). Alone, a model is scored
            once for each runtime, at the first batch.
        out: folder for ``profile.json``, ``profile.svg``, ``profile.png`` and the evidence of each workload; None
            writes nothing.
        progress: where to show how far it is; bars in a notebook or terminal by default, False for none.

    Returns:
        The workloads in the order of the plans, with ``_candidate`` for ``model`` and ``_baseline`` for the other.

    Raises:
        LeanmarkError: as :func:`certify` does.
    """
    require_measuring()
    sources = [Path(model)] if against is None else [Path(against), Path(model)]
    dataset = load(data, progress=shown(progress))
    contract = contract_of(sources[-1], preprocess, default=as_given_to(sources[-1], dataset))
    contracts = [*(contract_of(other, None, default=contract) for other in sources[:-1]), contract]
    plans = [plan or Plan()] if plan is None or isinstance(plan, Plan) else list(plan)
    folder = None if out is None else Path(out)
    with _keeping_windows(folder or state_folder()):
        return profile_workloads(sources, contracts, dataset, plans, folder, shown(progress))


@contextlib.contextmanager
def _keeping_windows(folder: Path) -> Iterator[None]:
    """Write the finished windows of a measurement that stops before its time, and say where they are."""
    path = folder / PARTIAL_NAME
    try:
        yield
    except (MeasurementStopped, MeasurementInterrupted) as stopped:
        if not stopped.windows:
            raise
        write_bytes(path, b"".join(window_line(window) for window in stopped.windows))
        sentence = f"{stopped} The {len(stopped.windows)} windows that were finished are kept in {path}."
        raise type(stopped)(sentence.lstrip(), stopped.windows) from stopped
    path.unlink(missing_ok=True)  # of an earlier measurement that stopped


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
    """Bring baseline and candidate into the normal form, simplify the baseline, and measure what came out.

    Whether a model without a lineage has seen the test samples can't be known: that the other parts of these data do
    not hold them says nothing about what it was trained on. So those parts are left out of the observation.
    """
    _require_plain({"data's name": dataset.name})
    if lineage is None:
        dataset = replace(dataset, train=None, calibration=None, validation=None)
    for source, target, contract in zip(sources, normal, contracts, strict=True):
        normalise(source, target, contract)
    if lineage is not None:
        require_same_file(lineage, sources[1], normal[1])
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
    """What is said of a baseline of which nothing was said; a name that could pass for another is left out."""
    said = f"{baseline.name}, as given"
    return said if look_alikes(said) is None else "as given"


def _require_plain(texts: Mapping[str, str]) -> None:
    """Refuse before the measurement what could not be signed after it."""
    if (found := first_look_alike(texts)) is not None:
        raise UsageError(f"{found} Write it in one script, or in Latin with Japanese, Korean or Chinese.")


def _written(out: Path, *models: str) -> dict[str, Path]:
    sidecars = (certificate.CERTIFICATE_NAME, certificate.EVIDENCE_NAME, certificate.LINEAGE_NAME)
    drawn = (certificate.LABEL_SVG_NAME, certificate.LABEL_PNG_NAME)
    names = (*models, *sidecars, certificate.SIGNER_NAME, *drawn, GROUPS_PLACE)
    return {name: out / name for name in names if (out / name).is_file()}
