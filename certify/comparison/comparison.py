"""Several certified models side by side, and which of them are not dominated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.comparison.comparability import same_baseline, why_not_comparable
from certify.comparison.entry import Entry, read_entry
from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.present.charts.pareto import Point, pareto_plot
from certify.present.machines import why_not_one_job, worst

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey


@dataclass(frozen=True)
class Axes:
    """Figures by which models are compared.

    Attributes:
        energy: name of the energy estimate.
        accuracy: name of the estimate of accuracy, or of its loss.
        time: name of the time estimate, which is shown but not ranked.
        is_ratio: whether both are changes relative to one common baseline.
    """

    energy: str
    accuracy: str
    time: str
    is_ratio: bool


NAMES = EfficiencyClaims.names
RATIOS = Axes(NAMES.energy_ratio, NAMES.relative_loss_percent, NAMES.duration_ratio, True)
ABSOLUTE = Axes(NAMES.energy_j("candidate"), NAMES.accuracy("candidate"), NAMES.duration_s("candidate"), False)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models that are comparable with each other.

    Attributes:
        entries: entries in the given order.
        axes: ratios if all have the same baseline, else absolute figures; None for statements of another assessment,
            whose figures are listed without a ranking.
        one_model: whether all are certificates of one model file, from machines that are not comparable.
    """

    entries: tuple[Entry, ...]
    axes: Axes | None
    one_model: bool = False

    def worst(self) -> Entry | None:
        """Entry with the worst letter, if all certificates are of one model file; else None."""
        measured = [entry.claims for entry in self.entries if isinstance(entry.claims, EfficiencyClaims)]
        found = worst(measured) if self.one_model else None
        return next((entry for entry in self.entries if entry.claims is found), None)

    def place(self, entry: Entry) -> tuple[Estimate, Estimate] | None:
        """Return energy and loss (in percent) of an entry, lower is better; None for a refusal or a missing figure.

        Absolute accuracy is converted to its shortfall from 100 %.
        """
        if self.axes is None:
            return None
        energy, accuracy = entry.estimate(self.axes.energy), entry.estimate(self.axes.accuracy)
        if entry.claims.refused or energy is None or accuracy is None:
            # A missing figure leaves the entry out of the front instead of treating it as 0.
            return None
        return energy, accuracy if self.axes.is_ratio else _shortfall(accuracy)

    def best(self) -> tuple[Entry, ...]:
        """Entries that no other dominates in energy and loss, by their point estimates (the Pareto front).

        Where intervals overlap, another measurement may change the order. Machines are not ranked against each other.
        """
        # Certificates of one model differ only in the machine, so none dominates another.
        if self.one_model:
            return ()
        placed = [(entry, place) for entry in self.entries if (place := self.place(entry)) is not None]
        return tuple(
            entry
            for entry, mine in placed
            if not any(_beats(theirs, mine) for other, theirs in placed if other is not entry)
        )

    def plot(self) -> str:
        """Plot the models by energy and loss with their intervals, as SVG.

        Raises:
            UsageError: no model has both figures and a letter.
        """
        best = {entry.name for entry in self.best()}
        points = [
            Point(name, entry.claims.text, *place, entry.name in best)
            for entry, name in zip(self.entries, _distinct([entry.name for entry in self.entries]), strict=True)
            if (place := self.place(entry)) is not None
        ]
        if not points:
            raise UsageError(
                "None of these models has a letter with energy and accuracy; measure one with leanmark certify to "
                "plot it."
            )
        return pareto_plot(points, is_ratio=self.axes == RATIOS)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        best, worst = {entry.name for entry in self.best()}, self.worst()
        names = (RATIOS.energy, RATIOS.accuracy, ABSOLUTE.energy, ABSOLUTE.accuracy, RATIOS.time)
        axes = self.axes
        return {
            "compared_by": {} if axes is None else {"energy": axes.energy, "accuracy": axes.accuracy},
            "models": [
                {
                    "path": entry.name,
                    "model": entry.claims.model,
                    "grade": entry.claims.text,
                    "device_class": entry.device_class,
                    "worst": entry is worst,
                    "certificate": entry.claims.digest,
                    "trusted": entry.trusted,
                    "on_pareto_front": entry.name in best,
                    **{
                        name: found.to_json()
                        for name in (names if axes else entry.claims.headlines)
                        if (found := entry.estimate(name)) is not None
                    },
                }
                for entry in self.entries
            ],
        }

    def _repr_svg_(self) -> str | None:
        return self.plot() if any(self.place(entry) for entry in self.entries) else None

    def __repr__(self) -> str:
        return f"Comparison({', '.join(f'{entry.name}: {entry.claims.text}' for entry in self.entries)})"


def compare(*paths: str | Path, trust: Iterable[str | Path | PublicKey] = ()) -> Comparison:
    """Verify certified models and compare them.

    Args:
        paths: at least two certified files.
        trust: public keys to trust, in addition to the user's own.

    Raises:
        UsageError: fewer than two, one given twice, a file that does not exist, or models that are not comparable.
        CertificateError: a file has no certificate, or its certificate is not valid.

    Example:
        >>> import certify
        >>> found = certify.compare("graded/model.onnx", "other/model.onnx", trust=["maker.pub"])
        >>> [entry.claims.text for entry in found.entries], [entry.name for entry in found.best()]
        (['D', 'F'], ['graded/model.onnx'])
    """
    keys = tuple(trust)
    # A model compared with itself would be neither better nor worse.
    if len({str(path) for path in paths}) < max(2, len(paths)):
        raise UsageError(
            f"The paths to compare must be at least two different files, got {', '.join(map(str, paths)) or 'none'}."
        )
    entries = tuple(read_entry(path, keys) for path in paths)
    one_model = _on_several_machines(entries)
    measured = [entry.claims for entry in entries if isinstance(entry.claims, EfficiencyClaims)]
    if not measured:
        return Comparison(entries, None)
    # Ratios are comparable only if the baseline is the same; otherwise absolute figures are compared.
    shared = all(same_baseline(measured[0], claims) for claims in measured)
    return Comparison(entries, RATIOS if shared else ABSOLUTE, one_model)


def _distinct(paths: Sequence[str]) -> list[str]:
    """Strip folders and file name shared by all paths: ``a/model.onnx`` and ``b/model.onnx`` become ``a`` and ``b``."""
    parts = [PurePath(path).parts for path in paths]
    if len(set(parts)) < 2:
        return [each[-1] for each in parts]
    # Prefix and suffix are stripped by path components, not by characters.
    first = len(os.path.commonprefix(parts))
    last = len(os.path.commonprefix([each[first:][::-1] for each in parts]))
    return ["/".join(each[first : len(each) - last]) or each[-1] for each in parts]


def _on_several_machines(entries: Sequence[Entry]) -> bool:
    """Return whether these are certificates of one model file that differ in machine, runtime or meter.

    Raises:
        UsageError: they are of several models, or jobs, that are not comparable.
    """
    unlike = False
    for first, second in combinations(entries, 2):
        if reasons := why_not_comparable(first.claims, second.claims):
            # One file from several machines may be shown together, although the figures are not comparable.
            if first.content != second.content or why_not_one_job(first.claims, second.claims):
                raise UsageError(f"{first.name} and {second.name} cannot be compared: {'; '.join(reasons)}.")
            unlike = True
    return unlike and len({entry.content for entry in entries}) == 1


def _beats(first: tuple[Estimate, Estimate], second: tuple[Estimate, Estimate]) -> bool:
    """Return whether one entry is at least as good in both figures and better in one."""
    mine, theirs = ([estimate.value for estimate in pair] for pair in (first, second))
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _shortfall(share: Estimate) -> Estimate:
    # The ends swap, because a shortfall is what is missing from 100 %.
    value, low, high = (100 * (1 - end) for end in (share.value, share.high, share.low))
    return Estimate(value, low, high, "%", share.n, share.method, share.evidence)
