"""Validity of a score: a pure function of the score, the time, the runtime and named lists.

A figure remains as what was measured on its day; a level does not. Counter-evidence is only as complete as the lists
that were checked, so each list is named by digest and date.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from certify.core.data_use.times import TIME, parse_time
from certify.core.errors import CertificateError
from certify.scorecard.levels import Score
from certify.scorecard.records import Counted, Countersigned

Kind = Literal["age", "revoked", "superseded", "disagrees", "runtime", "withdrawn", "time"]


@dataclass(frozen=True)
class NamedList:
    """List that was checked.

    Attributes:
        what: what it lists, such as ``withdrawn marks``.
        digest: hex SHA-256 of its bytes.
        date: UTC time of its creation, as it states.
    """

    what: str
    digest: str
    date: str

    def __str__(self) -> str:
        return f"{self.what} ({self.digest[:16]}, {self.date})"


@dataclass(frozen=True)
class Lists:
    """Evidence against a score.

    Attributes:
        revoked: reason for each revocation, by id of the revoked key.
        disagreeing: key ids of verifiers that the reader trusts and that disagree.
        newest: name of the newest known edition of the scorecard.
        withdrawn: reasons for which schemes withdrew a mark.
        named: lists that were checked.
    """

    revoked: Mapping[str, str] = field(default_factory=dict)
    disagreeing: tuple[str, ...] = ()
    newest: str = ""
    withdrawn: tuple[str, ...] = ()
    named: tuple[NamedList, ...] = ()


@dataclass(frozen=True)
class Expired:
    """Reason why a score no longer holds, with advice.

    Attributes:
        kind: kind of reason.
        sentence: what happened.
        again: what to do about it.
    """

    kind: Kind
    sentence: str
    again: str


@dataclass(frozen=True)
class Validity:
    """Validity of a score.

    Attributes:
        until: UTC time at which its oldest measurement expires.
        reasons: reasons why it no longer holds; empty if it does.
        lists: lists that were checked.
    """

    until: str
    reasons: tuple[Expired, ...]
    lists: tuple[NamedList, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons


def validity(found: Score, now: datetime.datetime, runtime: str = "", lists: Lists | None = None) -> Validity:
    """Judge the validity of a score.

    Args:
        found: the score.
        now: the reader's time, in UTC.
        runtime: runtime of the model today, such as ``onnxruntime 1.33.0``; empty to skip the check.
        lists: evidence against the score. Default: none.

    Raises:
        CertificateError: a time in a statement is malformed.

    Example:
        >>> minor("onnxruntime 1.32.4"), minor("onnxruntime 1.33.0")
        (('onnxruntime', '1.32'), ('onnxruntime', '1.33'))
    """
    lists = lists or Lists()
    statements = found.records.of(Counted)
    # The score ages with its oldest statement; a recount does not renew a measurement.
    oldest = min((_time(statement.created) for statement in statements), default=now)
    until = oldest + datetime.timedelta(days=found.edition.valid_days)
    reasons = [
        *_too_old(statements, now, found.edition.valid_days),
        *_revoked(found, lists),
        *_superseded(found, lists),
        *_disagreed(found, lists),
        *_moved(statements, runtime),
        *(Expired("withdrawn", f"The scheme withdrew its mark: {why}.", "Ask the scheme.") for why in lists.withdrawn),
    ]
    return Validity(until.strftime(TIME), tuple(reasons), lists.named)


def minor(runtime: str) -> tuple[str, str]:
    """Return name and minor version of a runtime."""
    name, _, version = runtime.partition(" ")
    # The patch level is left out, because energy and answers should change only between minor versions.
    found = re.match(r"[0-9]+(\.[0-9]+)?", version)
    return name, version if found is None else found[0]


def _time(text: str) -> datetime.datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise CertificateError(f"{text[:40]!r} is not a time such as 2026-11-26T12:00:00Z.") from error


def _too_old(statements: Sequence[Counted], now: datetime.datetime, days: int) -> Iterator[Expired]:
    for statement in statements:
        age = now - _time(statement.created)
        if age > datetime.timedelta(days=days):
            message = f"The {statement.assessment} was recorded {age.days} days ago; the maximum is {days}."
            yield Expired("age", message, f"Record the {statement.assessment} again.")
        # Clocks of makers and readers differ, so only a whole day ahead counts as the future.
        elif age < -datetime.timedelta(days=1):
            message = f"The {statement.assessment} was recorded at {statement.created}, which is in the future."
            yield Expired("time", message, f"Record the {statement.assessment} again, with a correct clock.")


def _revoked(found: Score, lists: Lists) -> Iterator[Expired]:
    for key in dict.fromkeys(
        # Reported once per key, even if it signed several statements.
        [*(statement.key for statement in found.records.of(Counted)), *(w.key for w in found.records.words)]
    ):
        if key in lists.revoked:
            message = f"Key {key[:16]} was revoked ({lists.revoked[key]}), so nothing that it signed counts."
            yield Expired(
                "revoked", message, "Have everything that it signed measured and signed again with another key."
            )


def _superseded(found: Score, lists: Lists) -> Iterator[Expired]:
    if lists.newest and lists.newest != found.edition.name:
        message = f"Edition {found.edition.name} was superseded by {lists.newest}."
        yield Expired("superseded", message, f"Count again: leanmark score --edition {lists.newest} --sign.")


def _disagreed(found: Score, lists: Lists) -> Iterator[Expired]:
    recorded = [statement.key for statement in found.records.of(Countersigned) if not statement.agrees]
    for key in dict.fromkeys([*recorded, *lists.disagreeing]):
        message = f"The verifier with key {key[:16]}, which you trust, disagrees with the certificate."
        yield Expired("disagrees", message, "Measure again, and ask the verifier what they found.")


def _moved(statements: Sequence[Counted], runtime: str) -> Iterator[Expired]:
    for statement in statements:
        if (
            # The version of a different runtime does not matter.
            runtime
            and statement.runtime
            and minor(statement.runtime)[0] == minor(runtime)[0]
            and minor(statement.runtime) != minor(runtime)
        ):
            message = f"The {statement.assessment} was measured with {statement.runtime}, and {runtime} runs here."
            again = f"Measure the {statement.assessment} again: energy and int8 answers depend on the runtime."
            yield Expired("runtime", message, again)
