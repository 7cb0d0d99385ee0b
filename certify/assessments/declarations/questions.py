"""Table of the questions, from which template, interview, figures, pages and cards are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from certify.assessments.declarations.declaration import CLAUSES, Declaration

Applies = Callable[[Declaration], bool]


@dataclass(frozen=True)
class Question:
    """Question to the maker.

    Attributes:
        path: keys of the answer in the declarations.
        head: short heading.
        asks: text of the question.
        choices: allowed answers; empty if any text is allowed.
        many: whether the answer is a list.
        applies: whether it is asked, given the other answers.
    """

    path: tuple[str, ...]
    head: str
    asks: str
    choices: tuple[str, ...] = ()
    many: bool = False
    applies: Applies = lambda _: True

    @property
    def section(self) -> str:
        """Name of the section."""
        return self.path[0]

    def answer(self, declared: Declaration) -> str | tuple[str, ...] | None:
        """Return the declared answer; None if it is not stated."""
        found: Any = declared
        for key in self.path:
            found = found.get(key) if isinstance(found, dict) else getattr(found, key)
            if found is None:
                return None
        return found.answer if self.section == "safe_face" else found  # type: ignore[no-any-return]

    def put(self, values: dict[str, Any], answer: str | list[str] | None) -> None:
        """Add an answer to the JSON values of a declaration; None leaves them as they are."""
        if answer is None:
            return
        for key in self.path[:-1]:
            values = values.setdefault(key, {})
        values[self.path[-1]] = {"answer": answer} if self.section == "safe_face" else answer

    def words(self, declared: Declaration) -> str | None:
        """Return the answer as a line of text, that of a clause with its text and evidence."""
        found = self.answer(declared)
        if found is None or isinstance(found, tuple):
            return None if found is None else "; ".join(found)
        if self.section == "safe_face":
            clause = declared.safe_face[self.path[1]]  # type: ignore[index]
            more = [clause.text, f"evidence: {clause.evidence}" if clause.evidence else None]
            return ". ".join([found, *(part.rstrip(".") for part in more if part)])
        return found


def _with_people(declared: Declaration) -> bool:
    return declared.people_taken_as != "none"


def _judged(declared: Declaration) -> bool:
    return declared.people_taken_as == "judged"


def _with_faces(declared: Declaration) -> bool:
    return declared.faces_taken_as != "no"


SECTIONS = {
    "people": "People",
    "faces": "Faces",
    "context": "Use and harm",
    "recourse": "Recourse of the people it is used on",
    "groups": "Groups of people",
    "stakeholders": "Who was heard",
    "monitoring": "Watched in use",
    "decision": "The decision to use it",
    "labelling": "Labelling work",
    "datasheet": "Datasheets",
    "audit": "Internal audit",
    "safe_face": "Clauses of the Safe Face Pledge (historical text, closed in 2021)",
}
"""Title of each section, in order."""

SHEET = {
    "motivation": "Who created the data, for what purpose, and who funded them?",
    "composition": "What is a sample, how many are there, what is missing, whom do they show?",
    "collection": "How were they collected, from whom, when, and with whose consent?",
    "preprocessing": "What was cleaned, removed or labelled, and how?",
    "uses": "What have they been used for, and what should they not be used for?",
    "distribution": "Who receives them, and under what terms?",
    "maintenance": "Who maintains and corrects them, and removes samples on request?",
}


def _sheet(part: str) -> Iterator[Question]:
    for name, asks in SHEET.items():
        yield Question(("datasheet", part, name), f"{part} data: {name}", asks)


QUESTIONS: tuple[Question, ...] = (
    Question(("people",), "People", "Are people shown in the samples, or judged by the answers?",
             ("none", "depicted", "judged")),
    Question(("faces",), "Faces", "Do faces only appear in the samples, or are they analysed?",
             ("no", "incidental", "analysed")),
    Question(("context", "intended_use"), "Intended use", "What is it for, and who uses it?"),
    Question(("context", "not_for"), "Not for", "What must it not be used for?", many=True),
    Question(("context", "what_could_go_wrong"), "What could go wrong", "What happens when an answer is wrong?"),
    Question(("context", "who_is_harmed"), "Who is harmed", "Whom does a wrong answer harm, and how badly?"),
    Question(("context", "how_likely"), "How likely", "How often is that expected, and how do you know?"),
    Question(("context", "falls_on_marginalised"), "Does it fall on marginalised groups",
             "Are the people who would be harmed already worse off?"),
    Question(("context", "who_decides"), "Who decides", "Who acts on an answer: a person, or the system by itself?"),
    Question(("recourse", "told"), "Are people told", "Are people told that it is used on them, and when?",
             applies=_with_people),
    Question(("recourse", "contest"), "How to contest", "Where can somebody contest an answer, and until when?",
             applies=_with_people),
    Question(("recourse", "human"), "A person looks at it",
             "Does a person look at an answer: before it counts, when it is contested, or never?",
             applies=_with_people),
    Question(("groups", "columns"), "Groups compared", "Which columns of groups were compared?", many=True,
             applies=_judged),
    Question(("groups", "source"), "Where the groups come from", "Were they recorded, stated by people, or guessed?",
             applies=_judged),
    Question(("groups", "not_measured"), "Groups not compared", "Which groups matter and were not compared?",
             many=True, applies=_judged),
    Question(("groups", "why"), "Why not", "Why were they not compared?", applies=_judged),
    Question(("stakeholders", "heard"), "Who was heard", "Who was consulted before its use, and were they affected?"),
    Question(("stakeholders", "how"), "How they were heard", "How were they consulted, and when?"),
    Question(("stakeholders", "changed"), "What it changed", "What was changed because of what they said?"),
    Question(("monitoring", "live_test"), "Test in use", "How is it tested where it is used, and who may stop it?"),
    Question(("monitoring", "feedback"), "Feedback", "Where are wrong answers reported, and what is done then?"),
    Question(("decision", "deployed"), "Deployed", "Is it used?", ("yes", "no", "not yet")),
    Question(("decision", "why"), "Why", "Why was that decided, and by whom?"),
    Question(("decision", "alternatives"), "Alternatives", "What would achieve the same without machine learning?"),
    Question(("labelling", "who"), "Who labelled", "Who labelled the data?"),
    Question(("labelling", "employment"), "Employed or contracted", "Were they employed, contracted, or volunteers?"),
    Question(("labelling", "pay"), "Pay", "What were they paid per hour, compared with the local living wage?"),
    Question(("labelling", "benefits"), "Benefits", "Did they have sick pay, insurance, and a say in their work?"),
    Question(("labelling", "exposure"), "Exposure", "Did they see violence or abuse, and what help did they get?"),
    Question(("labelling", "growth"), "Growth", "Could they move on to other jobs there?"),
    Question(("labelling", "site_visited"), "Site visited", "Did you see where they work?"),
    *_sheet("calibration"),
    *_sheet("test"),
    Question(("audit", "by"), "Audited by", "Who in your organisation reviewed the model, apart from its makers?"),
    Question(("audit", "when"), "When", "When?"),
    Question(("audit", "found"), "Found", "What was found, and what was done about it?"),
    Question(("audit", "report"), "Report", "Where is the report?"),
    *(
        Question(("safe_face", number), f"{number} {title}", f"{title}?", ("yes", "no", "not applicable"),
                 applies=_with_faces)
        for number, title in CLAUSES.items()
    ),
)  # fmt: skip


def applicable(declared: Declaration, *sections: str) -> tuple[Question, ...]:
    """Return the questions that apply, of the named sections or of all."""
    return tuple(
        question
        for question in QUESTIONS
        if question.applies(declared) and (not sections or question.section in sections)
    )


def silent(declared: Declaration, *sections: str) -> tuple[Question, ...]:
    """Return the questions without an answer; ``unknown`` does not answer whether people or faces are involved."""
    return tuple(
        # "unknown" counts as no answer; otherwise it would be the easiest way to complete a section.
        question
        for question in applicable(declared, *sections)
        if question.answer(declared) in (None, "unknown")
    )
