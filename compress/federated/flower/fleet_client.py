"""Client of a fleet: its keys, its data under their use policy, and the SuperNode that transmits its messages."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from certify.attest.keys import load_private, new_key, store_key
from certify.core.data_use.guard import Use
from certify.core.errors import ModelError, UsageError
from certify.core.signing_keys import SigningKey
from certify.data import Dataset, Preprocess
from compress.exchange import checkpoint
from compress.federated.client import Client
from compress.federated.client_folder import RECEIPTS, ClientFolder
from compress.federated.costs import Spending
from compress.federated.flower.credentials import node_key
from compress.federated.flower.processes import start_node
from compress.federated.flower.worker import Worker
from compress.federated.idle import Idle, IdlePolicy
from compress.federated.learner import Learner
from compress.federated.local_data import own_data

KEY = "client.key"
SOCKET = "sock"
NODE_LOG = "supernode.log"
NODE_PORT = 9094
Build = Callable[[Dataset, Preprocess], nn.Module | None]


@dataclass(frozen=True)
class Joining:
    """Settings of a client that joins a fleet.

    Attributes:
        folder: folder of the client, with its keys, receipts and residual.
        superlink: address of the SuperLink, ``host:port``.
        authority: certificate that authenticates the SuperLink.
        start: folder ``start`` from the server's operator.
        data: data specification with a train split.
        use: use of the data; None if no policy governs them.
        idle: idle policy; None to compute at any time.
        build: function that creates the original model from the data and the contract, if the start folder names none
            of torchvision's: a folder from someone else must not choose the code that runs.
        port: port of Flower's own programs, on this machine only.
    """

    folder: Path
    superlink: str
    authority: Path
    start: Path
    data: str
    use: Use | None = None
    idle: IdlePolicy | None = None
    build: Build | None = None
    port: int = NODE_PORT

    def client(self) -> Client:
        """Return the client, after loading its data.

        Raises:
            UsageError: the data have no train split, or are of another kind than the model's.
            NotPermittedError: their use policy does not permit the use.
            ModelError: the start folder has no model that can be built here.
        """
        dataset, local = own_data(self.data, self.use)
        learner = start_of(self.start, None if self.build is None else self.build(dataset, contract_of(self.start)))
        if dataset.test.kind != learner.preprocess.kind:
            raise UsageError(
                f"'{self.data}' has samples of kind {dataset.test.kind}, and the model needs "
                f"{learner.preprocess.kind}; use data of this federation's kind."
            )
        return Client(
            key_of(self.folder), lambda: local, learner, ClientFolder(self.folder), Spending(),
            idle=None if self.idle is None else Idle(self.idle, self.folder),
            purpose=None if self.use is None else self.use.purpose,
        )  # fmt: skip

    def run(self, notify: Callable[[str], None], going: Callable[[], bool] = lambda: True) -> None:
        """Answer messages until the SuperNode ends or ``going`` returns False.

        Raises:
            UsageError: the SuperNode ended by itself; its log has the reason.
        """
        client = self.client()
        notify(f"Client {client.id[:16]}; receipts go to {self.folder / RECEIPTS}")
        socket = (self.folder / SOCKET / "s").resolve()
        worker = Worker(client, socket, notify)
        log = self.folder / NODE_LOG
        node = start_node(self.folder, self.superlink, self.authority, socket, self.port, log)
        try:
            worker.run(lambda: going() and node.poll() is None)
        finally:
            stop(node)
            worker.close()
        # -15: ended by stop() with SIGTERM.
        if node.returncode not in (0, -15):
            raise UsageError(f"The SuperNode ended with {node.returncode}; see {log}: {_last(log)}")


def start_of(folder: Path, original: nn.Module | None) -> Learner:
    """Return the model's architecture and contract from the server's start folder.

    Raises:
        ModelError: the folder is missing or damaged, or its model must be given as ``original``.
    """
    return Learner(checkpoint.load(folder / checkpoint.CHECKPOINT, into=original), contract_of(folder))


def contract_of(folder: Path) -> Preprocess:
    """Return the preprocessing contract from the server's start folder.

    Raises:
        ModelError: the contract is missing.
    """
    stated = checkpoint.read_record(folder / checkpoint.CHECKPOINT)["extra"].get("preprocess")
    if not isinstance(stated, dict):
        raise ModelError(f"{folder} has no preprocessing contract; use the folder 'start' of the server.")
    return Preprocess.from_json(stated, str(folder))


def key_of(folder: Path) -> SigningKey:
    """Return the key that signs a client's entries, created on first use."""
    path = folder / KEY
    return load_private(path) if path.is_file() else store_key(new_key(), path)


def prepare(folder: Path) -> Path:
    """Create a client's folder and keys; return the path of the public node key, which the server's operator admits."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkdir's mode does not change a folder that exists.
    folder.chmod(0o700)
    key_of(folder)
    return node_key(folder)[1]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End one of Flower's processes."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it is empty")
