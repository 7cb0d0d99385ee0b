"""Level that commands may draw: only that of a mark that the reader's trust store lets them believe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from certify.assessment.claims import Claims
from certify.core.errors import NotAwardedError
from certify.present.mark import Awarded
from certify.workflows.mark_trust import level_to_draw

NAMES = {"terms_url": "terms", "body": "deciding body"}


def awarded_level(file: Path, withdrawals: Sequence[Path]) -> tuple[Awarded, Claims]:
    """Return the content of a model's mark and the claims of its scorecard.

    Args:
        file: path of the model file.
        withdrawals: lists of marks that schemes withdrew.

    Raises:
        NotAwardedError: no level may be drawn; the violated rule is named.
    """
    believed, scorecard = level_to_draw(file, withdrawals=withdrawals)
    mark, holds = believed.mark, believed.validity
    if mark is None or believed.level is None or holds is None:
        raise NotAwardedError(f"No level is drawn. {believed.sentence}")
    scheme = mark.scheme.to_json()
    awarded = Awarded(
        level=believed.level,
        points=scorecard.claims.text,
        known_as=believed.scheme or "",
        scheme=tuple((NAMES.get(name, name), scheme[name]) for name in ("owner", *NAMES, "accreditation", "contact")),
        key=mark.key.key_id,
        done=mark.done,
        until=mark.until,
        lists=", ".join(map(str, holds.lists)),
        digest=mark.signed.digest,
    )
    return awarded, scorecard.claims
