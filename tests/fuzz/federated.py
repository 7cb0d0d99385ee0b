"""Logs, records and receipts of federated rounds from anywhere: nothing altered may be accepted."""

from __future__ import annotations

import sys
from pathlib import Path

from certify.assessment.assessment import profile_of
from certify.assessment.record_file import ModelDigests
from certify.assessments.federation.assessment import Federation
from certify.assessments.federation.edition import load_edition
from certify.assessments.federation.records import Header, Records, Step
from certify.core.federation import Receipt, parse_run, sign, unanswered
from certify.core.federation.consistency import CHECKS, problems
from certify.core.federation.receipts import parse_receipts

sys.path.insert(0, str(Path(__file__).parents[1] / "certify" / "core" / "federation"))

from honest_run import IDS, SERVER, build, opening

ROOM, EDITION = Federation(), load_edition()


class FederatedReaders:
    """Readers of what an honest run left; each raises an AssertionError where it accepts something altered."""

    def __init__(self) -> None:
        self.run = build(opening(mask_threshold=4), {(2, 0)})
        end = self.run.end
        assert end is not None
        step = Step("federated_finetune", "torch", self.run.opening.message.model, end.message.model)
        digests = ModelDigests("ab" * 32, "cd" * 32)
        header = Header("2026-11-26T09:00:00Z", "0.1.0", digests, "ef" * 32)
        self.log = self.run.content()
        self.records = ROOM.dump(Records(header, (self.run,), {}, (step,), None))
        pairs = []
        for signed in self.run.entries:
            one = signed.message
            if one.client == IDS[1]:
                receipt = sign(Receipt(one.run, one.number, one.nonce, one.client, signed.digest), SERVER)
                pairs += [signed.line, receipt.line]
        self.receipts = b"".join(line + b"\n" for line in pairs)

    def read_log(self, content: bytes) -> None:
        """A log as a server keeps it."""
        run = parse_run(content, "the log")
        if not any(problems(run, name) for name in CHECKS):
            assert content == self.log, "an altered log was accepted"

    def read_records(self, content: bytes) -> None:
        """Records from which a statement is derived."""
        records = ROOM.parse(content, "the records")
        profile = profile_of(ROOM, records, EDITION)
        if not ROOM.outcome(profile, EDITION).refused:
            assert records.runs == (self.run,), "records of an altered log were claimed"

    def read_receipts(self, content: bytes) -> None:
        """What a client says that it kept."""
        kept = parse_receipts(content, "the receipts")
        (found,) = unanswered([self.run], kept) if {one.receipt.message.run for one in kept} == {"ab" * 32} else (None,)
        if found is not None and found.outcome == "pass":
            good = self.receipts.split(b"\n")
            wrong = [one for one in kept if one.entry.line not in good or one.receipt.line not in good]
            assert not wrong, "an altered receipt was accepted"
