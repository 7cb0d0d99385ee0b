"""The lineage: how a model was made, one row per pass, with the time and energy of each.

``lineage.json`` is the contract between maker and referee; the referee owns its schema (``lineage-1``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from certify.core.files import write_bytes
from certify.core.folders import published
from certify.core.private_data import WITHHELD, AuditorBinding, DataKey
from certify.core.schema import validate
from certify.data.dataset import Dataset
from compress.core.model_stats import ModelStats
from compress.core.pass_protocol import Pass, PassRecord
from compress.core.step_cost import StepCost
from compress.exchange.onnx_export import ExportRecord
from compress.job.public_form import (
    is_hidden,
    public_config,
    public_results,
    public_share,
    without_numbers,
    without_seed,
)
from compress.job.recipe import Recipe

SCHEMA = "lineage-1"
PARTS = ("train", "calibration", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One applied pass, as recorded.

    Attributes:
        name: name of the pass.
        version: version of the pass.
        stage: ``torch`` or ``onnx``.
        config: all parameters.
        digest_in: digest of the input model (see ModelStats).
        facts: statistics of the output model.
        validation_accuracy: accuracy of the output model, 0 to 1; None without validation samples.
        seconds: wall time of the pass.
        energy_j: JSON of an Estimate, or None.
        record: what was done and declined, as JSON values.
        touched: how each part of the data was read by this pass (:mod:`certify.data.touches`); None if unknown.
        cpu_s: CPU-seconds of the pass; None if unknown.
    """

    name: str
    version: int
    stage: str
    config: Mapping[str, Any]
    digest_in: str
    facts: ModelStats
    validation_accuracy: float | None
    seconds: float
    energy_j: Mapping[str, Any] | None
    record: Mapping[str, Any]
    touched: Mapping[str, Sequence[str]] | None = None
    cpu_s: float | None = None

    @classmethod
    def of(
        cls,
        applied: Pass,
        digest_in: str,
        facts: ModelStats,
        accuracy: float | None,
        cost: StepCost,
        record: PassRecord,
        touched: Mapping[str, Sequence[str]] | None = None,
    ) -> Row:
        """Return the row of a pass that was just applied."""
        return cls(
            name=applied.name,
            version=applied.version,
            stage=applied.stage,
            config=applied.config(),
            digest_in=digest_in,
            facts=facts,
            validation_accuracy=accuracy,
            seconds=cost.seconds,
            energy_j=cost.energy_json(),
            record=record.to_json(),
            touched=touched,
            cpu_s=cost.cpu_s,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a row of the schema."""
        return {
            "pass": self.name,
            "version": self.version,
            "stage": self.stage,
            "config": dict(self.config),
            "model_digest_in": self.digest_in,
            "model_digest_out": self.facts.digest,
            "parameters": self.facts.parameters,
            "macs": self.facts.macs,
            "bytes": self.facts.bytes,
            "validation_accuracy": self.validation_accuracy,
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "energy_j": self.energy_j,
            "touched": touched_json(self.touched),
            **self.record,
        }

    def withheld(self) -> Row:
        """Return the public form of the row."""
        done = public_results(self.record["done"], self.config)
        accuracy = public_share(self.validation_accuracy)
        record = {**self.record, "done": done}
        return replace(self, config=public_config(self.config), record=record, validation_accuracy=accuracy)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """Read the output of :meth:`to_json`."""
        return cls(
            name=values["pass"],
            version=values["version"],
            stage=values["stage"],
            config=values["config"],
            digest_in=values["model_digest_in"],
            facts=ModelStats(values["model_digest_out"], values["parameters"], values["macs"], values["bytes"]),
            validation_accuracy=values["validation_accuracy"],
            seconds=values["seconds"],
            energy_j=values["energy_j"],
            record={"done": values["done"], "declined": values["declined"]},
            touched=None if values.get("touched") is None else {k: tuple(v) for k, v in values["touched"].items()},
            cpu_s=values.get("cpu_s"),
        )


@dataclass(frozen=True)
class BaselineRow:
    """The untouched original; see the schema for the fields."""

    facts: ModelStats
    validation_accuracy: float | None
    trained_here: bool
    seconds: float = 0.0
    energy_j: Mapping[str, Any] | None = None
    done: Mapping[str, Any] = field(default_factory=dict)
    touched: Mapping[str, Sequence[str]] | None = None

    def withheld(self) -> BaselineRow:
        """Return the public form of the row."""
        accuracy = public_share(self.validation_accuracy)
        return replace(self, validation_accuracy=accuracy, done=without_numbers(self.done))

    def to_json(self) -> dict[str, Any]:
        """Return the object ``baseline`` of the schema."""
        return {
            "model_digest": self.facts.digest,
            "parameters": self.facts.parameters,
            "macs": self.facts.macs,
            "bytes": self.facts.bytes,
            "validation_accuracy": self.validation_accuracy,
            "trained_here": self.trained_here,
            "seconds": self.seconds,
            "energy_j": self.energy_j,
            "done": dict(self.done),
            "touched": touched_json(self.touched),
        }


def touched_json(touched: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]] | None:
    """Return how parts were read, in the form of the schema."""
    return None if touched is None else {part: sorted(hows) for part, hows in sorted(touched.items())}


def export_json(record: ExportRecord, touched: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the object ``export`` of the schema."""
    numbers = {name: value for name, value in asdict(record.parity).items() if isinstance(value, int | float)}
    tried = [] if record.declined is None else [{"what": "dynamo", "why": record.declined}]
    return {
        "exporter": record.exporter,
        "opset": record.opset,
        "parity": numbers,
        "declined": tried,
        "touched": touched_json(touched),
    }


@dataclass(frozen=True)
class Lineage:
    """How a model was made.

    Attributes:
        model: spec, origin and weights of the original.
        data: name, spec, digests and counts of the parts (see :func:`describe_data`).
        recipe: the recipe of the job.
        seed: seed of every random choice.
        baseline: the untouched original.
        rows: one row per pass, in order.
        export: exporter, opset and parity; None if the original was an ONNX file.
        artifacts: hex SHA-256 of the files next to it, by name.
        auditor: binding to the full lineage, if the data is private and this is the public one.
        search: how the recipe was found: ``trials``, ``objective``, ``max_loss_percent``; None without a search.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    recipe: Recipe
    seed: int | None
    baseline: BaselineRow
    rows: tuple[Row, ...]
    export: Mapping[str, Any] | None
    artifacts: Mapping[str, str]
    search: Mapping[str, Any] | None = None
    auditor: Mapping[str, Any] | None = None

    def withheld(self, key: DataKey) -> tuple[Lineage, bytes]:
        """Return the public lineage of private data, and the bytes of the full one, to which it is bound.

        The public one contains no seed, no digest or path of the data, no number of samples and no accuracy from which
        one follows, neither a sampling rate nor the noise that it follows from if that number is protected, and no pass
        record that is meant for an auditor alone.
        """
        content = self.content()
        binding = AuditorBinding.of(content, key).to_json()
        data = {**self.data, "spec": WITHHELD, "digests": {}, "counts": {}}
        model = {**self.model, "origin": without_seed(self.model["origin"])}
        rows, baseline = tuple(row.withheld() for row in self.rows), self.baseline.withheld()
        export = None if self.export is None else {**self.export, "parity": without_numbers(self.export["parity"])}
        public = replace(self, model=model, data=data, baseline=baseline, rows=rows, export=export, seed=None)
        return replace(public, auditor=binding), content

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of the schema ``lineage-1``."""
        return {
            "version": 1,
            "leanmark": maker_version(),
            "model": published(self.model),
            "data": published(self.data),
            "recipe": {
                "name": self.recipe.name,
                "digest": self.recipe.digest(None if self.auditor is None else public_config),
                "passes": [p.name for p in self.recipe.passes],
                "extends": published(self.recipe.extends),
                "settings": [
                    setting for setting in self.recipe.settings if self.auditor is None or not is_hidden(setting)
                ],
            },
            **({} if self.search is None else {"search": dict(self.search)}),
            "seed": self.seed,
            "baseline": self.baseline.to_json(),
            "rows": [row.to_json() | {"config": published(row.config)} for row in self.rows],
            "export": None if self.export is None else dict(self.export),
            "artifacts": dict(self.artifacts),
            **({} if self.auditor is None else {"auditor": dict(self.auditor)}),
        }

    def content(self) -> bytes:
        """Return the bytes of the file, checked against its schema.

        Raises:
            CertificateError: a value does not fit the schema.
        """
        values = self.to_json()
        validate(values, SCHEMA)
        return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()

    def write(self, path: Path) -> None:
        """Check the lineage against its schema, and write it.

        Raises:
            CertificateError: a value does not fit the schema.
        """
        write_bytes(path, self.content())


def maker_version() -> str:
    """Return the version of the installed distribution, or ``source`` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("leanmark")
    except PackageNotFoundError:
        return "source"


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Return the object ``data`` of the schema."""
    parts = dataset.parts
    return {
        "name": dataset.name,
        "spec": dataset.spec,
        "digests": {name: parts[name].whole_digest() if name in parts else None for name in PARTS},
        "counts": {name: len(parts[name]) if name in parts else 0 for name in PARTS},
    }
