"""Making a model again on other samples, from the same original by the passes that its lineage states."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import rfc8785

from certify.core.errors import UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from certify.core.schema import validate
from certify.data import Dataset, Split
from certify.data.touches import joined
from compress.core.step_cost import metered
from compress.job import recipe as recipes
from compress.job.context import fingerprint, make_context
from compress.job.job import Job
from compress.job.lineage import describe_data
from compress.job.original import Request, find_original
from compress.job.recipe import Recipe
from compress.job.workspace import Workspace

TRAINING_PARTS = ("train", "calibration", "validation")


def read_lineage(path: Path) -> Mapping[str, Any]:
    """Read a lineage.

    Raises:
        UsageError: the file cannot be read, or is not valid JSON.
        CertificateError: it does not conform to its schema.
    """
    try:
        values: Mapping[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. An audit makes the model again from its lineage, which leanmark "
            "compress writes there."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}.") from error
    validate(values, "lineage-1")
    return values


def recipe_of(lineage: Mapping[str, Any]) -> Recipe:
    """Return the passes that a lineage states, in order and with every parameter.

    Raises:
        UsageError: it states no pass, or one is not installed in the same version.
    """
    rows = lineage["rows"]
    if not rows:
        raise UsageError("The lineage states no pass, so there is no recipe to repeat.")
    name = lineage["recipe"]["name"]
    found = recipes.load({"name": name, "passes": [{row["pass"]: dict(row["config"])} for row in rows]})
    for row, each in zip(rows, found.passes, strict=True):
        if row["version"] != each.version:
            raise UsageError(
                f"{row['pass']} was applied in version {row['version']}, but version {each.version} is installed; "
                "audit with the leanmark that made the model."
            )
    return found


def passes_digest(rows: Sequence[Sequence[Any]]) -> str:
    """Return the hex SHA-256 over the name, version and parameters of each pass."""
    return hashlib.sha256(rfc8785.dumps([list(row) for row in rows])).hexdigest()


def digest_of_rows(lineage: Mapping[str, Any]) -> str:
    """Return the digest of the passes that a lineage states."""
    return passes_digest([[row["pass"], row["version"], row["config"]] for row in lineage["rows"]])


def require_parts(dataset: Dataset, lineage: Mapping[str, Any]) -> None:
    """Check that the data are those that the model was made from.

    Raises:
        UsageError: a part differs, or the lineage withholds its digests.
    """
    stated, found = lineage["data"]["digests"], describe_data(dataset)["digests"]
    if not any(stated.values()):
        raise UsageError("The lineage withholds its data's digests; the audit of private data needs --private-data.")
    other = [part for part in TRAINING_PARTS if stated.get(part) != found[part]]
    if other:
        raise UsageError(
            f"The {' and '.join(other)} part of {dataset.spec} is not what the model was made from; give the data "
            f"{lineage['data']['spec']}, and the data key if they are private."
        )


@dataclass
class Cost:
    """Cost of one step of an audit.

    Attributes:
        seconds: wall-clock time.
        cpu_s: processor time of this process and of its finished child processes.
        energy_j: energy, as the JSON of an Estimate; None if it was not measured.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    energy_j: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the cost fields of a step's record."""
        return {"seconds": round(self.seconds, 3), "cpu_s": round(self.cpu_s, 3), "energy_j": self.energy_j}


@contextmanager
def costed() -> Iterator[Cost]:
    """Measure the cost of a block; the yielded cost is filled in at its end."""
    cost, wall, cpu = Cost(), time.monotonic(), sum(os.times()[:4])
    with metered() as step:
        yield cost
    cost.seconds, cost.cpu_s = time.monotonic() - wall, sum(os.times()[:4]) - cpu
    cost.energy_j = step.energy_json()


@dataclass(frozen=True)
class Twin:
    """Model made like the audited one, on other samples.

    Attributes:
        model: file of the model.
        baseline: file of its original.
        recipe: digest of its passes.
        touched: how its making read each part of the data.
    """

    model: Path
    baseline: Path
    recipe: str
    touched: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Repeater:
    """Makes a model again on other samples.

    Attributes:
        request: original as the user named it.
        recipe: passes of the model.
        dataset: data of the audited model, whose validation and calibration parts are used unchanged.
        key: data key of private data; None for public data.
    """

    request: Request
    recipe: Recipe
    dataset: Dataset
    key: DataKey | None = None

    def make(self, train: Split, seed: int, folder: Path) -> Twin:
        """Make a twin; an interrupted one resumes after its last finished pass.

        Args:
            train: samples to use in place of the train part.
            seed: seed of the twin, so that twins differ as separate trainings do.
            folder: folder for its files.

        Raises:
            LeanmarkError: errors of the steps of the job.
        """
        dataset = replace(self.dataset, train=train)
        original = find_original(replace(self.request, seed=seed), dataset, Silent())
        context = make_context(original, dataset, target=None, seed=seed, progress=Silent())
        workspace = Workspace(folder, fingerprint(original, self.recipe, describe_data(dataset), context), Silent())
        job = Job(original, self.recipe, dataset, context, workspace, folder / "cache", data_key=self.key)
        repeated = job.make()
        steps = (repeated.baseline_row.touched, *(row.touched for row in repeated.rows))
        read = joined(*(_tuples(one) for one in steps)) or {"train": ["unknown"]}
        digest = passes_digest([[row.name, row.version, row.config] for row in repeated.rows])
        return Twin(repeated.model, repeated.baseline, digest, read)


def _tuples(touched: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if touched is None else {part: tuple(hows) for part, hows in touched.items()}
