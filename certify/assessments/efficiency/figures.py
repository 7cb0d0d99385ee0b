"""Names of all figures in one place, and a typed view of a profile's estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from certify.core.estimate import Estimate

if TYPE_CHECKING:
    from certify.assessments.efficiency.classes import ClassLoss


class Figure:
    """Figure named after its attribute: the name on the class, the estimate or None on an instance."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, figures: None, owner: type) -> str: ...
    @overload
    def __get__(self, figures: Figures, owner: type) -> Estimate | None: ...
    def __get__(self, figures: Figures | None, owner: type) -> str | Estimate | None:
        return self._name if figures is None else figures.get(self._name)


class Stem(str):
    """Common prefix of the names of a figure of both models; calling it with an arm gives the full name."""

    def __call__(self, arm: str) -> str:
        """Return the name of an arm's figure."""
        return f"{self}_{arm}"


class ArmFigure:
    """Figure of each model, called with its arm."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._stem = Stem(name)

    @overload
    def __get__(self, figures: None, owner: type) -> Stem: ...
    @overload
    def __get__(self, figures: Figures, owner: type) -> Callable[[str], Estimate | None]: ...
    def __get__(self, figures: Figures | None, owner: type) -> Stem | Callable[[str], Estimate | None]:
        return self._stem if figures is None else lambda arm: figures.get(self._stem(arm))


class Figures(dict[str, Estimate]):
    """Estimates by name, with one attribute each.

    Args:
        estimates: estimates by name; an unavailable figure is absent.
        classes: losses of the test set's classes, the clearest first.

    Example:
        >>> figures = Figures({Figures.energy_j("candidate"): Estimate.exact(2.0, "J", "example")})
        >>> print(list(figures), figures.energy_j("candidate"), figures.energy_ratio)
        ['energy_j_candidate'] 2 J None
    """

    energy_ratio = Figure()
    null_ratio = Figure()
    runtime_saving = Figure()
    compression_saving = Figure()
    smallest_detectable_saving = Figure()
    duration_ratio = Figure()
    macs_ratio = Figure()
    bytes_moved_ratio = Figure()
    parameters_ratio = Figure()
    bytes_ratio = Figure()
    relative_loss_percent = Figure()
    accuracy_difference_points = Figure()
    agreement = Figure()
    majority_share = Figure()
    mcnemar_p = Figure()
    mcnemar_mid_p = Figure()
    lost_samples = Figure()
    gained_samples = Figure()
    samples_needed = Figure()
    duplicate_samples = Figure()
    private_samples = Figure()
    classes_worse = Figure()

    energy_j = ArmFigure()
    energy_net_j = ArmFigure()
    energy_yardstick = ArmFigure()
    duration_s = ArmFigure()
    throughput_per_s = ArmFigure()
    latency_p50_s = ArmFigure()
    latency_p90_s = ArmFigure()
    latency_p99_s = ArmFigure()
    accuracy = ArmFigure()
    score = ArmFigure()
    score_constant = Figure()
    macs = ArmFigure()
    counted_share = ArmFigure()
    bytes_moved = ArmFigure()
    parameters = ArmFigure()
    bytes = ArmFigure()
    peak_memory_bytes = ArmFigure()

    def __init__(
        self, estimates: Mapping[str, Estimate] | Iterable[tuple[str, Estimate]] = (), classes: Sequence[ClassLoss] = ()
    ) -> None:
        super().__init__(estimates)
        self.classes = tuple(classes)

    @classmethod
    def of(cls, estimates: Mapping[str, Estimate]) -> Figures:
        """Return a view of a profile's estimates, which may already be one; those read from JSON have no classes."""
        return estimates if isinstance(estimates, cls) else cls(estimates)
