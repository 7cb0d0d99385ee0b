"""In any order of events no loader yields a record outside its policy, or one that was withdrawn."""

from __future__ import annotations

import tempfile
from pathlib import Path

from governed_data import END, KEY, LATER, MARKETING, RESEARCH, START, Clock, governed, policy, receipt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from certify.core.data_use.chain import read_chain
from certify.core.data_use.decision import Request, decide
from certify.core.data_use.guard import Guard, Use
from certify.core.data_use.policy import Rule
from certify.core.data_use.vocabulary import ACTION_OF_PART, covers
from certify.core.errors import NotPermittedError
from certify.core.progress import Silent
from certify.data.policy_filter import admitted
from certify.data.specs import _load
from certify.data.split import Split

PARTS = st.sampled_from(["train", "calibration", "validation", "test"])
ACTIONS = ("train", "finetune", "calibrate", "evaluate")


class AnyOrder(RuleBasedStateMachine):
    """Loads, reads, consents, withdrawals, new policies and passing time; a model of its own says what may be read."""

    loaded = Bundle("loaded")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()

    @initialize(target=loaded, required=st.booleans())
    def bind(self, required: bool) -> tuple[Guard, dict[str, Split]]:
        consent = "required" if required else "unless-withdrawn"
        self.spec, self.use, self.parts = governed(Path(self.folder.name), consent=consent)
        self.every = [one for ones in self.parts.values() for one in ones]
        self.data = _load(self.spec, 0, None, Silent(), 1.0)
        self.required, self.listed, self.permitted = required, set(self.every), set(ACTIONS)
        self.gave: dict[str, str | None] = {}
        self.left: set[str] = set()
        if required:
            self.use.add([receipt(self.every)])
            self.gave = dict.fromkeys(self.every, START)
        return self.load(RESEARCH)

    def teardown(self) -> None:
        self.folder.cleanup()

    def load(self, purpose: str) -> tuple[Guard, dict[str, Split]]:
        guard = Guard(self.use, Use(purpose, "", KEY), self.clock)
        try:
            return guard, admitted(self.data, guard).parts
        except NotPermittedError:
            return guard, {}

    @rule(target=loaded, purpose=st.sampled_from([RESEARCH, RESEARCH, MARKETING]))
    def load_again(self, purpose: str) -> tuple[Guard, dict[str, Split]]:
        return self.load(purpose)

    @rule(first=st.integers(0, 39), time=st.sampled_from([LATER, "2026-09-01T00:00:00Z"]))
    def consent(self, first: int, time: str) -> None:
        about = self.every[first : first + 5]
        self.use.add([receipt(about, time=time)])
        self.gave |= dict.fromkeys(about, time)

    @rule(first=st.integers(0, 39))
    def withdraw(self, first: int) -> None:
        about = self.every[first : first + 5]
        self.use.add([receipt(about, "withdrawn", self.clock())])
        self.gave |= dict.fromkeys(about)
        self.left |= set(about)

    @rule(without=st.integers(0, 39), actions=st.sampled_from([set(ACTIONS), {"train", "evaluate"}, {"calibrate"}]))
    def replace_policy(self, without: int, actions: set[str]) -> None:
        listed = [one for one in self.every if one not in self.every[without : without + 5]]
        permissions = (Rule(tuple(sorted(actions)), ("dpv:ResearchAndDevelopment",), (), END),)  # type: ignore[arg-type]
        consent = "required" if self.required else "unless-withdrawn"
        self.use.bind(policy(listed, permissions=permissions, consent=consent), listed, self.clock())
        self.listed, self.permitted = set(listed), actions

    @rule(time=st.sampled_from(["2026-10-01T00:00:00Z", END]))
    def wait(self, time: str) -> None:
        self.clock.time = max(self.clock.time, time)

    @rule(one=loaded)
    def read(self, one: tuple[Guard, dict[str, Split]]) -> None:
        guard, parts = one
        for part, split in parts.items():
            for index, identifier in enumerate(split.keyed(KEY).digests()):
                may = self.may(identifier, part, guard.use.purpose)
                try:
                    split.image(index)
                except NotPermittedError:
                    assert not may
                    continue
                assert may

    @rule(one=loaded, part=PARTS)
    def read_labels(self, one: tuple[Guard, dict[str, Split]], part: str) -> None:
        guard, parts = one
        if part not in parts:
            return
        identifiers = parts[part].keyed(KEY).digests()
        try:
            assert len(parts[part].labels) == len(identifiers)
        except NotPermittedError:
            assert not all(self.may(each, part, guard.use.purpose) for each in identifiers)
            return
        assert all(self.may(each, part, guard.use.purpose) for each in identifiers)

    def may(self, identifier: str, part: str, purpose: str) -> bool:
        """What the guard must answer, written down another way."""
        if not covers("dpv:ResearchAndDevelopment", purpose) or self.clock() >= END:
            return False
        if ACTION_OF_PART[part] not in self.permitted or identifier not in self.listed:
            return False
        gave = self.gave.get(identifier, "never")
        # Whoever has left and come back is used only by the new consent, from its time.
        needed = self.required or identifier in self.left
        return gave is not None and (not needed or (gave != "never" and gave <= self.clock()))

    @invariant()
    def journal_follows(self) -> None:
        if hasattr(self, "use"):
            entries = read_chain(self.use.journal_path).entries
            assert all(one["kind"] in ("policy", "decision") for one in entries)


AnyOrder.TestCase.settings = settings(
    max_examples=30, stateful_step_count=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestAnyOrder = AnyOrder.TestCase


def test_decision_is_journaled_before_a_read_record_is_yielded(tmp_path: Path) -> None:
    spec, use, _ = governed(tmp_path)
    guard = Guard(use, Use(RESEARCH, "", KEY), Clock())
    admitted(_load(spec, 0, None, Silent(), 1.0), guard).test.image(0)
    entry = read_chain(use.journal_path).entries[-1]
    request = Request(entry["action"], entry["purpose"], entry["recipient"], entry["time"])
    found = decide(use.policy(), request)
    assert (entry["permitted"], entry["reason"]) == (found.permitted, found.sentence)
