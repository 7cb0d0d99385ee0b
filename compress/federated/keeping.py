"""What a client keeps in its folder: the run that it is in, what its updates left over, and its receipts.

What an update leaves over counts only once the server has said that the update is in the sum: until then it lies beside
the older one, under the nonce of the attempt. So a round that is begun again, or an answer that was lost, finds the
client as it was.
"""

from __future__ import annotations

import functools
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
        simulated: whether one machine plays all parties: receipts show nothing then and are not kept, and a power cut
            ends server and clients alike, so that no file need be on the disk before the next step.
    """

    folder: Path
    simulated: bool = False

    def join(self, opening: bytes) -> Signed[Run]:
        """Join the run that a server opened; leftovers of another run are removed.

        Raises:
            CertificateError: the opening is malformed, or not signed by the server that it names.
        """
        run = _opening(opening)
        if not run.signed_by(PublicKey(bytes.fromhex(run.message.server))):
            raise CertificateError("The opening is not signed by the server that it names.")
        known = self.run()
        if known is None or known.line != opening:
            if self.folder.is_dir():
                for path in self.folder.glob("*.npy"):
                    path.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(RUN, opening)
        return run

    def run(self) -> Signed[Run] | None:
        """The run that the client is in; None before the first."""
        path = self.folder / RUN
        if not path.is_file() or path.stat().st_size > MAX_RUN_BYTES:
            return None
        try:
            return _opening(path.read_bytes())
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
                self._write(f"sent-{entry.message.nonce}.npy", content.getvalue())
        if not self.simulated:
            self._write(f"sent-{entry.message.nonce}.json", entry.line)

    def received(self, receipt: bytes, server: PublicKey) -> None:
        """Take the server's receipt: the update counts.

        Raises:
            CertificateError: it is not the server's, or for another answer.
            DataError: it is for an answer that this client does not know of.
        """
        found = verified(receipt, "The receipt", server, "receipt")
        nonce = found.message.nonce
        if not self.simulated:
            path = self.folder / f"sent-{nonce}.json"
            if not path.is_file():
                raise DataError("A receipt came for an answer that this client has not sent.")
            ReceiptFile(self.folder / RECEIPTS, server).keep(parse(path.read_bytes(), str(path), "entry"), receipt)
            path.unlink()
        left = self.folder / f"sent-{nonce}.npy"
        if left.is_file():
            left.replace(self.folder / RESIDUAL)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file so that at no moment it is partial, and, for a real client, so that it survives a power cut."""
        if not self.simulated:
            write_bytes(self.folder / name, content)
            return
        beside = self.folder / f".{name}"
        beside.write_bytes(content)
        beside.replace(self.folder / name)


@functools.lru_cache(maxsize=16)
def _opening(line: bytes) -> Signed[Run]:
    """Parsed once for all clients that one process plays."""
    return parse(line, "The opening", "run")
