"""Whether a reader can believe a mark next to a model, and why not."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.attest.checks_sidecars import now as clock
from certify.attest.statements import MARKS_FOLDER
from certify.attest.trust import TrustStore, trusted
from certify.attest.verification import VOUCHING
from certify.attest.verify import verify
from certify.core.errors import LeanmarkError, NotAwardedError
from certify.core.text import clean
from certify.scorecard.edition import edition_names
from certify.scorecard.levels import Score, lacking
from certify.scorecard.lines import agreeing
from certify.scorecard.mark import (
    WITHDRAWN,
    Mark,
    Withdrawals,
    ends,
    mark_files,
    read_mark,
    read_withdrawals,
)
from certify.scorecard.validity import Lists, Validity, validity
from certify.workflows.signed_score import signed_score

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate
    from certify.attest.keys import PublicKey
    from certify.attest.verification import Verification

RULES: Mapping[str, str] = {
    "awarded_by_a_scheme": "a level is only drawn from a mark file signed by a certification scheme",
    "scheme_known": "a scheme counts if the reader trusts its key (leanmark trust scheme)",
    "roles_apart": "the scheme's key belongs to neither the maker nor a verifier",
    "score_follows": "the score is valid and follows from statements that are derived again",
    "level_reached": "the score reaches the level, by the edition that the mark names",
    "in_force": "neither mark nor score has ended, been withdrawn or been contradicted",
}
"""Conditions for drawing a level, by the name that a refusal states."""


@dataclass(frozen=True)
class Believed:
    """Mark as judged by its reader.

    Attributes:
        mark: the mark; None if it cannot be read.
        rule: first violated rule; None if the reader believes the mark.
        sentence: reason.
        scheme: the reader's name for the scheme; None for an unknown scheme.
        validity: validity of the score; None if it was not reached.
    """

    mark: Mark | None
    rule: str | None
    sentence: str
    scheme: str | None = None
    validity: Validity | None = None

    @property
    def level(self) -> str | None:
        """Level that may be drawn; None if none may."""
        return self.mark.level if self.rule is None and self.mark is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; it only has a level if the reader believes the mark."""
        named = None if self.mark is None else self.mark.scheme.to_json()
        return {
            "level": self.level,
            "rule": self.rule,
            "sentence": self.sentence,
            "scheme": self.scheme,
            "named_by_the_file": named,
            "until": None if self.mark is None or self.level is None else self.mark.until,
            "lists": [] if self.validity is None else [str(path) for path in self.validity.lists],
        }


def marks_of(
    path: str | Path,
    *,
    trust: Iterable[str | Path | PublicKey] = (),
    withdrawals: Iterable[Path] = (),
    runtime: str = "",
    now: datetime.datetime | None = None,
) -> tuple[Believed, ...]:
    """Judge each mark next to a model; believed ones come first.

    Args:
        path: path of the model file.
        trust: keys to trust, in addition to the trust store; this makes none of them a scheme's key.
        withdrawals: lists of withdrawn marks, in addition to ``marks/withdrawn.json`` next to the model.
        runtime: runtime of the model today; empty to skip the check.
        now: the reader's time. Default: by this machine's clock.

    Raises:
        UsageError: a named file does not exist.
        CertificateError: there is no certificate, or a named list is malformed.

    Example:
        >>> [one.level for one in marks_of("graded/model.onnx", trust=["maker.pub"])]
        []
    """
    return _judged(Path(path), trust, withdrawals, runtime, now)[1]


def _judged(
    path: Path,
    trust: Iterable[str | Path | PublicKey],
    withdrawals: Iterable[Path],
    runtime: str,
    now: datetime.datetime | None,
) -> tuple[Verification, tuple[Believed, ...]]:
    keys, lists = tuple(trust), tuple(read_withdrawals(withdrawal) for withdrawal in withdrawals)
    verification = verify(path, trust=keys)
    return verification, believed_marks(path, verification, trusted(keys), lists, runtime, now or clock())


def believed_marks(
    path: Path,
    verification: Verification,
    store: TrustStore,
    withdrawals: Sequence[Withdrawals],
    runtime: str,
    now: datetime.datetime,
) -> tuple[Believed, ...]:
    """Judge the marks of a model that is already verified."""
    folders = [path.parent]
    files = mark_files(folders)
    if not files:
        return ()
    # A scheme's list next to the model counts like one that the reader passes; both are signed.
    beside = path.parent / MARKS_FOLDER / f"{WITHDRAWN}.json"
    if beside.is_file():
        withdrawals = (*withdrawals, read_withdrawals(beside))
    counted = signed_score(path, verification)
    found = []
    for file in files:
        if counted is None:
            found.append(
                Believed(None, "score_follows", f"{clean(file.name)}: there is no valid signed score next to it.")
            )
            continue
        certificate, points = counted
        try:
            mark = read_mark(file, certificate)
        except LeanmarkError as error:
            found.append(Believed(None, "awarded_by_a_scheme", clean(error)))
            continue
        lists = _lists(mark, store, withdrawals)
        found.append(_believe(mark, points, verification, store, lists, runtime, now))
    # Believed marks come first, otherwise in the same order.
    return tuple(sorted(found, key=lambda belief: belief.rule is not None))


def _lists(mark: Mark, store: TrustStore, withdrawals: Sequence[Withdrawals]) -> Lists:
    own = [withdrawal for withdrawal in withdrawals if withdrawal.key == mark.key]
    # The newest of the scheme's lists is named, but a reason in any of them counts.
    newest = sorted(own, key=lambda withdrawal: withdrawal.named.date)[-1:]
    reasons = (withdrawal.reason(mark) for withdrawal in own)
    return Lists(
        revoked={key.key_id: why for key, why in store.revoked.items()},
        newest=edition_names()[-1],
        withdrawn=tuple(reason for reason in reasons if reason is not None),
        named=tuple(withdrawal.named for withdrawal in newest),
    )


def _believe(
    mark: Mark,
    points: Score,
    verification: Verification,
    store: TrustStore,
    lists: Lists,
    runtime: str,
    now: datetime.datetime,
) -> Believed:
    name = store.scheme_of(mark.key)
    named = clean(mark.scheme.name)
    if name is None:
        short = mark.key.key_id[:16]
        sentence = (
            f"The scheme '{named}' is named by the maker's files, but you do not trust its key {short} as a scheme's."
        )
        return Believed(mark, "scheme_known", sentence)

    def no(rule: str, sentence: str, holds: Validity | None = None) -> Believed:
        return Believed(mark, rule, sentence, name, holds)

    if (apart := _not_apart(mark, points, verification, store)) is not None:
        return no("roles_apart", apart)
    # Drawings do not matter, because they can be redrawn at any time.
    failed = [check.name for check in verification.failed if check.name not in ("label", "label_picture", "mark")]
    if failed or not verification.derived:
        why = f"the checks {', '.join(failed)} failed" if failed else verification.not_derived
        return no("score_follows", f"The score is not valid: {why}.".replace("..", "."))
    lacks = [lack.sentence for lack in lacking(points, mark.level)]
    needed = points.edition.levels[mark.level].signer
    # A countersignature in the count must back the check that the mark states.
    if VOUCHING.index(mark.checked) < VOUCHING.index(needed) or (
        mark.verifier is not None
        and mark.verifier not in {statement.key for statement in agreeing(points.records, mark.checked)}
    ):
        lacks.append(f"The mark says that it was {mark.checked}; {needed} by a verifier of the count is required.")
    if lacks:
        return no("level_reached", f"The score is too low: {' '.join(lacks)}")
    holds = validity(points, now, runtime, lists)
    if ends(mark.until, now):
        return no("in_force", f"The award ended at {mark.until}.", holds)
    if not holds.holds:
        return no("in_force", " ".join(reason.sentence for reason in holds.reasons), holds)
    consulted = ", ".join(map(str, lists.named)) or "none was at hand"
    sentence = f"Awarded by {name} and in force until {mark.until}; lists of withdrawals: {consulted}."
    return Believed(mark, None, sentence, name, holds)


def _not_apart(mark: Mark, points: Score, verification: Verification, store: TrustStore) -> str | None:
    """Return why the scheme's key is not a third party's; None if it is."""
    signers = [certificate.signer for certificate in verification.certificates]
    if mark.key in store.of_one_holder(signers):
        return "The mark is signed by the maker's own key, or by one that it handed over to."
    keys = {word.key for word in points.records.words}
    keys |= {signature.key_id for signature in verification.signatures if signature.key_id is not None}
    if mark.key.key_id in keys:
        return "The mark is signed by the key of a verifier: an assessor must not certify."
    # A key that was handed over belongs to the same holder.
    related = {key.key_id for key in store.of_one_holder([mark.key])} & keys
    return "The mark's key and that of a verifier have the same holder." if related else None


def level_to_draw(
    path: str | Path,
    *,
    trust: Iterable[str | Path | PublicKey] = (),
    withdrawals: Iterable[Path] = (),
    runtime: str = "",
    now: datetime.datetime | None = None,
) -> tuple[Believed, Certificate]:
    """Return the mark that may be drawn, with its scorecard.

    Args:
        path: as in :func:`marks_of`, like all other arguments.
        trust: likewise.
        withdrawals: likewise.
        runtime: likewise.
        now: likewise.

    Raises:
        NotAwardedError: no level may be drawn; the violated rule is named.

    Example:
        >>> level_to_draw("graded/model.onnx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        certify.core.errors.NotAwardedError: No level is drawn. The model has no mark. The rule awarded_by_a_scheme: ...
    """
    path = Path(path)
    verification, found = _judged(path, trust, withdrawals, runtime, now)
    if not found:
        raise NotAwardedError(_refusal("awarded_by_a_scheme", "The model has no mark."))
    first = found[0]
    if first.rule is not None:
        raise NotAwardedError(_refusal(first.rule, first.sentence))
    counted = signed_score(path, verification)
    if counted is None:  # for the type checker: a believed mark has one
        raise NotAwardedError(_refusal("score_follows", "There is no signed score."))
    return first, counted[0]


def _refusal(rule: str, sentence: str) -> str:
    return f"No level is drawn. {sentence} The rule {rule}: {RULES[rule]}."
