"""Result of a certification: the certificate, the figures and the written files."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.figures import Figures
from certify.present.report import report
from certify.present.rows import html_table

if TYPE_CHECKING:
    from certify.assessment.profile import Profile
    from certify.assessments.efficiency.grade import Grade
    from certify.attest.certificate import Certificate
    from certify.core.estimate import Estimate


@dataclass(frozen=True, repr=False)
class Result:
    """Graded or refused pair of models.

    Attributes:
        certificate: the signed and sealed certificate.
        profile: all figures with their intervals, and all guards.
        grade: the letter, or the reasons why there is none.
        files: written files, by name.

    Example:
        >>> import certify
        >>> found = certify.certify(
        ...     "small.onnx", baseline="original.onnx", data="photos", out="graded")  # doctest: +SKIP
        >>> found.grade.letter, found.energy_ratio, found.model  # doctest: +SKIP
    """

    certificate: Certificate
    profile: Profile
    grade: Grade
    files: Mapping[str, Path]

    @property
    def model(self) -> Path:
        """Path of the certified file: ``model.onnx``, or ``model.pt2`` for a program exported by torch."""
        return self.files[str(self.certificate.statement["subject"][0]["name"])]

    def to_json(self) -> dict[str, Any]:
        """Return grade, profile and paths as JSON values."""
        return {
            "grade": {**self.grade.to_json(), "text": self.grade.text},
            "profile": self.profile.to_json(),
            "certificate_digest": self.certificate.digest,
            "files": {name: str(path) for name, path in self.files.items()},
        }

    def report(self) -> str:
        """Return a self-contained HTML report, as drawn by :func:`certify.report`."""
        return report(self.model)

    def __repr__(self) -> str:
        verdict = f"grade {self.grade.text}" if self.grade.letter else f"not graded: {' '.join(self.grade.reasons)}"
        figures = Figures.of(self.profile.estimates)
        message = f"energy ratio {figures.energy_ratio}; relative accuracy loss {figures.relative_loss_percent}"
        return f"Result({verdict}; {message}; {self.model})"

    @property
    def energy_ratio(self) -> Estimate | None:
        """Energy of the candidate relative to the baseline; None without a meter."""
        return Figures.of(self.profile.estimates).energy_ratio

    def to_dataframe(self) -> Any:
        """Return every figure as a row of a ``pandas.DataFrame``; see :meth:`Profile.to_dataframe`."""
        return self.profile.to_dataframe()

    def _repr_html_(self) -> str:
        table, label = html_table(self.profile.estimates), self.certificate._repr_svg_()
        return f"{table}{label}<p><code>{html.escape(str(self.model))}</code></p>"
