"""Sections of a model card that are filled from declarations, figures by group and lineage; else "Not stated."

Headings follow the Hub's annotated card (https://huggingface.co/docs/hub/model-card-annotated) if it has one,
so that ``leanmark declare --from-card`` finds them again. There are no placeholders: an open question is "Not stated."
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from certify.assessment.claims import Claims
from certify.assessments.declarations.claims import DeclarationClaims
from certify.assessments.declarations.declaration import FORMAT, Declaration
from certify.assessments.declarations.questions import SECTIONS, Question, applicable
from certify.core.text import clean
from certify.export.source import ExportSource
from certify.export.wording import figure

NOT_STATED = "Not stated."
NOTHING = Declaration(FORMAT)
# Pipes end table cells, tildes start struck text, and hash signs start headings.
MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")
OWN_WORDS = (
    "recourse",
    "groups",
    "stakeholders",
    "monitoring",
    "decision",
    "labelling",
    "datasheet",
    "audit",
    "safe_face",
)
"""Sections of the declarations without a heading on the Hub."""

Section = tuple[str, list[str]]


def safe(words: object) -> str:
    """Return a line of text that Markdown, and HTML within it, renders literally."""
    # HTML is escaped first, because its entities have no characters that Markdown escaping would change.
    return MARKDOWN.sub(r"\\\1", html.escape(clean(words), quote=False))


def declared_in(source: ExportSource) -> DeclarationClaims | None:
    """Return the declarations among the statements; None if there are none."""
    return next((claims for claims in source.every if isinstance(claims, DeclarationClaims)), None)


def sections(source: ExportSource) -> Iterator[Section]:
    """Yield title and lines of every section, in order."""
    claims = declared_in(source)
    declared = NOTHING if claims is None else claims.declared
    yield "Uses", list(_uses(declared))
    yield "Bias, Risks, and Limitations", list(_risks(declared, claims, source))
    if claims is not None:
        yield "What the maker says", list(_own_words(declared))
        yield "Data, as counted", list(_data_counts(claims))
    yield "How it was made", list(_passes(source))


def _uses(declared: Declaration) -> Iterator[str]:
    yield from ("### Direct Use", "", _or_silence(declared.context.intended_use), "", "### Out-of-Scope Use", "")
    yield from (f"- {safe(use)}" for use in declared.context.not_for or ())
    if not declared.context.not_for:
        yield NOT_STATED


def _risks(declared: Declaration, claims: DeclarationClaims | None, source: ExportSource) -> Iterator[str]:
    yield _or_silence(declared.context.what_could_go_wrong)
    yield from ("", "### Harm", "")
    # The Hub's card has separate headings for these three.
    elsewhere = ("intended_use", "not_for", "what_could_go_wrong")
    yield from _answers(
        [question for question in applicable(declared, "context") if question.path[-1] not in elsewhere], declared
    )
    yield from ("", "### Groups of people", "")
    yield from _groups(source)
    beside = (
        [] if claims is None else claims.beside([statement for statement in source.every if statement is not claims])
    )
    wrong = (
        []
        if claims is None
        else [finding.sentence for finding in (*claims.findings, *beside) if finding.outcome == "fail"]
    )
    if wrong:
        yield from ("", "### Contradicted", "", *(f"- **{safe(sentence)}**" for sentence in wrong))


def _groups(source: ExportSource) -> Iterator[str]:
    """Yield the measured effect of compression on groups; cells with their intervals are also in the index."""
    found = group_claims(source)
    if found is None:
        yield "Not measured."
        return
    yield f"- **{safe(found.text)}**"
    yield from (f"- {safe(sentence)}" for sentence in (*found.reasons, *found.notes))


def group_claims(source: ExportSource) -> Claims | None:
    """Return the statement with figures by group; None if there is none."""
    return next((claims for claims in source.every if claims.assessment == "social"), None)


def _own_words(declared: Declaration) -> Iterator[str]:
    yield "In the maker's words; nothing in this section was measured or earns points."
    for section in OWN_WORDS:
        if questions := applicable(declared, section):
            yield from ("", f"### {SECTIONS[section]}", "", *_answers(questions, declared))
    if declared.answers:
        yield from ("", "### Answers to questions that names raise", "")
        yield from (f"- **{safe(word)}**: {safe(answer)}" for word, answer in declared.answers.items())


def _answers(questions: tuple[Question, ...] | list[Question], declared: Declaration) -> Iterator[str]:
    for question in questions:
        words = question.words(declared)
        yield f"- **{safe(question.head)}**: {NOT_STATED if words is None else safe(words)}"


def _or_silence(words: str | None) -> str:
    return NOT_STATED if words is None else safe(words)


def _data_counts(claims: DeclarationClaims) -> Iterator[str]:
    if not claims.known:
        yield "The data were not read for the declarations."
    for part in claims.known:
        sizes = f"{part['smallest_class']} to {part['largest_class']} samples in each of {part['classes']} classes"
        yield f"- {safe(part['part'])}: {part['samples']} samples, {sizes}; digest `{safe(part['digest'])}`"
        for column, counts in part["groups"].items():
            cells = ", ".join(
                f"{value or 'not stated'} {'withheld' if n is None else n}" for value, n in counts.items()
            )
            yield f"  - {safe(column)}: {safe(cells)}"


def _passes(source: ExportSource) -> Iterator[str]:
    lineage = source.lineage
    if lineage is None:
        yield "Not stated: there is no signed lineage next to the model."
        return
    for row in lineage.get("rows", ()):
        # A lineage may lack accuracies, because passes without validation data do not measure one.
        scored = row["validation_accuracy"]
        accuracy = "" if scored is None else f", validation accuracy {figure(scored)}"
        yield (
            f"- {safe(row['pass'])} version {row['version']} ({safe(row['stage'])}): {row['parameters']} parameters, "
            f"{row['macs']} multiply-adds, {row['bytes']} bytes after it{accuracy}"
        )
    if not lineage.get("rows"):
        yield "Its lineage has no passes."
