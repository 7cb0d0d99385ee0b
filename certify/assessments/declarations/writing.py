"""Write ``declarations.yaml``: a template to fill in, or answers below their questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from certify.assessments.declarations.declaration import FORMAT, Declaration
from certify.assessments.declarations.questions import QUESTIONS, SECTIONS, Question

INDENT = "  "
HEADER = """\
# Your declarations about a model. They are signed, shown in your words and apart from measurements, and earn no
# points. Empty answers are shown as "not stated"; for people and faces, the strictest answer then counts.
# To sign them: leanmark declare graded/model.onnx --declarations declarations.yaml --data SPEC
"""
CLOSING = """
# If a name in the data suggests people or faces and you declared none, explain it here, by the name or the word.
answers:
{answers}
# People responsible for these declarations, as "- {{name: ..., role: ...}}". The signing key is stated separately.
signed_by:
{signed_by}"""
CLAUSE_HEAD = """\
# Required unless faces is "no". Each: {answer: yes | no | not applicable, text: why or how, evidence: where}.
# The pledge can no longer be signed; "no" is a valid answer and is shown as such.
"""


def write_declaration(declared: Declaration | None = None) -> str:
    """Return the file as YAML with every question as a comment; a template if nothing is declared.

    Example:
        >>> write_declaration().splitlines()[3]
        'declaration: leanmark/declarations/1'
    """
    declared = declared or Declaration(FORMAT)
    lines = [HEADER.rstrip("\n"), f"declaration: {FORMAT}"]
    for section, title in SECTIONS.items():
        questions = [question for question in QUESTIONS if question.section == section]
        lines += ["", f"# {title}"]
        if len(questions[0].path) > 1:
            lines += [*(CLAUSE_HEAD.splitlines() if section == "safe_face" else ()), f"{section}:"]
        lines += _section(questions, declared)
    answers = [f"{INDENT}{_scalar(key)}: {_scalar(text)}" for key, text in declared.answers.items()]
    people = [f"{INDENT}- {_flow({'name': person.name, 'role': person.role})}" for person in declared.signed_by]
    closing = CLOSING.format(answers="".join(f"{line}\n" for line in answers), signed_by="\n".join(people))
    return "\n".join(lines) + "\n" + closing.rstrip("\n") + "\n"


def _section(questions: list[Question], declared: Declaration) -> Iterator[str]:
    part = ""
    for question in questions:
        if len(question.path) == 3 and question.path[1] != part:
            part = question.path[1]
            yield f"{INDENT}{part}:"
        indent = INDENT * (len(question.path) - 1)
        allowed = f" ({' | '.join(question.choices)})" if question.choices and question.section != "safe_face" else ""
        yield f"{indent}# {question.asks}{allowed}"
        # Clause numbers are quoted, or YAML would read 1.1 as a number.
        key = f'"{question.path[-1]}"' if question.section == "safe_face" else question.path[-1]
        yield f"{indent}{key}: {_value(question, declared)}".rstrip()


def _value(question: Question, declared: Declaration) -> str:
    found = question.answer(declared)
    if found is None:
        return ""
    if question.section == "safe_face":
        clause = declared.safe_face[question.path[1]]  # type: ignore[index]
        return _flow(vars(clause))
    return f"[{', '.join(map(_scalar, found))}]" if isinstance(found, tuple) else _scalar(found)


def _flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(text)}" for key, text in values.items() if text is not None) + "}"


def _scalar(text: str) -> str:
    """Quote a text on one line, with escapes for characters that YAML cannot represent or would fold."""
    # No folding, because YAML reads a line break inside quotes as a space.
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.rstrip("\n")
