"""Log of federated training: messages signed by clients and the server, and checks of them.

A run is a file of canonical JSON lines. The server signs the opening, the start of each attempt at a round, its close
and the end, each with the digest of its previous line; clients sign their enrolment and one entry per round, which the
close of the round names by digest. So nobody without the keys can alter, add, move or remove a line unnoticed, and a
client that kept the server's receipts can prove that it was omitted.

The maker writes a run with :class:`RoundLog` and does not judge it; :func:`parse_run` and :mod:`.checking` need no
keys.

Signatures do not show who holds a key, whether parties collude, or whether an entry's figures are true.
"""

from certify.core.federation.attempt import MessageRefused
from certify.core.federation.fields import ClientPrivacy, Drop, Mask, Payload, Refusal, Rule, Spent, Update, Use
from certify.core.federation.messages import Begin, End, Enrolment, Entry, Receipt, Round, Run
from certify.core.federation.receipts import ReceiptFile, read_receipts, unanswered
from certify.core.federation.round_log import RoundLog
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
