"""Making a model again on other samples: the same original, the same passes, as its lineage states them."""

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
        UsageError: it is not there, or is not valid JSON.
        CertificateError: it does not fit its schema.
    """
    try:
        values: Mapping[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. An audit repeats how the model was made, which leanmark "
            "compress writes there."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}.") from error
    validate(values, "lineage-1")
    return values


def recipe_of(lineage: Mapping[str, Any]) -> Recipe:
    """The passes that a lineage states, in their order and with every parameter.

    Raises:
        UsageError: it states none, one is not installed, or was applied in another version.
    """
    rows = lineage["rows"]
    if not rows:
        raise UsageError("The lineage states no pass, so there is no recipe to repeat.")
    name = lineage["recipe"]["name"]
    found = recipes.load({"name": name, "passes": [{row["pass"]: dict(row["config"])} for row in rows]})
    for row, each in zip(rows, found.passes, strict=True):
        if row["version"] != each.version:
            raise UsageError(
                f"{row['pass']} was applied in version {row['version']}, and version {each.version} is installed; "
                "audit with the leanmark that made the model."
            )
    return found


def passes_digest(rows: Sequence[Sequence[Any]]) -> str:
    """Hex SHA-256 over the name, version and parameters of each pass."""
    return hashlib.sha256(rfc8785.dumps([list(row) for row in rows])).hexdigest()


def digest_of_rows(lineage: Mapping[str, Any]) -> str:
    """The digest of the passes that a lineage states."""
    return passes_digest([[row["pass"], row["version"], row["config"]] for row in lineage["rows"]])


def require_parts(dataset: Dataset, lineage: Mapping[str, Any]) -> None:
    """Refuse data other than those that the model was made from.

    Raises:
        UsageError: a part is another one, or the lineage withholds which it was.
    """
    stated, found = lineage["data"]["digests"], describe_data(dataset)["digests"]
    if not any(stated.values()):
        raise UsageError("The lineage withholds its data's digests; the audit of private data needs --private-data.")
    other = [part for part in TRAINING_PARTS if stated.get(part) != found[part]]
    if other:
        raise UsageError(
            f"The {' and '.join(other)} part of {dataset.spec} is not what the model was made from; name the data "
            f"{lineage['data']['spec']}, and the data key where they are private."
        )


@dataclass
class Cost:
    """What one step of an audit costs.

    Attributes:
        seconds: wall time.
        cpu_s: processor time of this process and of those that it started and that ended.
        energy_j: JSON of an Estimate, or None.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    energy_j: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Fields of a record of a step."""
        return {"seconds": round(self.seconds, 3), "cpu_s": round(self.cpu_s, 3), "energy_j": self.energy_j}


@contextmanager
def costed() -> Iterator[Cost]:
    """Measure a block of the audit."""
    cost, wall, cpu = Cost(), time.monotonic(), sum(os.times()[:4])
    with metered() as step:
        yield cost
    cost.seconds, cost.cpu_s = time.monotonic() - wall, sum(os.times()[:4]) - cpu
    cost.energy_j = step.energy_json()


@dataclass(frozen=True)
class Twin:
    """A model that was made like the audited one, on other samples.

    Attributes:
        model: its file.
        baseline: file of its original.
        recipe: digest of the passes that it went through.
        touched: how its training read the data.
    """

    model: Path
    baseline: Path
    recipe: str
    touched: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Repeater:
    """Repeats the making of a model.

    Attributes:
        request: the original as the user named it.
        recipe: the passes.
        dataset: the audited model's; its validation and calibration parts are taken as they are.
        key: of private data.
    """

    request: Request
    recipe: Recipe
    dataset: Dataset
    key: DataKey | None = None

    def make(self, train: Split, seed: int, folder: Path) -> Twin:
        """Make a twin; one that was stopped resumes after its last finished pass.

        Args:
            train: what it learns from in the place of the train part.
            seed: of its own, so that twins differ as trainings do.
            folder: for its files.

        Raises:
            LeanmarkError: as the job's own steps do.
        """
        dataset = replace(self.dataset, train=train)
        original = find_original(replace(self.request, seed=seed), dataset, Silent())
        context = make_context(original, dataset, target=None, seed=seed, progress=Silent())
        workspace = Workspace(folder, fingerprint(original, self.recipe, describe_data(dataset), context), Silent())
        job = Job(original, self.recipe, dataset, context, workspace, folder / "cache", data_key=self.key)
        made = job.make()
        steps = (made.baseline_row.touched, *(row.touched for row in made.rows))
        read = joined(*(_tuples(one) for one in steps)) or {"train": ["unknown"]}
        digest = passes_digest([[row.name, row.version, row.config] for row in made.rows])
        return Twin(made.model, made.baseline, digest, read)


def _tuples(touched: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if touched is None else {part: tuple(hows) for part, hows in touched.items()}
