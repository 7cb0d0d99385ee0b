"""Requirements of a gate on any statement: that it exists, and that a figure's pessimistic end keeps a limit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certify.assessment.claims import Claims
from certify.core.errors import UsageError

_FORM = re.compile(
    r"(?P<name>[a-z][a-z0-9_-]*)(?:\.(?P<figure>[a-z][a-z0-9_]*)\s*(?P<relation><=|>=)\s*(?P<limit>\S+))?"
)


@dataclass(frozen=True)
class Requirement:
    """Single requirement.

    Attributes:
        assessment: assessment whose statement must exist, be valid and not be a refusal.
        figure: name of a figure that it must contain; None for any.
        relation: ``<=`` compares the upper end of the figure's interval with the limit, ``>=`` the lower end.
        limit: limit in the figure's unit.
    """

    assessment: str
    figure: str | None = None
    relation: str = "<="
    limit: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Parse ``NAME`` or ``NAME.FIGURE<=LIMIT``.

        Raises:
            UsageError: the text has another form.

        Example:
            >>> Requirement.parse("efficiency.energy_ratio<=0.5").limit
            0.5
        """
        found = _FORM.fullmatch(text.strip())
        limit = _number(found["limit"]) if found and found["limit"] else math.inf
        if found is None or math.isnan(limit):
            raise UsageError(f"A requirement must be NAME, NAME.FIGURE<=LIMIT or NAME.FIGURE>=LIMIT, got {text!r}.")
        return cls(found["name"], found["figure"], found["relation"] or "<=", limit)

    def unmet(self, statements: Sequence[Claims]) -> Iterator[str]:
        """Yield why some statements do not meet the requirement; nothing if they do."""
        meant = [statement for statement in statements if statement.assessment == self.assessment]
        if not meant:
            yield f"There is no {self.assessment} statement."
        for claims in meant:
            if claims.refused:
                yield f"The {self.assessment} statement is a refusal: {' '.join(claims.reasons)}"
            elif self.figure is not None:
                yield from self._unmet_figure(claims)

    def _unmet_figure(self, claims: Claims) -> Iterator[str]:
        estimate = claims.figures.get(self.figure or "")
        if estimate is None:
            yield f"The {self.assessment} statement has no figure {self.figure}."
            return
        # The pessimistic end counts, so that a wide interval cannot pass.
        end = estimate.high if self.relation == "<=" else estimate.low
        # Written as "not (...)" so that NaN meets no limit.
        if not (end <= self.limit if self.relation == "<=" else end >= self.limit):
            which = "upper" if self.relation == "<=" else "lower"
            yield (
                f"The {which} end of {self.assessment}.{self.figure} must be {self.relation} {self.limit:g}, "
                f"got {end:g}."
            )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
