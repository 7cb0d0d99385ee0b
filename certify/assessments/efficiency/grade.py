"""The grade: one letter, or the reasons why there is none; a pure function of the profile and the edition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.guards import GUARDS, NEED_ROWS
from certify.assessments.efficiency.notes import loss_notes, unshown_margins
from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel

LETTERS = tuple("ABCDEFG")
REFUSED = "refused"
SCORE_DIGITS = 9
"""Decimals of the score: the last bit of a platform's logarithm must not decide a letter."""


@dataclass(frozen=True)
class Grade:
    """Outcome of an edition's rules.

    Attributes:
        letter: A (best) to G, or None for a refusal.
        modelled: whether the energy is modelled, which adds a tilde to the letter.
        score_db: score in decibels, before any cap; None for a refusal.
        upper_ratio: U, upper end of the energy ratio's interval plus the null run's bias; None if unknown.
        loss_percent: L, upper end of the relative loss in percent, not below 0; None if unknown.
        reasons: reasons of a refusal, one sentence each.
        notes: remarks for readers of the letter, one sentence each.
        point_letter: letter at the measured point, without the pessimism of either interval, which depends on the size
            of the test set; None for a refusal.
    """

    letter: str | None
    modelled: bool
    score_db: float | None
    upper_ratio: float | None
    loss_percent: float | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    point_letter: str | None = None

    @property
    def text(self) -> str:
        """Letter as printed (``C``, ``C~``), or ``refused``."""
        if self.letter is None:
            return REFUSED
        return f"{self.letter}~" if self.modelled else self.letter

    @property
    def refused(self) -> bool:
        """Whether there is no letter."""
        return self.letter is None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**asdict(self), "reasons": list(self.reasons), "notes": list(self.notes), "text": self.text}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Grade:
        """Parse the JSON of :meth:`to_json`.

        Raises:
            CertificateError: a field is missing, unknown or of the wrong type, a letter is not on the scale, or there
                are both a letter and reasons.
        """
        names = (*cls.__dataclass_fields__, "text")
        if not isinstance(fields, Mapping) or set(fields) != set(names):
            raise CertificateError(f"The grade in the certificate must have the fields {', '.join(names)}.")
        letter, modelled = fields["letter"], fields["modelled"]
        if not isinstance(letter, str | None) or not isinstance(modelled, bool):
            raise CertificateError("The grade's letter must be a string or null, and modelled must be true or false.")
        score, upper, lost = (_number_or_none(fields, name) for name in ("score_db", "upper_ratio", "loss_percent"))
        reasons, notes = _texts(fields, "reasons"), _texts(fields, "notes")
        if (letter is None) != bool(reasons) or (letter is None) != (score is None):
            raise CertificateError("A grade must have either a letter and a score, or reasons why there is none.")
        for named in (letter, point := fields["point_letter"]):
            if named is not None and named not in LETTERS:
                raise CertificateError(f"{named!r} is not a letter of the scale, which is {', '.join(LETTERS)}.")
        return cls(letter, modelled, score, upper, lost, reasons, notes, point)


def grade(profile: Profile, edition: Edition) -> Grade:
    """Grade a profile by an edition's rules."""
    figures = Figures.of(profile.estimates)
    ratio, loss = figures.energy_ratio, figures.relative_loss_percent
    # A proxy is not energy, and an open end bounds nothing.
    if ratio is not None and (ratio.evidence is EvidenceLevel.PROXY or not math.isfinite(ratio.high)):
        ratio = None
    bias = _null_bias(profile)
    # Added whatever its sign: a machine that errs by so much may err in the other direction too.
    upper = None if ratio is None else ratio.high + bias
    lost = None if loss is None or not math.isfinite(loss.high) else max(0.0, loss.high)
    modelled = ratio is not None and ratio.evidence is EvidenceLevel.MODELLED
    private = figures.private_samples is not None
    reasons = _reasons(profile, edition, upper, lost, _may_be_unknown(edition, private))
    # A refusal has no score: it would be read as a grade.
    score = None
    if upper is not None and lost is not None and not reasons:
        score = score_db(upper, lost, edition)
    letter = None if score is None else _capped(edition.grading.letter(score), modelled, edition)
    point = None
    if letter is not None and ratio is not None and loss is not None:
        # A gain in accuracy earns no points, as in the graded score.
        seen = score_db(ratio.value, max(0.0, loss.value), edition)
        point = _capped(edition.grading.letter(seen), modelled, edition)
    notes = _notes(profile, edition, modelled, bias)
    if loss is not None:
        notes += loss_notes(profile.estimates, edition)
        notes += unshown_margins(profile.estimates, edition, letter, upper, modelled)
    notes += _unknown_guards(profile, edition, private)
    return Grade(letter, modelled, score, upper, lost, tuple(reasons), tuple(notes), point)


def score_db(upper_ratio: float, loss_percent: float, edition: Edition) -> float:
    """Return the score in decibels: -energy_weight * log10(U) - loss_weight * L, rounded to SCORE_DIGITS.

    Example:
        >>> from certify.assessments.efficiency.edition import load_edition
        >>> score_db(0.25, 1.0, load_edition())
        4.020599913
    """
    # Decibels, since savings multiply: halving the energy adds the same, whatever it was before.
    raw = -edition.grading.energy_weight * math.log10(upper_ratio) - edition.grading.loss_weight * loss_percent
    # Adding 0.0 turns -0.0 into 0.0.
    return round(raw, SCORE_DIGITS) + 0.0


def _null_bias(profile: Profile) -> float:
    """Return how far the null run's ratio is from 1, if its interval excludes 1; else 0."""
    null = Figures.of(profile.estimates).null_ratio
    return 0.0 if null is None or null.low <= 1 <= null.high else abs(null.value - 1)


def _may_be_unknown(edition: Edition, private: bool) -> set[str]:
    return {*edition.grading.may_be_unknown, *(NEED_ROWS if private else ())}


def _reasons(
    profile: Profile, edition: Edition, upper: float | None, lost: float | None, may_be_unknown: set[str]
) -> list[str]:
    reasons = []
    if upper is None or upper <= 0:
        reasons.append("No energy figure with an interval is available at any evidence level.")
    if lost is None:
        reasons.append("The accuracy loss could not be determined.")
    elif lost > edition.grading.largest_loss_percent:
        limit = edition.grading.largest_loss_percent
        reasons.append(f"A relative loss of up to {lost:.3g} % cannot be ruled out; at most {limit:g} % is allowed.")
    for name in GUARDS:
        result = profile.guard(name)
        # A guard that was left out of a profile must not count as passed.
        if result is None:
            reasons.append(f"Guard {name} was not evaluated.")
        elif result.outcome == "fail":
            reasons.append(f"Guard {name} failed: {_continued(result.sentence)}")
        elif result.outcome == "unknown" and name not in may_be_unknown:
            reasons.append(f"Guard {name} must not be unknown: {_continued(result.sentence)}")
    return reasons


def _capped(letter: str, modelled: bool, edition: Edition) -> str:
    """Cap the letter of modelled energy at the edition's best for it."""
    # Best letter first, so the worse of two letters has the larger index.
    order = [*edition.grading.letters, edition.grading.last_letter]
    best = order.index(edition.grading.best_modelled_letter) if modelled else 0
    return order[max(order.index(letter), best)]


def _notes(profile: Profile, edition: Edition, modelled: bool, bias: float) -> list[str]:
    notes = []
    if modelled:
        best = edition.grading.best_modelled_letter
        notes.append(
            f"The energy is modelled: the interval excludes the model's own error, and {best} is the best possible "
            "letter."
        )
    if bias > 0:
        notes.append(f"The null run's interval excludes 1: its bias of {bias:.3g} is added to the energy ratio.")
    return notes


def _unknown_guards(profile: Profile, edition: Edition, private: bool) -> list[str]:
    unknown = [result for result in profile.guards if result.outcome == "unknown"]
    waiting = [result.name for result in unknown if private and result.name in NEED_ROWS]
    notes = [
        f"Guard {result.name} is unknown: {_continued(result.sentence)}"
        for result in unknown
        if result.name in edition.grading.may_be_unknown and result.name not in waiting
    ]
    message = f"The data are private: {', '.join(waiting)} need rows that are in the auditor file."
    return [*notes, message] if waiting else notes


def _continued(sentence: str) -> str:
    """Return a sentence to follow a colon: its first letter in lower case, unless it begins with an acronym."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _number_or_none(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CertificateError(f"The grade's {name} must be a number or null, got {value!r}.")
    return float(value)


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = fields[name]
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise CertificateError(f"The grade's {name} must be a list of strings.")
    return tuple(values)
