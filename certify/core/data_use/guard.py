"""The guard that loaders ask before they yield a record.

It rereads policy and consent register whenever their files change, so that a withdrawal takes effect with the next
record, and enters every new answer in the journal before the record is yielded.
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
    """Intended use of data.

    Attributes:
        purpose: a DPV term, or an IRI.
        recipient: who uses them; empty if not named.
        key: data key of the identifiers.
    """

    purpose: str
    recipient: str
    key: DataKey


class Guard:
    """Guard that checks policy and consent for each record of one data set.

    Args:
        folder: folder next to the data.
        use: intended use of the data.
        clock: function that returns the time.

    Raises:
        UsageError: the data key is not the policy's.
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
        # A lock cannot be pickled for a loader's processes, so each copy gets its own.
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    @property
    def policy(self) -> UsePolicy:
        """Current policy."""
        with self._lock:
            self._refresh()
            return self._policy

    def require(self, action: Action, part: str = "") -> None:
        """Check whether an action is permitted at all, and enter the answer in the journal.

        Raises:
            NotPermittedError: it is not; the message is the policy's reason.
        """
        with self._lock:
            self._refresh()
            self._require(action, part, self._clock())

    def ask(self, identifiers: Sequence[str], action: Action, part: str) -> None:
        """Check permission for records that are about to be yielded.

        Raises:
            NotPermittedError: the action is not permitted, or one of the records may not be used.
        """
        with self._lock:
            self._refresh()
            time = self._clock()
            self._require(action, part, time)
            if not all(self._usable(identifier, action, time) for identifier in identifiers):
                sentence = (
                    f"A record of the {part} part was withdrawn, or is not covered by consent or by the policy "
                    f"{self._policy.name}; reload the data, which excludes it."
                )
                self._enter(action, part, Decision(False, sentence), time)
                raise NotPermittedError(sentence)
            self._seen.setdefault((action, part), set()).update(identifiers)

    def usable(self, identifiers: Iterable[str], action: Action) -> list[bool]:
        """Return which records may be used, by list and consent; the policy is checked when they are read."""
        with self._lock:
            self._refresh()
            time = self._clock()
            return [self._usable(identifier, action, time) for identifier in identifiers]

    def state(self) -> tuple[object, ...]:
        """Return the state on which answers depend: they do not change while it stays the same."""
        return (*map(_stamp, (self.folder.policy_path, self.folder.consent_path)), self._clock())

    def seen(self) -> tuple[tuple[Action, ...], tuple[str, ...]]:
        """Return the actions by which a model saw records, and their sorted identifiers, except for the test part."""
        with self._lock:
            seen = {key: records for key, records in self._seen.items() if key[1] != "test"}
            actions = tuple(action for action in ACTIONS if any(key[0] == action for key in seen))
            return actions, tuple(sorted({record for records in seen.values() for record in records}))

    def _refresh(self) -> None:
        stamp = tuple(map(_stamp, (self.folder.policy_path, self.folder.consent_path)))
        if stamp == self._stamp and stamp:
            return
        self._policy, self._register = self.folder.untouched()
        if self._policy.data.key != self.use.key.id:
            raise UsageError(
                f"The policy {self._policy.name} was made with a different data key; give that key with --data-key."
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
        # Loaders ask before every batch, but the journal records each answer once.
        if state in self._entered:
            return
        # Entered only under the policy in force, so that a reader of the journal can tell a spliced one.
        self.folder.enter({
            "kind": "decision", "time": time, "action": action, "purpose": self.use.purpose,
            "recipient": self.use.recipient, "part": part, "policy": self._policy.digest,
            "consent": self._register.head, "permitted": decision.permitted, "reason": decision.sentence,
        }, under=self._policy.digest)  # fmt: skip
        self._entered.add(state)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        # A missing file has a state too, so that a removed policy is noticed like a changed one.
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


_open: list[Use] = []
_acting: list[Action] = []


@contextlib.contextmanager
def using(use: Use) -> Iterator[None]:
    """Set the use of all data that are loaded within this context."""
    _open.append(use)
    try:
        yield
    finally:
        _open.remove(use)


@contextlib.contextmanager
def acting(action: Action | None) -> Iterator[None]:
    """Set the action for reads of the training part within this context, such as ``distil``; None keeps it."""
    if action is None:
        yield
        return
    _acting.append(action)
    try:
        yield
    finally:
        _acting.pop()


def open_use() -> Use | None:
    """Return the current use of loaded data; None if not stated."""
    return _open[-1] if _open else None


def action_of(part: str) -> Action:
    """Return the current action for reads of a part."""
    if part == "train" and _acting:
        return _acting[-1]
    return ACTION_OF_PART.get(part, "train")
