"""The log of federated training: messages that clients and the server sign, and what follows from them.

A run is a file of canonical JSON lines. The server signs the opening, the start of each attempt at a round, its close
and the end, each with the digest of its line before; clients sign their enrolment and one entry a round, which the
close of the round names by digest. So nobody who lacks the keys can alter, add, move or remove a line unnoticed, and a
client that kept the server's receipts can show that it was left out.

The maker writes a run with :class:`RoundLog` and judges nothing; :func:`parse_run` and :mod:`.checking` need no keys.

What signatures do not show: who is behind a key, whether parties collude, and whether an entry's figures are true.
"""

from certify.core.federation.messages import (
    Begin,
    ClientPrivacy,
    Drop,
    End,
    Enrolment,
    Entry,
    Mask,
    Payload,
    Receipt,
    Refusal,
    Round,
    Rule,
    Run,
    Spent,
    Update,
    Use,
)
from certify.core.federation.receipts import ReceiptFile, read_receipts, unanswered
from certify.core.federation.round_log import MessageRefused, RoundLog
from certify.core.federation.run import FederatedRun, parse_run
from certify.core.federation.signing import Signed, parse, sign, verified

__all__ = [
    "Begin",
    "ClientPrivacy",
    "Drop",
    "End",
    "Enrolment",
    "Entry",
    "FederatedRun",
    "Mask",
    "MessageRefused",
    "Payload",
    "Receipt",
    "ReceiptFile",
    "Refusal",
    "Round",
    "RoundLog",
    "Rule",
    "Run",
    "Signed",
    "Spent",
    "Update",
    "Use",
    "parse",
    "parse_run",
    "read_receipts",
    "sign",
    "unanswered",
    "verified",
]
