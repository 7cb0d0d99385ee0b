"""Receipts of clients, by which they can prove that the server silently omitted them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import CertificateError
from certify.core.federation.messages import Entry, Receipt
from certify.core.federation.run import FederatedRun
from certify.core.federation.signing import Signed, parse, verified
from certify.core.finding import Finding
from certify.core.signing_keys import PublicKey

MAX_RECEIPTS_BYTES = 256 << 20


@dataclass(frozen=True)
class ReceiptPair:
    """An entry and the server's receipt for it."""

    entry: Signed[Entry]
    receipt: Signed[Receipt]


class ReceiptFile:
    """A client's own file with each entry that it sent, followed by the receipt.

    Args:
        path: path of the file, which is created on first use.
        server: public key of the run's server.
    """

    def __init__(self, path: Path, server: PublicKey) -> None:
        self._path, self._server = path, server

    def keep(self, entry: Signed[Entry], receipt: bytes) -> None:
        """Store a receipt.

        Raises:
            CertificateError: it is not from the server, or is for another entry.
        """
        found = verified(receipt, "The receipt", self._server, "receipt")
        _require_pair(entry, found, "The receipt")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as stream:
            stream.write(entry.line + b"\n" + receipt + b"\n")
            # Flushed to disk immediately, because a receipt is the client's only proof.
            stream.flush()
            os.fsync(stream.fileno())


def read_receipts(path: Path) -> list[ReceiptPair]:
    """Read a client's file.

    Raises:
        CertificateError: it cannot be read, a line is malformed, or a receipt is not for the preceding entry.
    """
    try:
        if path.stat().st_size > MAX_RECEIPTS_BYTES:
            raise CertificateError(f"{path} has more than {MAX_RECEIPTS_BYTES} bytes, the limit for files of receipts.")
        content = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"The receipts {path} cannot be read: {error.strerror}.") from error
    return parse_receipts(content, str(path))


def parse_receipts(content: bytes, name: str) -> list[ReceiptPair]:
    """Parse the bytes of a client's file; see :func:`read_receipts`."""
    lines = content.split(b"\n")
    # The last element is what follows the final newline, and must be empty.
    if lines.pop() or not lines or len(lines) % 2:
        raise CertificateError(f"{name} must hold pairs of lines: an entry and its receipt.")
    found = []
    for number in range(0, len(lines), 2):
        place = f"{name}, line {number + 2}"
        entry = parse(lines[number], f"{name}, line {number + 1}", "entry")
        receipt = parse(lines[number + 1], place, "receipt")
        _require_pair(entry, receipt, place)
        found.append(ReceiptPair(entry, receipt))
    return found


def _require_pair(entry: Signed[Entry], receipt: Signed[Receipt], place: str) -> None:
    sent, received = entry.message, receipt.message
    if (received.entry, received.client, received.run, received.number, received.nonce) != (
        entry.digest, sent.client, sent.run, sent.number, sent.nonce,
    ):  # fmt: skip
        raise CertificateError(f"{place}: the receipt is not for the entry that was sent.")


def unanswered(runs: Sequence[FederatedRun], receipts: Sequence[ReceiptPair]) -> Iterator[Finding]:
    """Compare a client's receipts with the log.

    Args:
        runs: runs of the log.
        receipts: receipts kept by a client.

    Returns:
        One finding per run with receipts, and one for receipts of other runs.
    """
    known = {run.opening.message.run: run for run in runs}
    for name, run in known.items():
        if mine := [receipt for receipt in receipts if receipt.receipt.message.run == name]:
            yield _compared(run, mine)
    strangers = {receipt.receipt.message.run for receipt in receipts} - set(known)
    if strangers:
        yield Finding("receipts", "fail", f"Some receipts are for run {min(strangers)[:16]}, which is not in the log.")


def _compared(run: FederatedRun, receipts: Sequence[ReceiptPair]) -> Finding:
    opening = run.opening.message
    server = PublicKey(bytes.fromhex(opening.server))
    abandoned = {attempt.message.nonce for attempt in run.attempts} - {each.begin.nonce for each in run.rounds}
    logged = {entry.digest for entry in run.entries}
    signed = [receipt for receipt in receipts if receipt.receipt.signed_by(server)]
    missing = [receipt for receipt in signed if receipt.entry.digest not in logged]
    silent = [receipt for receipt in missing if receipt.entry.message.nonce not in abandoned]
    if len(signed) < len(receipts):
        sentence = f"{len(receipts) - len(signed)} of {len(receipts)} receipts are not signed by the run's server."
        return Finding("receipts", "fail", sentence)
    if silent:
        first = silent[0].entry.message
        return Finding(
            "receipts", "fail",
            f"The server gave client {first.client[:16]} a receipt for round {first.number} and left its entry out of "
            f"the log: {len(silent)} of {len(receipts)} entries were dropped silently.",
        )  # fmt: skip
    text = f"All {len(receipts) - len(missing)} entries with a receipt are in the log."
    if missing:
        text += f" {len(missing)} more belong to attempts that the server began and did not close, as the log says."
    return Finding("receipts", "pass", text)
