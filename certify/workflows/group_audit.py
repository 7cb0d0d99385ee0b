"""Audit of an ONNX file's answers by groups of people, alone or against the file that it was made from."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify import __version__
from certify.assessment.assessment import profile_of
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.social.assessment import Social
from certify.assessments.social.cells import JudgedCell, judged_cells
from certify.assessments.social.edition import NEWEST, SocialEdition, load_edition
from certify.assessments.social.figures import words
from certify.assessments.social.records import Records
from certify.core.errors import UsageError
from certify.core.evidence import ARMS, DEFAULT_RUNTIME
from certify.core.files import write_bytes, write_text
from certify.core.progress import Progress, shown
from certify.data import Preprocess, load
from certify.data.contract_slot import as_given_to, contract_of
from certify.data.dataset import Dataset
from certify.measure import runtimes
from certify.measure.header import now
from certify.measure.inputs import save_samples
from certify.measure.machine import require_measuring
from certify.measure.model_under_test import open_worker, subject
from certify.measure.recognition import Scorer
from certify.measure.windows import Running
from certify.present.groups import GroupPage, groups_chart, groups_page
from certify.workflows.group_records import Grouping

RECORDS, TABLE, PAGE, DRAWING = "social.evidence.jsonl", "fairness.json", "fairness.html", "fairness.svg"
FILES = (RECORDS, TABLE, PAGE, DRAWING)
GUESSED_INFERENCE_S = 1.0
"""Assumed time of a file's first inference, in seconds; it is timed from then on."""


@dataclass(frozen=True, repr=False)
class Fairness:
    """Answers of a model by groups of people.

    Attributes:
        name: display name of the model.
        records: counts; ``leanmark state MODEL --assessment social --records`` signs the result.
        profile: all figures and checks.
        outcome: outcome that a statement would have.
        cells: result of each cell; empty if the model was measured alone.
        edition: edition of the assessment.
    """

    name: str
    records: Records
    profile: Profile
    outcome: ClaimOutcome
    cells: tuple[JudgedCell, ...]
    edition: SocialEdition

    @property
    def words(self) -> Mapping[str, str]:
        """Description of each figure."""
        return words(self.records, self.edition)

    def to_json(self) -> dict[str, Any]:
        """Return outcome, cells, figures and checks as JSON values."""
        return {
            "model": self.name,
            "outcome": self.outcome.to_json(),
            "cells": [
                {"name": cell.name, "samples": cell.cell.table.n, "verdict": cell.verdict, "needed": cell.needed}
                for cell in self.cells
            ],
            "words": dict(self.words),
            "profile": self.profile.to_json(),
        }

    def plot(self) -> str:
        """Draw the changes of all cells, or their error rates, as SVG."""
        return groups_chart(self._page())

    def report(self) -> str:
        """Return a self-contained HTML page without scripts."""
        return groups_page(self._page())

    def write(self, folder: Path) -> dict[str, Path]:
        """Write records, figures, page and plot to a folder.

        Returns:
            Paths by name.
        """
        write_bytes(folder / RECORDS, Social().dump(self.records))
        write_text(folder / TABLE, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        write_text(folder / PAGE, self.report())
        write_text(folder / DRAWING, self.plot())
        return {name: folder / name for name in FILES}

    def _page(self) -> GroupPage:
        data = self.records.header.data
        sentences = {cell.cell: cell.sentence for cell in self.cells}
        return GroupPage(
            model=self.name,
            data=f"{data.name}, {data.samples} different samples",
            outcome=self.outcome.text,
            notes=(*self.outcome.reasons, *self.outcome.notes),
            sentences=tuple(sentences.values()),
            figures=dict(self.profile.estimates),
            words=self.words,
            findings=self.profile.guards,
            compares=self.records.compares,
        )

    def __repr__(self) -> str:
        return f"Fairness({self.name}: {self.outcome.text}; {len(self.profile.estimates)} figures)"


def fairness(
    model: str | Path,
    *,
    data: Any,
    groups: str,
    against: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    runtime: str = DEFAULT_RUNTIME,
    batch: int = 1,
    edition: str = NEWEST,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Fairness:
    """Compare the answers of a model between groups of people; nothing is timed, graded or signed.

    Args:
        model: ONNX file, made by any toolkit.
        data: data specification or data set with group columns (see :mod:`certify.data.groups`); the model is scored on
            its test split.
        groups: columns, such as ``sex,race``, or ``sex,race,sex:race`` to cross two of them.
        against: the file that the model was made from; the change for each group is then reported.
        preprocess: preprocessing contract, or a YAML file with one; None uses the one in the model file.
        runtime: runtime of the models.
        batch: samples per inference.
        edition: edition with the minimum number of people per published cell, and the margin.
        out: folder for records, figures, page and plot; None writes nothing.
        progress: progress display. Default: bars in a notebook or terminal; False shows none.

    Raises:
        UsageError: the data lack a column, or an edition or runtime is unknown.
        DataError: the data cannot be read, or fewer than two groups have enough people.
        ModelError: a file cannot be read, fed or scored.

    Example:
        >>> import certify
        >>> found = certify.fairness("income.onnx", data="npz:test=people.npz", groups="sex", batch=8, progress=False)
        >>> print(found.profile["sex_selection_ratio_candidate"])
        0.5 [0.3785, 0.6572]
    """
    require_measuring()
    runtimes.check(runtime)
    if batch < 1:
        raise UsageError(f"The 'batch' parameter of fairness must be at least 1, got {batch}.")
    constants, reporter = load_edition(edition), shown(progress)
    # The original comes first, because its answers are the baseline's.
    sources = [Path(model)] if against is None else [Path(against), Path(model)]
    dataset = load(data, progress=reporter)
    grouping = Grouping.of(dataset, groups, constants, exchanges=True)
    contract = contract_of(sources[-1], preprocess, default=as_given_to(sources[-1], dataset))
    # An original without a contract gets the same inputs as the candidate.
    contracts = [*(contract_of(other, None, default=contract) for other in sources[:-1]), contract]
    created, facts = now(), {}
    for arm, source, own_contract in zip(ARMS[-len(sources) :], sources, contracts, strict=True):
        facts[arm] = _score(grouping, arm, source, own_contract, (runtime, batch), reporter)
    records = grouping.records(facts, created, __version__)
    profile = profile_of(Social(), records, constants)
    cells = judged_cells(records, constants) if records.compares else ()
    found = Fairness(sources[-1].name, records, profile, Social().outcome(profile, constants), cells, constants)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        found.write(Path(out))
    return found


def _score(
    grouping: Grouping, arm: str, path: Path, contract: Preprocess, how: tuple[str, int], progress: Progress
) -> Any:
    """Score one file on the test split in its own worker.

    Returns:
        Facts about the model.
    """
    dataset: Dataset = grouping.dataset
    runtime, batch = how
    # The folder holds a normalised copy of the file and one batch of samples for the worker.
    with tempfile.TemporaryDirectory(prefix="leanmark-fairness-") as name:
        model = subject(arm, path, contract, batch, Path(name))
        save_samples(model.inputs, dataset.test, _first(batch, len(dataset.test)), contract)
        with open_worker(model, runtime, 1, batch) as worker:
            start = time.perf_counter()
            worker.window(1, GUESSED_INFERENCE_S)
            # The measured time replaces the guess.
            running = Running(worker, 1, time.perf_counter() - start, 1)
            scorer = Scorer(model, running, batch, Path(name), progress)
            grouping.collect(arm, scorer, dataset, scorer.predict(dataset))
    return model.facts


def _first(batch: int, samples: int) -> list[int]:
    """Return the indices of one batch, repeating the first samples if there are too few.

    Example:
        >>> _first(3, 2)
        [0, 1, 0]
    """
    # Samples are repeated, because some data have less than one batch.
    return [i % samples for i in range(batch)]
