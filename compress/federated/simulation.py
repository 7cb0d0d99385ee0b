"""Files of a simulated run: keys of all parties, the log, checkpoints, and resuming after a kill.

One machine runs the server and all clients, so the signatures of such a run show only that its log was not altered
afterwards, and not who computed; the log states this by its transport, ``memory``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certify.core.data_use.times import now
from certify.core.errors import CertificateError, DataError
from certify.core.federation import RoundLog, Run, parse_run
from certify.core.files import write_bytes, write_secret
from certify.core.signing_keys import SigningKey
from compress.federated.checkpoints import has_state
from compress.federated.client import Client
from compress.federated.client_folder import ClientFolder
from compress.federated.costs import Spending
from compress.federated.learner import Learner
from compress.federated.local_data import LocalData
from compress.federated.public_samples import PublicSamples

SECRET = "secret"
SECRET_BYTES = 32
MODEL = "model"
NOT_STATED = "not stated"


def log_name(place: int) -> str:
    """Return the name, in a job's workspace, of the log of the pass at a position in the recipe."""
    return f"{place}-federation.jsonl"


@dataclass(frozen=True)
class Keys:
    """Signing keys of all parties of a simulation, derived from one random secret.

    Attributes:
        secret: 32 bytes, stored in the run's folder until it ends, so that a killed run can resume.
    """

    secret: bytes

    @classmethod
    def of(cls, folder: Path) -> Keys:
        """Return the keys of a folder, created on first use."""
        path = folder / SECRET
        if path.is_file() and path.stat().st_size != SECRET_BYTES:
            path.unlink()  # truncated by a kill, before anything was signed
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_secret(path, os.urandom(SECRET_BYTES))
        return cls(path.read_bytes())

    def key(self, name: str) -> SigningKey:
        """Return the key of a party."""
        raw = HKDF(SHA256(), 32, None, b"leanmark simulated party\0" + name.encode()).derive(self.secret)
        return SigningKey(Ed25519PrivateKey.from_private_bytes(raw))


@dataclass(frozen=True)
class Simulation:
    """Files of a run.

    Attributes:
        folder: folder of temporary files, which is removed at the end of the run.
        log: path of the log, which is kept.
    """

    folder: Path
    log: Path

    def opened(self, opening: Run) -> RoundLog:
        """Open the log: that of a killed run with the same settings, or else a new one.

        Args:
            opening: settings (:mod:`.opening`), in which nonce, server and time are filled in.
        """
        server = self.server_key()
        fixed = replace(opening, server=server.public.hex)
        if self.log.is_file():
            # A run whose log cannot be read cannot resume.
            with contextlib.suppress(CertificateError):
                found = RoundLog.resume(self.log, server)
                known = found.run
                if replace(fixed, run=known.run, started=known.started) == known and self._goes_on(found):
                    return found
                found.stop()
            self._start_over()
            fixed = replace(opening, server=self.server_key().public.hex)
        run = replace(fixed, run=os.urandom(32).hex(), started=now())
        return RoundLog.create(self.log, run, self.server_key())

    def server_key(self) -> SigningKey:
        """Return the key that signs the log."""
        return Keys.of(self.folder).key("server")

    @property
    def ended(self) -> bool:
        """Whether the log has an end."""
        return parse_run(self.log.read_bytes(), str(self.log)).end is not None

    def clients(
        self,
        data: Callable[[int], LocalData],
        names: Sequence[str],
        learner: Learner,
        public: PublicSamples | None = None,
    ) -> Callable[[str], Client]:
        """Return a function that creates a client by its name.

        Args:
            data: function that returns the data of a client by its number.
            names: names of all clients, in the order of their numbers.
            learner: local training, shared by all clients.
            public: public samples of distillation; None if there are none.
        """
        keys, spending = Keys.of(self.folder), Spending()
        numbers = {name: number for number, name in enumerate(names)}

        def make(name: str) -> Client:
            return Client(
                keys.key(name), lambda: data(numbers[name]), learner,
                ClientFolder(self.folder / "clients" / name, simulated=True), spending,
                public=None if public is None else lambda: public,
            )  # fmt: skip

        return make

    def store_model(self, model: bytes) -> None:
        """Store a model that is in no checkpoint until the run ends."""
        write_bytes(self.folder / MODEL, model)

    def stored_model(self) -> bytes:
        """Return the model stored by :meth:`store_model`.

        Raises:
            DataError: it is missing.
        """
        try:
            return (self.folder / MODEL).read_bytes()
        except OSError as error:
            raise DataError(
                f"The model of the closed round is missing in {self.folder}; start the run again."
            ) from error

    def summary(self) -> dict[str, Any]:
        """Return a summary of the log, as JSON values of a pass's record."""
        run = parse_run(self.log.read_bytes(), str(self.log))
        closed = [each.close.message for each in run.rounds]
        entries = [each.message for each in run.entries]
        return {
            "rounds": len(closed),
            "answers": len(entries),
            "dropped": sum(len(each.dropped) for each in closed),
            "bytes_up": sum(each.bytes_up for each in closed),
            "bytes_down": sum(each.bytes_down for each in closed),
            "client_cpu_s": sum(each.spent.cpu_s for each in entries),
        }

    def close(self) -> None:
        """Remove temporary files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _goes_on(self, log: RoundLog) -> bool:
        """Return whether the folder holds the model after the last closed round."""
        return not log.closed or has_state(self.folder, log.closed) or (self.folder / MODEL).is_file()

    def _start_over(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)
