"""What a certification gives back: the certificate, the figures and the files that were written."""

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
    """A graded (or refused) pair of models.

    Attributes:
        certificate: what was signed and sealed.
        profile: every figure with its interval, and every guard.
        grade: the letter, or why there is none.
        files: what was written, by name.
    """

    certificate: Certificate
    profile: Profile
    grade: Grade
    files: Mapping[str, Path]

    @property
    def model(self) -> Path:
        """The certified file: ``model.onnx``, or ``model.pt2`` for a program that torch exported."""
        return self.files[str(self.certificate.statement["subject"][0]["name"])]

    def to_json(self) -> dict[str, Any]:
        """Grade, profile and paths as JSON values."""
        return {
            "grade": {**self.grade.to_json(), "text": self.grade.text},
            "profile": self.profile.to_json(),
            "certificate_digest": self.certificate.digest,
            "files": {name: str(path) for name, path in self.files.items()},
        }

    def report(self) -> str:
        """Everything about it as one self-contained HTML page, as :func:`certify.report` draws it."""
        return report(self.model)

    def __repr__(self) -> str:
        verdict = f"grade {self.grade.text}" if self.grade.letter else f"not graded: {' '.join(self.grade.reasons)}"
        figures = Figures.of(self.profile.estimates)
        told = f"energy ratio {figures.energy_ratio}; relative accuracy loss {figures.relative_loss_percent}"
        return f"Result({verdict}; {told}; {self.model})"

    @property
    def energy_ratio(self) -> Estimate | None:
        """Energy of the candidate over that of the baseline; None where there was no meter."""
        return Figures.of(self.profile.estimates).energy_ratio

    def to_dataframe(self) -> Any:
        """Every figure as a row of a ``pandas.DataFrame``; see :meth:`Profile.to_dataframe`."""
        return self.profile.to_dataframe()

    def _repr_html_(self) -> str:
        table, label = html_table(self.profile.estimates), self.certificate._repr_svg_()
        return f"{table}{label}<p><code>{html.escape(str(self.model))}</code></p>"
