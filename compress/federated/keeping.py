"""What a client keeps in its folder: the run that it is in, what its updates left over, and its receipts.

What an update leaves over counts only once the server has said that the update is in the sum: until then it lies beside
the older one, under the nonce of the attempt. So a round that is begun again, or an answer that was lost, finds the
client as it was.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.core.errors import CertificateError, DataError
from certify.core.federation import Entry, ReceiptFile, Run, Signed, parse, verified
from certify.core.files import write_bytes
from certify.core.signing_keys import PublicKey
from compress.federated.weights import Vector

RUN = "run.json"
RESIDUAL = "residual.npy"
RECEIPTS = "receipts.jsonl"
MAX_RUN_BYTES = 64 * 1024


@dataclass(frozen=True)
class Keeping:
    """The folder of one client.

    Attributes:
        folder: made when something is written.
        receipts: whether receipts are kept; in a simulation one machine plays all parties, and they show nothing.
    """

    folder: Path
    receipts: bool = True

    def join(self, opening: bytes) -> Signed[Run]:
        """Join the run that a server opened; leftovers of another run are removed.

        Raises:
            CertificateError: the opening is malformed, or not signed by the server that it names.
        """
        run = parse(opening, "The opening", "run")
        verified(opening, "The opening", PublicKey(bytes.fromhex(run.message.server)), "run")
        known = self.run()
        if known is None or known.line != opening:
            if self.folder.is_dir():
                for path in self.folder.glob("*.npy"):
                    path.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self.folder / RUN, opening)
        return run

    def run(self) -> Signed[Run] | None:
        """The run that the client is in; None before the first."""
        path = self.folder / RUN
        if not path.is_file() or path.stat().st_size > MAX_RUN_BYTES:
            return None
        try:
            return parse(path.read_bytes(), str(path), "run")
        except CertificateError:
            return None

    def residual(self, count: int) -> Vector | None:
        """What accepted updates have left over, (count,); None where there is nothing."""
        path = self.folder / RESIDUAL
        if not path.is_file():
            return None
        try:
            found: Vector = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # cut short; the next update starts without it
        return found if found.shape == (count,) and found.dtype == np.float32 else None

    def sent(self, entry: Signed[Entry], residual: Vector | None) -> None:
        """Keep what an answer left over, until the server has it in a sum."""
        for path in (*self.folder.glob("sent-*.npy"), *self.folder.glob("sent-*.json")):
            path.unlink()
        if residual is not None:
            with io.BytesIO() as content:
                np.save(content, residual, allow_pickle=False)
                write_bytes(self.folder / f"sent-{entry.message.nonce}.npy", content.getvalue())
        if self.receipts:
            write_bytes(self.folder / f"sent-{entry.message.nonce}.json", entry.line)

    def received(self, receipt: bytes, server: PublicKey) -> None:
        """Take the server's receipt: the update counts.

        Raises:
            CertificateError: it is not the server's, or for another answer.
            DataError: it is for an answer that this client does not know of.
        """
        found = verified(receipt, "The receipt", server, "receipt")
        nonce = found.message.nonce
        if self.receipts:
            path = self.folder / f"sent-{nonce}.json"
            if not path.is_file():
                raise DataError("A receipt came for an answer that this client has not sent.")
            ReceiptFile(self.folder / RECEIPTS, server).keep(parse(path.read_bytes(), str(path), "entry"), receipt)
            path.unlink()
        left = self.folder / f"sent-{nonce}.npy"
        if left.is_file():
            left.replace(self.folder / RESIDUAL)
