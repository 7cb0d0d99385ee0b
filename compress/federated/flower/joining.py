"""A client of a fleet: its keys, its data under their policy, and the SuperNode that carries its messages."""

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
from compress.federated.flower.credentials import node_key
from compress.federated.flower.processes import start_node
from compress.federated.flower.worker import Worker
from compress.federated.idle import Idle, IdlePolicy
from compress.federated.keeping import RECEIPTS, Keeping
from compress.federated.learner import Learner
from compress.federated.local_data import own_data
from compress.federated.spending import Spending

KEY = "client.key"
SOCKET = "sock"
NODE_LOG = "supernode.log"
NODE_PORT = 9094
Build = Callable[[Dataset, Preprocess], nn.Module | None]


@dataclass(frozen=True)
class Joining:
    """What a client brings.

    Attributes:
        folder: of the client: keys, receipts, what its updates left over.
        superlink: address, ``host:port``.
        authority: certificate that vouches for the SuperLink.
        start: folder that the server's operator gave.
        data: data specification; its train part is learnt from.
        use: what the data are used for; None where no policy governs them.
        idle: when the client computes; None always.
        build: makes the original model from the data and the contract, where the start folder does not name one of
            torchvision's: a folder from elsewhere must not choose what code runs.
        port: of the SuperNode's own programs, on this machine alone.
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
        """The client, once its data were read.

        Raises:
            UsageError: the data have no train part.
            NotPermittedError: their use policy does not permit it.
            ModelError: the start folder holds no model that can be built here.
        """
        dataset, local = own_data(self.data, self.use)
        learner = start_of(self.start, None if self.build is None else self.build(dataset, contract_of(self.start)))
        if dataset.test.kind != learner.preprocess.kind:
            raise UsageError(
                f"'{self.data}' holds samples of the kind {dataset.test.kind}, and the model takes "
                f"{learner.preprocess.kind}; give data like those of this federation."
            )
        return Client(
            key_of(self.folder), lambda: local, learner, Keeping(self.folder), Spending(),
            idle=None if self.idle is None else Idle(self.idle, self.folder),
            purpose=None if self.use is None else self.use.purpose,
        )  # fmt: skip

    def run(self, told: Callable[[str], None], going: Callable[[], bool] = lambda: True) -> None:
        """Answer until the SuperNode ends, or the caller says so.

        Raises:
            UsageError: the SuperNode ended by itself; its log says why.
        """
        client = self.client()
        told(f"Client {client.id[:16]}; receipts go to {self.folder / RECEIPTS}")
        socket = (self.folder / SOCKET / "s").resolve()
        worker = Worker(client, socket, told)
        log = self.folder / NODE_LOG
        node = start_node(self.folder, self.superlink, self.authority, socket, self.port, log)
        try:
            worker.run(lambda: going() and node.poll() is None)
        finally:
            stop(node)
            worker.close()
        if node.returncode not in (0, -15):
            raise UsageError(f"The SuperNode ended with {node.returncode}; {log} says why: {_last(log)}")


def start_of(folder: Path, original: nn.Module | None) -> Learner:
    """The model's architecture and contract, from the folder that a server wrote.

    Raises:
        ModelError: it is missing or damaged, or names a model that has to be given.
    """
    return Learner(checkpoint.load(folder / checkpoint.CHECKPOINT, into=original), contract_of(folder))


def contract_of(folder: Path) -> Preprocess:
    """How samples become inputs, from the folder that a server wrote.

    Raises:
        ModelError: it does not say so.
    """
    stated = checkpoint.read_record(folder / checkpoint.CHECKPOINT)["extra"].get("preprocess")
    if not isinstance(stated, dict):
        raise ModelError(f"{folder} does not say how samples become inputs; take the folder 'start' of the server.")
    return Preprocess.from_json(stated, str(folder))


def key_of(folder: Path) -> SigningKey:
    """The key that signs a client's entries, made on first use."""
    path = folder / KEY
    return load_private(path) if path.is_file() else store_key(new_key(), path)


def prepare(folder: Path) -> Path:
    """Make a client's folder with its keys, and give the public node key, which the server's operator admits."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
