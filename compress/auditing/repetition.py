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
from certify.core.estimate import Estimate, total
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from certify.core.schema import validate
from certify.data import Dataset, Split
from certify.data.touches import joined
from compress.auditing.audit_folder import COST, Shelf
from compress.core.step_cost import metered
from compress.job import recipe as recipes
from compress.job.context import fingerprint, make_context
from compress.job.job import Job
from compress.job.lineage import describe_data
from compress.job.original import Request, find_original
from compress.job.public_form import public_config
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


def weights_of(lineage: Mapping[str, Any]) -> str | None:
    """Return the initial weights that a lineage names.

    Raises:
        UsageError: they are a file that is not here; a lineage names files outside the working folder without folders.
    """
    stated: str | None = lineage["model"]["weights"]
    if stated is not None and Path(stated).suffix and not Path(stated).expanduser().is_file():
        raise UsageError(f"The lineage names the initial weights {stated}, which are not here; give --weights FILE.")
    return stated


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
    """Return the hex SHA-256 over the name, version and public parameters of each pass.

    The digest is public, and a sampling rate could be found from it by trying the usual ones.
    """
    stated = [[name, version, public_config(config)] for name, version, config in rows]
    return hashlib.sha256(rfc8785.dumps(stated)).hexdigest()


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
    differing = [part for part in TRAINING_PARTS if stated.get(part) != found[part]]
    if differing:
        verb = "part differs" if len(differing) == 1 else "parts differ"
        raise UsageError(
            f"The {', '.join(differing)} {verb} between {dataset.spec} and what the model was made from; give the data "
            f"{lineage['data']['spec']}, and the data key if they are private; if a record was withdrawn since or a "
            "consent given, make the model again first."
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

    def add(self, other: Mapping[str, Any] | None) -> None:
        """Add the cost fields of an earlier process; None if it was killed, so that its share is unknown."""
        energies = [self.energy_j, None if other is None else other["energy_j"]]
        known = [Estimate.from_json(each) for each in energies if each is not None]
        if other is not None:
            self.seconds, self.cpu_s = self.seconds + other["seconds"], self.cpu_s + other["cpu_s"]
        self.energy_j = total(known).to_json() if len(known) == len(energies) else None


@contextmanager
def costed(shelf: Shelf, name: str) -> Iterator[Cost]:
    """Measure the cost of a block, with what earlier processes spent on it before they were interrupted.

    The yielded cost is filled in at the end. The energy is unknown if a process was killed, since it left no figures.

    Args:
        shelf: shelf of the audit, which keeps the cost of interrupted processes.
        name: name of the step.
    """
    place = f"{name}{COST}"
    earlier, cost = shelf.finished(place) or [], Cost()
    # None until the block ends, so that the cost of a killed process is recorded as unknown.
    shelf.finish(place, [*earlier, None])
    # User and system time, of this process and of its finished children.
    wall, cpu = time.monotonic(), sum(os.times()[:4])
    try:
        with metered(this_process_only=True) as step:
            yield cost
    finally:
        cost.seconds, cost.cpu_s = time.monotonic() - wall, sum(os.times()[:4]) - cpu
        cost.energy_j = step.energy_json()
        shelf.finish(place, [*earlier, cost.to_json()])
    for each in earlier:
        cost.add(each)


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
        read = joined(*(_tuples(each) for each in steps)) or {"train": ["unknown"]}
        digest = passes_digest([[row.name, row.version, row.config] for row in repeated.rows])
        return Twin(repeated.model, repeated.baseline, digest, read)


def _tuples(touched: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if touched is None else {part: tuple(hows) for part, hows in touched.items()}
