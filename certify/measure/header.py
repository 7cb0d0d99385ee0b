"""The header of the evidence: the circumstances of a measurement."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

from certify.core.evidence import Header, Latencies, ModelFacts, Observation, Prediction, Workload
from certify.core.folders import published
from certify.core.group_columns import columns_digest
from certify.core.measuring_rules import MeasuringRules
from certify.core.private_data import WITHHELD
from certify.data.dataset import Dataset
from certify.data.metrics import get_metric
from certify.measure import meters, runtimes
from certify.measure.machine import describe
from certify.measure.plan import Plan


@dataclass(frozen=True)
class Measured:
    """Results of a measurement besides its windows; libraries as stated in the header."""

    attempt: int
    workload: Workload
    latencies: tuple[Latencies, ...]
    predictions: tuple[Prediction, ...]
    observations: tuple[Observation, ...]
    libraries: Mapping[str, str]


def header(
    plan: Plan,
    rules: MeasuringRules,
    choice: meters.Choice,
    dataset: Dataset,
    models: Mapping[str, ModelFacts],
    found: Measured,
    created: str,
    origin: str,
) -> Header:
    """Return the header with the circumstances of a measurement."""
    return Header(
        created=created,
        leanmark=_version(),
        edition=rules.edition,
        seed=plan.seed,
        attempt=found.attempt,
        baseline_origin=origin,
        device={**describe(), **runtimes.get(found.workload.runtime).accelerator()},
        data=_data_facts(dataset, plan.metric),
        workload=found.workload,
        meter=choice.facts(),
        models=models,
        time_limit_s=plan.time_limit_s,
        wanted_half_width=plan.wanted_half_width,
        libraries=found.libraries,
    )


def now() -> str:
    """Return the current UTC time in the header's format."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _data_facts(dataset: Dataset, metric: str) -> dict[str, str | int]:
    declared, columns = get_metric(metric), dataset.column_digests()
    return {
        "name": dataset.name,
        "spec": published(dataset.spec) if dataset.test.key is None else WITHHELD,
        "test_samples": len(dataset.test),
        "test_digest": dataset.test_digest(),
        "classes": len(dataset.classes),
        "metric": declared.name,
        **({} if dataset.test.targets is None else {"targets": dataset.test.targets.digest()}),
        **({} if declared.code is None else {"metric_code": declared.code}),
        **({} if dataset.test.key is None else {"private": dataset.test.key}),
        **({"columns": columns_digest(dataset.test_digest(), columns)} if columns else {}),
    }


def _version() -> str:
    try:
        return importlib.metadata.version("leanmark")
    # A source tree on the path has no metadata.
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
