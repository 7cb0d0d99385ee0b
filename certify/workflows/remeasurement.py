"""New measurement of a certified pair on this machine, for comparison with the certified one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.facts import baseline_name, measuring_edition
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, DataError, UsageError
from certify.core.evidence import DEFAULT_RUNTIME
from certify.core.private_data import DataKey
from certify.core.progress import Progress, job, shown
from certify.core.sample_order import fresh_salt
from certify.data import Dataset, Preprocess, load
from certify.data.contract_slot import normalise
from certify.data.metrics import get_metric, is_own
from certify.measure.experiment import measure
from certify.measure.machine import require_measuring
from certify.measure.plan import Plan
from certify.measure.runtimes import AUTO
from certify.measure.simplify import simplify
from certify.model_file.subject import subject_digests

if TYPE_CHECKING:
    from certify.core.evidence import Evidence


@job("Measuring again", when_stopped="The same command measures from the start.")
def remeasure(
    path: Path,
    certificate: Certificate,
    data: str | Dataset,
    plan: Plan | None = None,
    *,
    progress: Progress | bool | None = None,
    fresh_data: str | Dataset | None = None,
    data_key: DataKey | None = None,
) -> Evidence:
    """Measure a certified file against its baseline again.

    Runtime, batch, metric and the edition's plan are those of the certificate. Threads are chosen again, because the
    best number depends on the machine, and the samples are run in an order that nobody knew before.

    Args:
        path: the certified file, next to its baseline (``baseline.onnx``).
        certificate: certificate of that file.
        data: data specification, or a data set, with the same test samples.
        plan: how to measure; its runtime, batch and metric are replaced.
        progress: progress display; none by default.
        fresh_data: data of the same classes that the maker has not seen, whose test split is scored too.
        data_key: data key that keyed the identifiers of private data.

    Raises:
        UsageError: the baseline is missing, or the metric is code that the plan does not name.
        CertificateError: the files are not those that were measured, or the metric's source code differs.
        DataError: the data cannot be read, or are not the samples that were scored.
        MeasureError: a worker, a meter or the runtime failed.
    """
    require_measuring()
    certificate.require("efficiency")
    predicate = certificate.predicate
    baseline = path.parent / baseline_name(path)
    if not baseline.is_file():
        raise UsageError(f"{baseline} is missing; put the baseline next to {path}, which is measured against it.")
    stated = predicate["baseline"]["file_digest"], predicate["baseline"]["content_digest"]
    measured = {"sha256": stated[0], "leanmarkContent": stated[1]}
    # Both files are checked, because a comparison with another baseline would prove nothing about the certificate.
    for file, digests in ((path, certificate.subject_digest), (baseline, measured)):
        if subject_digests(file) != digests:
            raise CertificateError(f"{file} is not the file that was measured; restore that file to measure again.")
    contract = Preprocess.from_json(predicate["preprocess"])
    workload, plan = predicate["workload"], plan or Plan()
    metric = _metric(predicate["data"], plan)
    plan = replace(plan, **_runtime(workload), batch=workload["batch"], metric=metric, salt=fresh_salt())
    progress = shown(progress)
    dataset = load(data, seed=plan.seed, progress=progress)
    dataset = dataset if data_key is None else dataset.keyed(data_key)
    _require_samples(dataset, certificate)
    if predicate["lineage"] is None:  # as at certification: the training data of a foreign model are unknown
        dataset = replace(dataset, train=None, calibration=None, validation=None)
    rules = load_edition(measuring_edition(predicate)).plan
    baseline_contract = Preprocess.from_json(predicate["baseline"]["preprocess"])
    # Simplified again, as at certification.
    with tempfile.TemporaryDirectory(prefix="leanmark-again-") as folder:
        again = Path(folder, baseline.name)
        normalise(baseline, again, baseline_contract)
        simplified = simplify(again, baseline_contract, dataset, plan, rules, progress)
    return measure(
        ((baseline, baseline_contract), (path, contract)),
        dataset,
        plan,
        rules,
        baseline_origin=predicate["baseline"]["origin"],
        contracts_differ=predicate["baseline"]["contracts_differ"],
        fresh=_fresh(fresh_data, dataset, plan, progress, data_key),
        simplified=simplified,
        progress=progress,
    )


def _runtime(workload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the certified runtime; if each model chose its own, both are tried again, along with the default one."""
    if not workload["candidate_runtime"]:
        return {"runtime": workload["runtime"]}
    # All runtimes that took part are tried, because the best one here may be another.
    names = (DEFAULT_RUNTIME, workload["runtime"], workload["candidate_runtime"]["runtime"])
    return {"runtime": AUTO, "among": tuple(dict.fromkeys(names))}


def _fresh(
    data: str | Dataset | None, dataset: Dataset, plan: Plan, progress: Progress, data_key: DataKey | None
) -> Dataset | None:
    """Load fresh data, which must have the classes of the certified data."""
    if data is None:
        return None
    fresh = load(data, seed=plan.seed, progress=progress)
    fresh = fresh if data_key is None else fresh.keyed(data_key)
    # Regression has no classes to compare.
    numbers = fresh.test.targets is not None and dataset.test.targets is not None
    if fresh.classes != dataset.classes and not numbers:
        raise DataError(
            f"The fresh data {fresh.spec} have the classes {', '.join(fresh.classes[:5])}, but the certified data have "
            f"{', '.join(dataset.classes[:5])}; pass data with the same classes in the same order to --fresh-data."
        )
    return fresh


def _metric(data: Mapping[str, Any], plan: Plan) -> str:
    """Return the certified metric; a stranger's certificate must not choose from all code installed here."""
    certified: str = data.get("metric", plan.metric)
    # Third-party code runs only if the reader names it, not because a certificate does.
    if not is_own(certified) and certified != plan.metric:
        raise UsageError(
            f"The certificate uses the metric '{certified}', which is third-party code. Review it, "
            f"then allow it with --metric {certified}."
        )
    code, stated = get_metric(certified).code, data.get("metric_code")
    # Another version of a metric would measure something else under the same name.
    if code != stated:
        raise CertificateError(
            f"The metric {certified} has different source code here (sha256 {_short(code)}) than when certified "
            f"({_short(stated)}). Install the version that was used, or ask the maker for it."
        )
    return certified


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:16]


def _require_samples(dataset: Dataset, certificate: Certificate) -> None:
    """Refuse other samples before measuring rather than afterwards."""
    stated = certificate.predicate["data"]
    targets = dataset.test.targets
    # Compared before measuring, because a difference found afterwards would waste hours.
    if (dataset.test_digest(), targets and targets.digest()) != (stated["test_digest"], stated.get("targets")):
        if "private" in stated and dataset.test.key != stated["private"]:
            raise UsageError(
                "The certificate is about private data with keyed identifiers; measure again with the "
                "--auditor-file and --auditor-key of the data holder."
            )
        raise CertificateError(
            f"The test split of {dataset.spec} ({len(dataset.test)} samples) is not the certified one "
            f"({stated['test_samples']} samples of {stated['spec']}). Pass the same data to --data."
        )
