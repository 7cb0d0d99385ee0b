"""Statement next to the certified model about the effect of compression on groups of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from certify.assessments.social.assessment import Social
from certify.attest.issue import Stated, issue
from certify.attest.statements import statement_path

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate
    from certify.attest.keys import SigningKey
    from certify.core.evidence import Evidence
    from certify.workflows.group_records import Grouping

GROUPS_PLACE = statement_path(Path(), Social.name).as_posix()
"""Path of the statement in the model's folder."""


def state_groups(
    grouping: Grouping,
    evidence: Evidence,
    model: Path,
    lineage: Path | None,
    model_name: str,
    signer: SigningKey,
) -> Certificate:
    """Sign the result of both models' answers for each group, and write the statement next to the model.

    Args:
        grouping: recorder of both models' answers during the measurement.
        evidence: evidence of that measurement.
        model: the certified file.
        lineage: ``lineage.json`` of the model, if its maker wrote one.
        model_name: display name.
        signer: signing key.
    """
    header = evidence.header
    records = grouping.records(header.models, header.created, header.leanmark)
    return issue(Social(), model, records, grouping.edition.name, signer, model.parent, Stated(model_name, lineage))
