"""Measuring a certified pair again, on this machine, to be compared with what was certified."""

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


@job("Measuring again")
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

    The runtime, the batch, the metric and the edition's plan are the certificate's; threads are chosen again, as each
    machine has its own best number, and the samples go in an order that nobody knew before.

    Args:
        path: the certified file, with its baseline (``baseline.onnx``) beside it.
        certificate: of that file.
        data: data specification, or a data set, with the same test samples.
        plan: how to measure; its runtime, batch and metric are replaced.
        progress: where to show how far it is; nowhere by default.
        fresh_data: data of the same classes that the maker has not seen, whose test part is scored too.
        data_key: that the identifiers of private data were made with.

    Raises:
        UsageError: there is no baseline beside the file, or the metric is code that the plan does not name.
        CertificateError: the files are not those that were measured, or the metric has another source.
        DataError: the data can't be read, or are not the samples that were scored.
        MeasureError: a worker, a meter or the runtime failed.
    """
    require_measuring()
    certificate.require("efficiency")
    predicate = certificate.predicate
    baseline = path.parent / baseline_name(path)
    if not baseline.is_file():
        raise UsageError(f"{baseline} is missing; without the baseline there is nothing to measure {path} against.")
    stated = predicate["baseline"]["file_digest"], predicate["baseline"]["content_digest"]
    measured = {"sha256": stated[0], "leanmarkContent": stated[1]}
    for file, digests in ((path, certificate.subject_digest), (baseline, measured)):
        if subject_digests(file) != digests:
            raise CertificateError(f"{file} is not the file that was measured; only that one can be measured again.")
    contract = Preprocess.from_json(predicate["preprocess"])
    workload, plan = predicate["workload"], plan or Plan()
    metric = _metric(predicate["data"], plan)
    plan = replace(plan, **_runtime(workload), batch=workload["batch"], metric=metric, salt=fresh_salt())
    progress = shown(progress)
    dataset = load(data, seed=plan.seed, progress=progress)
    dataset = dataset if data_key is None else dataset.keyed(data_key)
    _require_samples(dataset, certificate)
    if predicate["lineage"] is None:  # as when it was certified: what a foreign model was trained on is not known
        dataset = replace(dataset, train=None, calibration=None, validation=None)
    rules = load_edition(measuring_edition(predicate)).plan
    feeding = Preprocess.from_json(predicate["baseline"]["preprocess"])
    with tempfile.TemporaryDirectory(prefix="leanmark-again-") as folder:
        again = Path(folder, baseline.name)
        normalise(baseline, again, feeding)
        simplified = simplify(again, feeding, dataset, plan, rules, progress)
    return measure(
        ((baseline, feeding), (path, contract)),
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
    """The certified runtime; where each model chose its own, both are tried again, with the default one."""
    if not workload["candidate_runtime"]:
        return {"runtime": workload["runtime"]}
    names = (DEFAULT_RUNTIME, workload["runtime"], workload["candidate_runtime"]["runtime"])
    return {"runtime": AUTO, "among": tuple(dict.fromkeys(names))}


def _fresh(
    data: str | Dataset | None, dataset: Dataset, plan: Plan, progress: Progress, data_key: DataKey | None
) -> Dataset | None:
    """Load fresh data, which must have the classes of the certified ones."""
    if data is None:
        return None
    fresh = load(data, seed=plan.seed, progress=progress)
    fresh = fresh if data_key is None else fresh.keyed(data_key)
    numbers = fresh.test.targets is not None and dataset.test.targets is not None
    if fresh.classes != dataset.classes and not numbers:
        raise DataError(
            f"The fresh data {fresh.spec} have the classes {', '.join(fresh.classes[:5])}, and the certified ones "
            f"{', '.join(dataset.classes[:5])}; give data of the same classes in the same order (--fresh-data)."
        )
    return fresh


def _metric(data: Mapping[str, Any], plan: Plan) -> str:
    """The certified metric, which a stranger's certificate may not choose from all the code that is installed here."""
    certified: str = data.get("metric", plan.metric)
    if not is_own(certified) and certified != plan.metric:
        raise UsageError(
            f"The certificate is about the metric '{certified}', which is code, your own or its maker's. Look at it, "
            f"then say so with --metric {certified}."
        )
    code, stated = get_metric(certified).code, data.get("metric_code")
    if code != stated:
        raise CertificateError(
            f"The metric {certified} has another source here (sha256 {_short(code)}) than the one that was certified "
            f"({_short(stated)}). Install the version that was used, or ask the maker for it."
        )
    return certified


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:16]


def _require_samples(dataset: Dataset, certificate: Certificate) -> None:
    """Refuse other samples before the work rather than after it."""
    stated = certificate.predicate["data"]
    targets = dataset.test.targets
    if (dataset.test_digest(), targets and targets.digest()) != (stated["test_digest"], stated.get("targets")):
        if "private" in stated and dataset.test.key != stated["private"]:
            raise UsageError(
                "The certificate is about private data, whose identifiers are keyed; measure again with the "
                "--auditor-file and --auditor-key of their holder."
            )
        raise CertificateError(
            f"The test part of {dataset.spec} ({len(dataset.test)} samples) is not the one that was certified "
            f"({stated['test_samples']} samples of {stated['spec']}). Give the same data (--data)."
        )
