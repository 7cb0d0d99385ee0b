"""Printable claims of declarations: the maker's words, and contradictions by other statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certify.assessment.claims import Claims
from certify.assessments.declarations.declaration import BIAS_CLAUSE, Declaration
from certify.assessments.declarations.questions import SECTIONS, applicable
from certify.core.finding import Finding

PEOPLE = "People and faces"
SOCIAL = "social"
"""Assessment with figures by group of people."""


@dataclass(frozen=True, kw_only=True)
class DeclarationClaims(Claims):
    """Claims of declarations.

    Attributes:
        declared: the maker's declarations.
        known: counts of each split of the data.
        data_name: display name of the data.
    """

    declared: Declaration
    known: tuple[Mapping[str, Any], ...]
    data_name: str

    @property
    def own_words(self) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
        """Maker's words by section: heading and words of each answered question."""
        found: dict[str, list[tuple[str, str]]] = {}
        for question in applicable(self.declared):
            title = PEOPLE if question.section in ("people", "faces") else SECTIONS[question.section]
            if (words := question.words(self.declared)) is not None:
                found.setdefault(title, []).append((question.head, words))
        found["Answers to questions that names raise"] = list(self.declared.answers.items())
        found["Who answers for it"] = [(person.name, person.role or "") for person in self.declared.signed_by]
        return tuple((title, tuple(rows)) for title, rows in found.items() if rows)

    @property
    def notice(self) -> Mapping[str, str]:
        """Answers to the public's questions about a model, in the maker's words or "Not stated."."""
        declared, context, recourse = self.declared, self.declared.context, self.declared.recourse
        answers = {
            "What is it for?": context.intended_use,
            "What is it not for?": "; ".join(context.not_for or ()) or None,
            "On whom is it used?": PUBLIC.get(declared.people or "unknown"),
            "Who could be harmed, and how?": _both(context.who_is_harmed, context.what_could_go_wrong),
            "Who decides?": context.who_decides,
            "Are people told?": recourse.told,
            "How can I object?": recourse.contest,
            "Does a human look at it?": recourse.human,
            "Who answers for this?": "; ".join(person.name for person in declared.signed_by) or None,
        }
        return {question: answer or NOT_STATED for question, answer in answers.items()}

    def beside(self, others: Sequence[Claims]) -> tuple[Finding, ...]:
        """Check the declarations against other statements about the same model."""
        # A refused social statement has no figures, so it cannot contradict a declaration.
        measured = [statement for statement in others if statement.assessment == SOCIAL and not statement.refused]
        found = (*_bias(self.declared, measured), *_people(self.declared, measured), *_data(self, others))
        return (*self.refuted_by(others), *found)


PUBLIC = {
    "none": "On nobody: its inputs show no people, and its answers judge none.",
    "depicted": "Its inputs show people, but its answers do not judge them.",
    "judged": "People are judged by its answers.",
}
NOT_STATED = "Not stated."


def _both(first: str | None, second: str | None) -> str | None:
    return " ".join(f"{text.rstrip('.')}." for text in (first, second) if text) or None


def _bias(declared: Declaration, measured: Sequence[Claims]) -> Iterator[Finding]:
    clause = declared.safe_face.get(BIAS_CLAUSE)
    name = "bias_evaluated"
    if clause is None or clause.answer != "yes":
        return
    if measured:
        yield Finding(
            name, "pass", f"Clause {BIAS_CLAUSE}, bias is evaluated: groups were measured ({_outcomes(measured)})."
        )
    else:
        yield Finding(
            name, "fail", f"Clause {BIAS_CLAUSE} says that bias is evaluated, but no figures by group are stated."
        )


def _people(declared: Declaration, measured: Sequence[Claims]) -> Iterator[Finding]:
    name = "groups_measured"
    if declared.people == "none" and measured:
        yield Finding(name, "fail", "The maker declares people: none, but groups of people were measured.")
    elif declared.people_taken_as == "judged":
        if measured:
            yield Finding(name, "pass", f"People are judged; groups were measured ({_outcomes(measured)}).")
        else:
            yield Finding(name, "unknown", "People are judged, but no figures by group are stated.")


def _data(claims: DeclarationClaims, others: Sequence[Claims]) -> Iterator[Finding]:
    wrong = sorted(
        # Statements without test data cannot disagree about them.
        {statement.assessment for statement in others if statement.test_digest not in (None, claims.test_digest)}
    )
    if wrong:
        yield Finding("same_data", "fail", f"The declared test data differ from those of {', '.join(wrong)}.")


def _outcomes(measured: Sequence[Claims]) -> str:
    return "; ".join(statement.text for statement in measured)
