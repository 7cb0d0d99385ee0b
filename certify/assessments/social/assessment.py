"""The social assessment: effect of compression on groups of people, derived from tables that identify nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from certify.assessment.assessment import Assessment, Facts, Surroundings, Version
from certify.assessment.claims import Claims, Costs, common_claims
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.social import edition as editions
from certify.assessments.social import records as record_files
from certify.assessments.social.answers import check_answers
from certify.assessments.social.cells import judged_cells
from certify.assessments.social.edition import NEWEST, SocialEdition
from certify.assessments.social.figures import figures, over_attributes, words
from certify.assessments.social.findings import judge_findings
from certify.assessments.social.records import Records
from certify.core.estimate import Estimate
from certify.core.finding import Finding

PREDICATE_TYPE = "https://leanmark.org/secure/social/v1"
LIMITS = (
    "The statement shows what compression changed for the named groups, not whether the model is fair.",
    "Groups, labels and samples are the maker's choice; people missing from the data are missing here.",
    "If all answers of a kind came from one group, answers listed per sample in the evidence reveal the group.",
)
HEADLINES = ("cells_worse", "cells_within_margin", "largest_loss_points")
ALONE = ("_selection_ratio_candidate", "_equalised_odds_candidate", "_worst_accuracy_candidate")


class Social(Assessment):
    """Error rates by group before and after, with simultaneous intervals, from published tables.

    Example:
        >>> Social().load_edition("2026").least_cell
        5
    """

    name = "social"
    title = "Groups of people"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("social-1", "certify.assessments.social")}
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the fields of the header that the statement repeats, and a description of every figure."""
        header = records.header
        data = header.data
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "baseline": None if header.baseline is None else asdict(header.baseline),
            "data": {
                "name": data.name,
                "samples": data.samples,
                "test_digest": data.test_digest,
                "columns_digest": data.columns_digest,
                "classes": len(data.classes),
            },
            "groups": [{"name": attribute.name, "groups": list(attribute.groups)} for attribute in header.attributes],
            "words": words(records, editions.load_edition(NEWEST)),
        }

    def derive(self, records: Records, edition: SocialEdition) -> Mapping[str, Estimate]:
        """Derive every figure."""
        return figures(records, edition)

    def findings(self, records: Records, edition: SocialEdition) -> tuple[Finding, ...]:
        """Run every check, and report the result of single cells."""
        return (*judge_findings(records, edition), *_cell_findings(records, edition))

    def outcome(self, profile: Profile, edition: SocialEdition) -> ClaimOutcome:
        """Return a claim with the results; a refusal if the records fail a check.

        A group that is shown worse is a finding about the model, not a refusal: a gate decides what passes
        (``--require 'social.cells_worse<=0'``).
        """
        failed = [guard for guard in profile.guards if guard.outcome != "pass" and not guard.name.startswith(CELL)]
        # A cell that got worse is a result; only inconsistent records lead to a refusal.
        if failed:
            return ClaimOutcome("refused", tuple(f"{guard.name}: {guard.sentence}" for guard in failed), ())
        sentences = tuple(guard.sentence for guard in profile.guards if guard.name.startswith(CELL))
        return ClaimOutcome(_text(profile, edition), (), sentences)

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check the totals against the answers next to the model."""
        return check_answers(around)

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the names of data and groups."""
        groups = {f"group {name}": name for group in predicate["groups"] for name in (group["name"], *group["groups"])}
        return {**super().texts(predicate), "data's name": predicate["data"]["name"], **groups}

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the profile's figures, and the largest change of a gap and rise of flips over all attributes."""
        found = Profile.from_json(predicate["profile"]).estimates
        return {**found, **dict(over_attributes(found))}

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return the test data and the baseline."""
        return Facts(test_data=predicate["data"]["test_digest"], baseline=tuple((predicate["baseline"] or {}).values()))

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed."""
        estimates = predicate["profile"]["estimates"]
        names = predicate["words"]
        chosen = [name for name in HEADLINES if name in estimates]
        # A model measured alone has no change to headline.
        chosen = chosen or [name for ending in ALONE for name in estimates if name.endswith(ending)][:3]
        headlines = {name: names.get(name, name) for name in chosen or ["cells"]}
        return Claims(**common_claims(self, predicate, digest, headlines=headlines, limits=LIMITS), words=names)


CELL = "group_"
"""Prefix of findings about single cells, which report a result and never refuse."""


def _cell_findings(records: Records, edition: SocialEdition) -> tuple[Finding, ...]:
    """Return a finding for each cell that is shown worse, the largest loss first."""
    if not records.compares:
        return ()
    # The largest loss first, because lists may be cut.
    worse = sorted(
        (cell for cell in judged_cells(records, edition) if cell.verdict == "worse"), key=lambda c: -c.rise.value
    )
    return tuple(Finding(f"{CELL}worse_{i}", "pass", cell.sentence) for i, cell in enumerate(worse, start=1))


def _text(profile: Profile, edition: SocialEdition) -> str:
    counts = {
        name: round(float(estimate.value)) for name, estimate in profile.estimates.items() if name.startswith("cells")
    }
    if "cells_worse" not in counts:
        return f"{counts.get('cells', 0)} cells described"
    worse, cells, within = (counts[name] for name in ("cells_worse", "cells", "cells_within_margin"))
    summary = f"{within} of {cells} shown to lose at most {edition.margin_points:g} points"
    return f"{worse} of {cells} cells worse, {summary}" if worse else f"no cell shown worse, {summary}"
