"""Result of ``profile``: the figures of a model in each workload, as a table, JSON or a plot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.nodes import NodeCost, node_costs
from certify.core.dataframe import dataframe, figure_rows
from certify.core.estimate import Estimate
from certify.core.evidence import ARMS, Evidence
from certify.core.windows import Window
from certify.present.charts.draw import standalone
from certify.present.charts.workloads import Series, workloads
from certify.present.rows import html_table


@dataclass(frozen=True, repr=False)
class WorkloadProfile:
    """Figures of one workload: a runtime and a batch size.

    Attributes:
        profile: estimates by name, with ``_candidate`` for the model and ``_baseline`` for the model compared with, and
            the guards.
        evidence: evidence that they were computed from.
    """

    profile: Profile
    evidence: Evidence

    @property
    def runtime(self) -> str:
        """Name of the runtime adapter."""
        return self.evidence.header.workload.runtime

    @property
    def batch(self) -> int:
        """Samples per inference."""
        return self.evidence.header.workload.batch

    @property
    def arms(self) -> tuple[str, ...]:
        """``candidate`` for the model, and ``baseline`` if it was compared with another."""
        # The candidate comes first, because it is the model that the user asked about.
        return tuple(arm for arm in reversed(ARMS) if arm in self.evidence.header.models)

    @property
    def figures(self) -> Figures:
        """Estimates of the profile as typed attributes."""
        return Figures.of(self.profile.estimates)

    def windows(self, arm: str) -> list[Window]:
        """Return the windows of one model's main run."""
        return self.evidence.run("main").of(arm)

    @property
    def first_s(self) -> float:
        """Start of the main run's first window, in seconds."""
        return min((window.start_s for arm in self.arms for window in self.windows(arm)), default=0.0)

    def nodes(self, arm: str) -> tuple[NodeCost, ...]:
        """Return the nodes on which a model spends most time, with their share of its joules."""
        return node_costs(self.evidence, arm, self.figures.energy_j(arm))

    def per_sample(self, arm: str) -> Estimate | None:
        """Return joules per sample, or seconds without a meter; None if neither was measured."""
        # Joules and seconds must not share a column.
        cost = self.figures.energy_j(arm) or self.figures.duration_s(arm)
        return None if cost is None else cost.scaled(1 / self.batch)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "runtime": self.runtime,
            "batch": self.batch,
            "threads": self.evidence.header.workload.candidate_threads,
            **self.profile.to_json(),
            "nodes": {arm: [node.to_json() for node in self.nodes(arm)] for arm in self.arms},
            "windows": {arm: [_window(window) for window in self.windows(arm)] for arm in self.arms},
        }


@dataclass(frozen=True, repr=False)
class Profiled:
    """Profile of a model in one or several workloads.

    Attributes:
        model: name of the model file.
        against: name of the file compared with; None if the model was measured alone.
        workloads: workloads in the order in which they were measured.
    """

    model: str
    against: str | None
    workloads: tuple[WorkloadProfile, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "model": self.model,
            "against": self.against,
            "workloads": [workload.to_json() for workload in self.workloads],
        }

    def plot(self) -> str:
        """Draw energy against batch size and windows over time, as a self-contained SVG document."""
        title = self.model if self.against is None else f"{self.model} against {self.against}"
        return standalone(workloads("profile", title, list(self._series()), list(self._beginnings())))

    def _beginnings(self) -> Iterator[tuple[float, str]]:
        """Yield the second at which the windows of each workload begin in the plot, and the workload's name."""
        several = len({workload.runtime for workload in self.workloads}) > 1
        for workload, start in zip(self.workloads, self._starts(), strict=True):
            name = f"{workload.runtime}, batch {workload.batch}" if several else f"batch {workload.batch}"
            yield start + workload.first_s, name

    def _series(self) -> Iterator[Series]:
        runtimes = list(dict.fromkeys(workload.runtime for workload in self.workloads))
        starts = self._starts()
        for runtime in runtimes:
            own = [(workload, start) for workload, start in zip(self.workloads, starts, strict=True)
                   if workload.runtime == runtime]  # fmt: skip
            for arm in own[0][0].arms:
                costs = [(workload.batch, workload.per_sample(arm)) for workload, _ in own]
                known = tuple((batch, cost) for batch, cost in costs if cost is not None)
                name = self.model if arm == ARMS[1] else self.against or arm
                points = [point for workload, start in own for point in _points(workload, arm, start)]
                if known:
                    yield Series(f"{name}, {runtime}", known, tuple(points))

    def _starts(self) -> list[float]:
        """Return the offset of each workload, in seconds, that places the main runs one after the other."""
        starts, end = [], 0.0
        for workload in self.workloads:
            # Main runs are placed one after the other, so the warm-up before each is cut out.
            starts.append(end - workload.first_s)
            main = (window for arm in workload.arms for window in workload.windows(arm))
            end += max((window.start_s + window.duration_s for window in main), default=0.0) - workload.first_s
        return starts

    def __repr__(self) -> str:
        lines = []
        for workload in self.workloads:
            cost, pace = workload.per_sample(ARMS[1]), workload.figures.energy_ratio
            ratio = "" if pace is None else f"; energy ratio {pace}"
            lines.append(f"  {workload.runtime}, batch {workload.batch}: {cost} per sample{ratio}")
        return "\n".join([f"Profiled({self.model}", *lines, ")"])

    def to_dataframe(self) -> Any:
        """Return every figure of each workload as a row of a ``pandas.DataFrame``.

        Raises:
            UsageError: pandas is not installed.
        """
        return dataframe(
            {"runtime": workload.runtime, "batch": workload.batch, **row}
            for workload in self.workloads
            for row in figure_rows(workload.profile.estimates)
        )

    def _repr_html_(self) -> str:
        return "".join([*(html_table(workload.profile.estimates) for workload in self.workloads), self.plot()])


def _points(workload: WorkloadProfile, arm: str, start: float) -> Iterator[tuple[float, float]]:
    """Yield windows as (second, percent of their mean)."""
    windows = workload.windows(arm)
    metered = all(window.energy_j is not None for window in windows)
    costs = [(window.energy_j if metered else window.duration_s) or 0.0 for window in windows]
    costs = [cost / window.inferences for cost, window in zip(costs, windows, strict=True)]
    mean = sum(costs) / len(costs) if costs else 0.0
    for window, cost in zip(windows, costs, strict=True):
        # A mean of 0 has no percentages.
        if mean > 0:
            yield window.start_s + start, 100 * cost / mean


def _window(window: Window) -> dict[str, Any]:
    names = ("block", "position", "start_s", "duration_s", "cpu_s", "energy_j", "inferences")
    return {name: getattr(window, name) for name in names}
