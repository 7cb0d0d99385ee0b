"""Folder of a client: its run, its residual and its receipts.

A new residual replaces the previous one only after the server's receipt for the update; until then it is stored
separately, under the nonce of the attempt. If a round is repeated or an answer lost, the client's state is therefore
unchanged. The folder also names the attempt that was answered last, since no attempt is answered twice: two masked
updates under one mask would reveal their difference.
"""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.core.errors import CertificateError, DataError
from certify.core.federation import Begin, Entry, ReceiptFile, Run, Signed, parse, verified
from certify.core.files import write_bytes
from certify.core.signing_keys import PublicKey
from compress.federated.weights import Vector

RUN = "run.json"
RESIDUAL = "residual.npy"
RECEIPTS = "receipts.jsonl"
ANSWERED = "answered.json"
MAX_RUN_BYTES = 64 * 1024


@dataclass(frozen=True)
class ClientFolder:
    """Folder of one client.

    Attributes:
        folder: path of the folder, which is created on first use.
        simulated: whether one machine runs all parties: receipts then prove nothing and are not stored, and files need
            not be flushed to disk, since a power cut ends server and clients alike.
    """

    folder: Path
    simulated: bool = False

    def join(self, opening: bytes) -> Signed[Run]:
        """Join the run of an opening; residuals of another run are removed.

        Raises:
            CertificateError: the opening is malformed, or not signed by the server that it names.
        """
        run = _opening(opening)
        if not run.signed_by(PublicKey(bytes.fromhex(run.message.server))):
            raise CertificateError("The opening is not signed by the server that it names.")
        known = self.run()
        # A residual corrects updates of its own run only.
        if known is None or known.line != opening:
            if self.folder.is_dir():
                for path in (*self.folder.glob("*.npy"), *self.folder.glob(ANSWERED)):
                    path.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(RUN, opening)
        return run

    def run(self) -> Signed[Run] | None:
        """Return the run of the client; None before the first."""
        path = self.folder / RUN
        if not path.is_file() or path.stat().st_size > MAX_RUN_BYTES:
            return None
        try:
            return _opening(path.read_bytes())
        except CertificateError:
            return None

    def residual(self, count: int) -> Vector | None:
        """Return the residual of accepted updates, (count,); None if there is none."""
        path = self.folder / RESIDUAL
        if not path.is_file():
            return None
        try:
            found: Vector = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # truncated; the next update starts without a residual
        return found if found.shape == (count,) and found.dtype == np.float32 else None

    def require_new(self, begin: Begin) -> None:
        """Require that an attempt is not the one that was answered last, or an earlier one.

        Raises:
            DataError: the server's message came before.
        """
        try:
            last = json.loads((self.folder / ANSWERED).read_bytes())
            place = last["number"], last["attempt"]
            before = (begin.number, begin.attempt) < place or begin.nonce == last["nonce"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            return  # none was answered, or the file was truncated by a kill
        if before:
            raise DataError("This client has answered this attempt or a later one; no attempt is answered twice.")

    def sent(self, entry: Signed[Entry], residual: Vector | None, attempt: int) -> None:
        """Store the residual of an answer to an attempt, pending the server's receipt."""
        stated = {"number": entry.message.number, "attempt": attempt, "nonce": entry.message.nonce}
        self._write(ANSWERED, json.dumps(stated).encode())
        for path in (*self.folder.glob("sent-*.npy"), *self.folder.glob("sent-*.json")):
            path.unlink()
        if residual is not None:
            with io.BytesIO() as content:
                np.save(content, residual, allow_pickle=False)
                self._write(f"sent-{entry.message.nonce}.npy", content.getvalue())
        if not self.simulated:
            self._write(f"sent-{entry.message.nonce}.json", entry.line)

    def received(self, receipt: bytes, server: PublicKey) -> None:
        """Store the server's receipt and adopt the residual of the update.

        Raises:
            CertificateError: the receipt is not from the server, or is for another answer.
            DataError: it is for an answer that this client did not send.
        """
        found = verified(receipt, "The receipt", server, "receipt")
        nonce = found.message.nonce
        if not self.simulated:
            path = self.folder / f"sent-{nonce}.json"
            if not path.is_file():
                raise DataError("The receipt is for an answer that this client has not sent.")
            ReceiptFile(self.folder / RECEIPTS, server).keep(parse(path.read_bytes(), str(path), "entry"), receipt)
            path.unlink()
        left = self.folder / f"sent-{nonce}.npy"
        if left.is_file():
            left.replace(self.folder / RESIDUAL)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file atomically, and for a real client durably."""
        if not self.simulated:
            write_bytes(self.folder / name, content)
            return
        beside = self.folder / f".{name}"
        beside.write_bytes(content)
        beside.replace(self.folder / name)


@functools.lru_cache(maxsize=16)
def _opening(line: bytes) -> Signed[Run]:
    """Return the parsed opening, parsed once for all clients of the process."""
    return parse(line, "The opening", "run")
