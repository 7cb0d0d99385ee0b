"""Checks of what is stated, what is required, and whether names in the data contradict the declarations."""

from __future__ import annotations

from collections.abc import Sequence

from certify.assessments.declarations.declaration import Declaration
from certify.assessments.declarations.edition import DeclarationsEdition
from certify.assessments.declarations.questions import SECTIONS, Question, applicable, silent
from certify.assessments.declarations.records import Records
from certify.assessments.declarations.words import Hit, hits
from certify.core.finding import Finding

REQUIRED = "safe_face"
"""Check whose failure is a refusal."""
CONSISTENT = "_consistent"
"""Suffix of the checks that fail if the declarations are contradicted."""
MOST_SHOWN = 5


def judge_findings(records: Records, edition: DeclarationsEdition) -> tuple[Finding, ...]:
    """Run every check, in the order of the sections."""
    declared = records.declared
    found = hits(records, edition)
    open_, answered = _split(declared, found)
    return (
        _trigger("people", declared.people, declared.people_taken_as),
        _trigger("faces", declared.faces, declared.faces_taken_as),
        *(_section(declared, name) for name in list(SECTIONS)[2:] if name != REQUIRED and applicable(declared, name)),
        _clauses(declared),
        _names(records, found, answered),
        _consistent("people", declared.people == "none", "people: none", open_),
        _consistent("faces", declared.faces == "no", "faces: no", [hit for hit in open_ if hit.faces]),
    )


def _trigger(name: str, stated: str | None, taken_as: str) -> Finding:
    if stated in (None, "unknown"):
        return Finding(name, "unknown", f"Whether there are {name} is not stated, so it counts as '{taken_as}'.")
    return Finding(name, "pass", f"The maker declares {name}: {stated}.")


def _section(declared: Declaration, name: str) -> Finding:
    missing, every = silent(declared, name), applicable(declared, name)
    if missing:
        return Finding(name, "unknown", f"Not stated, {len(missing)} of {len(every)}: {_heads(missing)}.")
    return Finding(name, "pass", f"All {len(every)} questions are answered.")


def _clauses(declared: Declaration) -> Finding:
    if declared.faces_taken_as == "no":
        return Finding(REQUIRED, "pass", "The maker declares no faces, so the clauses are not asked.")
    missing = [question.path[1] for question in silent(declared, REQUIRED)]
    if missing:
        stated = declared.faces if declared.faces not in (None, "unknown") else "not stated"
        return Finding(
            REQUIRED,
            "fail",
            f"Faces: {stated}, and clauses {', '.join(missing)} of the Safe Face Pledge are not answered; answer each "
            "with yes, no or not applicable, or declare faces: no.",
        )
    answers = [clause.answer for clause in declared.safe_face.values()]
    counted = ", ".join(f"{answers.count(choice)} {choice}" for choice in ("yes", "no", "not applicable"))  # type: ignore[arg-type]
    # A "yes" without evidence is still an answer; the note names its clause.
    bare = [number for number, clause in declared.safe_face.items() if clause.answer == "yes" and not clause.evidence]
    note = f" No evidence is named for {', '.join(sorted(bare))}." if bare else ""
    return Finding(REQUIRED, "pass", f"All {len(answers)} clauses are answered: {counted}.{note}")


def _split(declared: Declaration, found: Sequence[Hit]) -> tuple[list[Hit], list[Hit]]:
    """Return the hits without an answer by the maker, and those with one."""
    keys = {key.lower() for key in declared.answers}
    # The template lets the maker answer by name or by word.
    answered = [hit for hit in found if {hit.name.lower(), hit.word} & keys]
    return [hit for hit in found if hit not in answered], answered


def _names(records: Records, found: Sequence[Hit], answered: Sequence[Hit]) -> Finding:
    name = "names"
    if not records.header.data.read and not found:
        return Finding(name, "unknown", "The data were not read, so names of classes and columns are not known.")
    if not found:
        return Finding(name, "pass", "No name in the data is a word about people or faces, which proves nothing.")
    note = f"; the maker answers {len(answered)} of {len(found)}" if answered else ""
    return Finding(name, "pass", f"Words about people or faces: {_hits(found)}{note}.")


def _consistent(what: str, declines: bool, declaration: str, open_: Sequence[Hit]) -> Finding:
    name = f"{what}{CONSISTENT}"
    if declines and open_:
        return Finding(
            name,
            "fail",
            f"The maker declares {declaration}, but the data have {_hits(open_)}; correct the declaration, or "
            "explain the name under 'answers'.",
        )
    return Finding(name, "pass", f"No name in the data contradicts what is declared about {what}.")


def _hits(found: Sequence[Hit]) -> str:
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return ", ".join(hit.sentence for hit in found[:MOST_SHOWN]) + more


def _heads(questions: Sequence[Question]) -> str:
    heads = [question.head.lower() for question in questions]
    more = f" and {len(heads) - MOST_SHOWN} more" if len(heads) > MOST_SHOWN else ""
    return ", ".join(heads[:MOST_SHOWN]) + more
