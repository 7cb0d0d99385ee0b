"""The guard that loaders ask before they yield a record.

It reads policy and consent register again whenever their files have changed, so that a withdrawal counts from the next
record on, and enters every answer that is new in the journal before the record is yielded.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.core.data_use.decision import Decision, Request, decide
from certify.core.data_use.folder import UseFolder
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import now
from certify.core.data_use.vocabulary import ACTION_OF_PART, ACTIONS, Action
from certify.core.errors import NotPermittedError, UsageError
from certify.core.private_data import DataKey

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Use:
    """What data are about to be used for.

    Attributes:
        purpose: a term of DPV, or an IRI.
        recipient: who uses them; empty for somebody who is not named.
        key: of the identifiers.
    """

    purpose: str
    recipient: str
    key: DataKey


class Guard:
    """Asks policy and consent about each record of one data set.

    Args:
        folder: beside the data.
        use: what they are used for.
        clock: gives the time.

    Raises:
        UsageError: the data key is another one than the policy's.
        CertificateError: policy, list, register or journal is missing, altered or malformed.
    """

    def __init__(self, folder: UseFolder, use: Use, clock: Callable[[], str] = now) -> None:
        self.folder = folder
        self.use = use
        self._clock = clock
        self._lock = threading.RLock()
        self._stamp: Stamp = ()
        self._decided: dict[Action, Decision] = {}
        self._entered: set[tuple[object, ...]] = set()
        self._seen: dict[tuple[Action, str], set[str]] = {}
        self._refresh()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    @property
    def policy(self) -> UsePolicy:
        """The policy as it stands now."""
        with self._lock:
            self._refresh()
            return self._policy

    def require(self, action: Action, part: str = "") -> None:
        """Ask whether an action is permitted at all, and enter the answer in the journal.

        Raises:
            NotPermittedError: it is not; the sentence is the policy's.
        """
        with self._lock:
            self._refresh()
            self._require(action, part, self._clock())

    def ask(self, identifiers: Sequence[str], action: Action, part: str) -> None:
        """Ask about records that are about to be yielded.

        Raises:
            NotPermittedError: the action is not permitted, or one of the records may not be used.
        """
        with self._lock:
            self._refresh()
            time = self._clock()
            self._require(action, part, time)
            if not all(self._usable(one, action, time) for one in identifiers):
                sentence = (
                    f"A record of the {part} part was withdrawn, or is not covered by consent or by the policy "
                    f"{self._policy.name}; load the data again, which leaves it out."
                )
                self._enter(action, part, Decision(False, sentence), time)
                raise NotPermittedError(sentence)
            self._seen.setdefault((action, part), set()).update(identifiers)

    def usable(self, identifiers: Iterable[str], action: Action) -> list[bool]:
        """Which records may be used, as far as list and consent go; the policy is asked when they are read."""
        with self._lock:
            self._refresh()
            time = self._clock()
            return [self._usable(one, action, time) for one in identifiers]

    def state(self) -> tuple[object, ...]:
        """What answers depend on: as long as it is the same, so are they."""
        return (*map(_stamp, (self.folder.policy_path, self.folder.consent_path)), self._clock())

    def seen(self) -> tuple[tuple[Action, ...], tuple[str, ...]]:
        """Actions by which a model saw records, and their identifiers, sorted; the test part only judges it."""
        with self._lock:
            seen = {key: records for key, records in self._seen.items() if key[1] != "test"}
            actions = tuple(one for one in ACTIONS if any(key[0] == one for key in seen))
            return actions, tuple(sorted({record for records in seen.values() for record in records}))

    def _refresh(self) -> None:
        stamp = tuple(map(_stamp, (self.folder.policy_path, self.folder.consent_path)))
        if stamp == self._stamp and stamp:
            return
        self._policy, self._register = self.folder.untouched()
        if self._policy.data.key != self.use.key.id:
            raise UsageError(
                f"The policy {self._policy.name} was made with another data key than the one given; name it with "
                "--data-key."
            )
        self._records = frozenset(self.folder.records(self._policy))
        self._decided, self._stamp = {}, stamp

    def _require(self, action: Action, part: str, time: str) -> None:
        decision = self._decided.get(action)
        if decision is None or (decision.until is not None and time >= decision.until):
            decision = decide(self._policy, Request(action, self.use.purpose, self.use.recipient, time))
            self._decided[action] = decision
        self._enter(action, part, decision, time)
        if not decision.permitted:
            raise NotPermittedError(decision.sentence)

    def _usable(self, identifier: str, action: Action, time: str) -> bool:
        required = self._policy.consent == "required"
        return identifier in self._records and self._register.allows(
            identifier, action, self.use.purpose, time, required
        )

    def _enter(self, action: Action, part: str, decision: Decision, time: str) -> None:
        state = (action, part, self._policy.digest, self._register.head, decision)
        if state in self._entered:
            return
        self.folder.enter({
            "kind": "decision", "time": time, "action": action, "purpose": self.use.purpose,
            "recipient": self.use.recipient, "part": part, "policy": self._policy.digest,
            "consent": self._register.head, "permitted": decision.permitted, "reason": decision.sentence,
        })  # fmt: skip
        self._entered.add(state)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


_open: list[Use] = []
_acting: list[Action] = []


@contextlib.contextmanager
def using(use: Use) -> Iterator[None]:
    """Say what all data are for that are loaded meanwhile."""
    _open.append(use)
    try:
        yield
    finally:
        _open.remove(use)


@contextlib.contextmanager
def acting(action: Action | None) -> Iterator[None]:
    """Say what the training part is read for meanwhile, such as ``distil``; None leaves it as it is."""
    if action is None:
        yield
        return
    _acting.append(action)
    try:
        yield
    finally:
        _acting.pop()


def open_use() -> Use | None:
    """What data that are loaded now are for; None where nobody has said."""
    return _open[-1] if _open else None


def action_of(part: str) -> Action:
    """What reading a part is for now."""
    if part == "train" and _acting:
        return _acting[-1]
    return ACTION_OF_PART.get(part, "train")
