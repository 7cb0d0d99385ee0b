"""Flower's processes: SuperLink, SuperNode and the run, started with TLS and node keys, without telemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import MissingExtra, UsageError
from certify.core.files import write_text
from compress.federated.flower.bridge import app_digest, write_app
from compress.federated.flower.credentials import Certificates, node_key

CONNECTION = "leanmark"
DATABASE = "superlink.db"
COMMAND_S = 120


@dataclass(frozen=True)
class Link:
    """A SuperLink on one address.

    Attributes:
        folder: folder for its database, the app and Flower's configuration.
        host: address on which it listens.
        port: port on which it listens.
        certificates: TLS certificates.
    """

    folder: Path
    host: str
    port: int
    certificates: Certificates

    @property
    def address(self) -> str:
        """Address for programs on its own machine."""
        return f"127.0.0.1:{self.port}"

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the SuperLink; registered nodes persist across restarts."""
        own = self.certificates.require()
        command = [
            sys.executable, "-m", "compress.federated.flower.link", "--host", self.host, "--port", str(self.port),
            "--ssl-certfile", str(own.server), "--ssl-keyfile", str(own.key), "--ssl-ca-certfile", str(own.authority),
            "--database", str(self.folder / DATABASE), "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]  # fmt: skip
        return started(command, self.folder, log)

    def configure(self) -> None:
        """Write the configuration with which Flower's command reaches the SuperLink."""
        write_text(
            self.folder / "config.toml",
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "{self.address}"\n'
            f'root-certificates = "{self.certificates.authority.resolve()}"\n',
        )

    def register(self, public_key: Path) -> str:
        """Register a machine's node key and return the id of its node.

        Raises:
            UsageError: Flower refuses; the error includes its output.
        """
        done = self._flwr("supernode", "register", str(public_key), CONNECTION, "--format", "json")
        try:
            answer = json.loads(done.stdout)
            return str(answer["node-id"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"Flower did not register {public_key}: {_last_line(done)}") from error

    def run_app(self, socket: Path) -> None:
        """Start the app, whose ServerApp connects to a socket.

        Raises:
            UsageError: Flower refuses; the error includes its output.
        """
        app = write_app(self.folder / "app")
        done = self._flwr("run", str(app), CONNECTION, "--run-config", f'socket="{socket}"')
        if done.returncode:
            raise UsageError(f"Flower did not start the run: {_last_line(done)}")

    def _flwr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.configure()
        command = [str(program("flwr")), *arguments]
        environment = surroundings(self.folder)
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=COMMAND_S)


def start_node(
    folder: Path, superlink: str, authority: Path, socket: Path, port: int, log: Path
) -> subprocess.Popen[bytes]:
    """Start the SuperNode of a client.

    Args:
        folder: folder of the client, with its node key.
        superlink: address of the SuperLink, ``host:port``.
        authority: certificate that authenticates it.
        socket: socket of the client.
        port: port of Flower's own programs, on this machine only.
        log: file for its output.
    """
    private, _ = node_key(folder)
    digest = app_digest(write_app(folder / "app"))
    command = [
        sys.executable, "-m", "compress.federated.flower.node", digest, "--superlink", superlink,
        "--root-certificates", str(authority), "--auth-supernode-private-key", str(private), "--host", "127.0.0.1",
        "--port", str(port), "--node-config", f'socket="{socket}"',
    ]  # fmt: skip
    return started(command, folder, log)


def started(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start one of Flower's processes, with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Append, because a restart must not erase why the last process ended.
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=surroundings(folder))


def surroundings(folder: Path) -> Mapping[str, str]:
    """Return the environment of Flower's processes: a separate home, no telemetry, programs of this installation."""
    return {
        **os.environ,
        "FLWR_HOME": str(folder.resolve()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def program(name: str) -> Path:
    """Return the path of one of Flower's programs in this environment.

    Raises:
        MissingExtra: it is not installed.
    """
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise MissingExtra("Federated training over a network", "flower")
    return path


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    # Flower draws boxes around its messages.
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip(" │╭╰─╮╯")]
    return " ".join(lines[-3:])[:500] if lines else f"it ended with {done.returncode} and no output"
