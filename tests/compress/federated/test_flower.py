"""What carries rounds over Flower, as far as it can be tried without Flower: sockets, doors, keys, fleets, commands.

tests/fleet/fleet.py plays the rest with Flower's processes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from certify.attest.keys import new_key
from certify.cli.main import main
from certify.core.errors import DataError, MissingExtra, ModelError, UsageError
from certify.core.federation import Use
from certify.core.progress import Silent
from certify.data import default_preprocess
from compress.core.context import PassContext, PassData
from compress.core.targets import choose
from compress.federated import client_privacy
from compress.federated import fleet as fleets
from compress.federated.flower import link, node
from compress.federated.flower.app.leanmark_bridge import channel
from compress.federated.flower.bridge import write_app
from compress.federated.flower.credentials import Certificates, node_key, write_authority
from compress.federated.flower.fleet_client import contract_of, key_of, prepare, start_of
from compress.federated.flower.processes import Link, program, surroundings
from compress.federated.flower.transport import FlowerTransport, listening
from compress.federated.flower.worker import Worker
from compress.passes.federated_distill import FederatedDistill
from compress.passes.federated_finetune import FederatedFinetune
from compress.testing.networks import blobs, network
from tests.compress.federated.conftest import small_model

HERE = Path(__file__).parent


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))
    yield made
    shutil.rmtree(made)


class Played:
    """A ServerApp that answers by itself.

    Args:
        path: of the transport's socket.
        answers: by the node's name.
    """

    def __init__(self, path: Path, answers: dict[str, Callable[[bytes], bytes]]) -> None:
        self.path, self.answers, self.starts = path, answers, 0

    def start(self) -> None:
        self.starts += 1
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with channel.connect(str(self.path)) as stream:
            while (asked := channel.receive_json(stream))["do"] != "end":
                if asked["do"] == "clients":
                    channel.send_json(stream, {"clients": sorted(self.answers)})
                    continue
                contents = {name: channel.receive(stream) for name in asked["names"]}
                for name, content in reversed(contents.items()):
                    channel.send_json(stream, {"from": name})
                    channel.send(stream, self.answers[name](content))
                channel.send_json(stream, {"from": None})


def test_transport_hands_messages_on_and_answers_back_as_they_come(short: Path) -> None:
    played = Played(short / "s" / "s", {"7": lambda content: b"7:" + content, "8": lambda content: b"8:" + content})
    transport = FlowerTransport(played.path, played.start, wait_s=10)
    assert tuple(transport.wait_for(2, 5, lambda _: None)) == ("7", "8")
    assert list(transport.ask({"7": b"a", "8": b"b" * 3_000_000})) == [("8", b"8:" + b"b" * 3_000_000), ("7", b"7:a")]
    assert list(transport.ask({})) == [] and played.starts == 1
    transport.close()


def test_transport_says_so_when_the_server_app_or_clients_do_not_come(short: Path) -> None:
    transport = FlowerTransport(short / "s" / "s", lambda: None, wait_s=0.1)
    with pytest.raises(DataError, match="ServerApp did not start within"):
        transport.clients()
    transport.close()
    played = Played(short / "t" / "s", {"7": bytes})
    transport = FlowerTransport(played.path, played.start, wait_s=10)
    with pytest.raises(DataError, match="1 of 2 clients went online"):
        transport.wait_for(2, 0.0, lambda _: None)
    transport.close()


def test_socket_lies_in_a_folder_of_its_owner_and_nothing_listens_on_a_port(short: Path) -> None:
    listener = listening(short / "s" / "s")
    assert listener.family == socket.AF_UNIX and stat.S_IMODE((short / "s").stat().st_mode) == 0o700
    listener.close()
    with pytest.raises(UsageError, match="too long for the system"):
        listening(short / ("x" * 120) / "s")


class Grid:
    """Flower's grid, in which every node answers its message with the same bytes."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.most_pulled = 0

    def push_messages(self, messages: Any) -> list[str]:
        self.sent += [message.dst_node_id for message in messages]
        self.held = messages  # the last ones alone
        return [str(message.dst_node_id) for message in messages]

    def pull_messages(self, ids: list[str]) -> list[Any]:
        self.most_pulled = max(self.most_pulled, len(ids))
        content = {"leanmark": {"bytes": b"answer"}}
        metadata = [types.SimpleNamespace(reply_to_message_id=one) for one in ids]
        return [types.SimpleNamespace(metadata=one, content=content, has_error=lambda: False) for one in metadata]

    def get_node_ids(self) -> list[int]:
        return list(self.sent)


@pytest.fixture
def server_app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The ServerApp's module, with stand-ins for Flower's classes."""

    def made(content: Any, **other: Any) -> Any:
        return types.SimpleNamespace(content=content, **other)

    app = types.SimpleNamespace(main=lambda: lambda function: function)
    fakes = {
        "flwr": {},
        "flwr.app": {"ConfigRecord": dict, "Context": object, "Message": made, "RecordDict": dict},
        "flwr.serverapp": {"Grid": Grid, "ServerApp": lambda: app},
        "leanmark_bridge": {"channel": channel},
    }
    for name, values in fakes.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    path = Path(channel.__file__).with_name("server_app.py")
    spec = importlib.util.spec_from_file_location("leanmark_server_app", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_server_app_relays_messages_and_answers_without_collecting_them(server_app: Any) -> None:
    ours, theirs = socket.socketpair()
    grid, names = Grid(), [str(number) for number in range(40)]
    thread = threading.Thread(target=server_app._ask, args=(grid, theirs, names, 60.0), daemon=True)
    thread.start()
    with ours, theirs:
        for number, _ in enumerate(names, start=1):
            channel.send(ours, b"model")
            until = time.monotonic() + 10
            while len(grid.sent) < number and time.monotonic() < until:
                time.sleep(0.001)
            assert grid.sent == list(range(number)), "a message leaves before the next one is read"
        found = {}
        while (name := channel.receive_json(ours)["from"]) is not None:
            found[name] = channel.receive(ours)
        thread.join(10)
    assert found == dict.fromkeys(names, b"answer") and not thread.is_alive()
    assert grid.most_pulled == server_app.PULLED < len(names)


def test_channel_refuses_frames_that_are_cut_too_long_or_no_object() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\xff" * 8)
    with pytest.raises(ConnectionError, match="at most"):
        channel.receive(ours)
    channel.send(theirs, b"[1]")
    with pytest.raises(ConnectionError, match="not a JSON object"):
        channel.receive_json(ours)
    channel.send(theirs, b"{")
    with pytest.raises(ConnectionError, match="not JSON"):
        channel.receive_json(ours)
    theirs.sendall(b"\0\0\0\0\0\0\0\x05ab")
    theirs.close()
    with pytest.raises(ConnectionError, match="closed the connection"):
        channel.receive(ours)
    ours.close()


class Echo:
    def answer(self, message: bytes) -> bytes:
        if message == b"bad":
            raise DataError("It is not one of the server's.")
        return b"echo " + message


def test_worker_answers_and_goes_on_when_a_message_is_refused(short: Path) -> None:
    told: list[str] = []
    worker, going = Worker(Echo(), short / "s" / "s", told.append), [True]
    thread = threading.Thread(target=worker.run, args=(lambda: going[0],))
    thread.start()
    for message, wanted in ((b"a", b"echo a"), (b"bad", None), (b"b", b"echo b")):
        with channel.connect(str(short / "s" / "s")) as stream:
            channel.send(stream, message)
            if wanted is None:
                with pytest.raises(ConnectionError):
                    channel.receive(stream)
            else:
                assert channel.receive(stream) == wanted
    going[0] = False
    thread.join()
    worker.close()
    assert told == ["Refused a message: It is not one of the server's."]


def asked(path: str, host: str, kind: str = "http") -> list[Any]:
    """What LocalControl does with a request."""
    done: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        done.append("handed on")

    async def send(message: Any) -> None:
        done.append(message.get("status", message.get("code", "body")))

    asyncio.run(link.LocalControl(app)({"type": kind, "path": path, "client": (host, 1)}, None, send))
    return done


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/v1/runtime/x", "/docs", "/", "/v1/fleet",
                                  "/v1/fleet/../control/start-run", "/v1/fleet//control"])  # fmt: skip
def test_link_refuses_everything_but_the_fleet_to_other_machines(path: str) -> None:
    assert asked(path, "10.0.0.7") == [403, "body"]
    assert asked(path, "not an address") == [403, "body"]
    assert asked(path, "127.0.0.1") == ["handed on"] and asked(path, "::1") == ["handed on"]
    assert asked(path, "10.0.0.7", "websocket") == [1008]
    assert asked("/v1/fleet/pull-messages", "10.0.0.7") == ["handed on"] and asked(path, "", "lifespan")


def test_node_runs_leanmarks_app_and_no_other(tmp_path: Path) -> None:
    assert not node.is_app(b"another app", "00" * 32)
    app = write_app(tmp_path / "app")
    names = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
    assert names == {"pyproject.toml", *(f"leanmark_bridge/{name}.py" for name in
                                         ("__init__", "channel", "client_app", "server_app"))}  # fmt: skip


def test_certificates_vouch_for_the_server_alone_and_their_keys_are_secret(tmp_path: Path) -> None:
    authority = write_authority(tmp_path / "tls", ["fleet.example.org", "10.0.0.1"])
    root, server = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (authority.authority, authority.server)
    )
    server.verify_directly_issued_by(root)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "fleet.example.org"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.0.0.1"]
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert stat.S_IMODE(authority.key.stat().st_mode) == 0o600 and authority.require() == authority
    with pytest.raises(UsageError, match="exists; clients trust its certificate"):
        write_authority(tmp_path / "tls", [])
    with pytest.raises(UsageError, match=r"ca\.pem is missing"):
        Certificates(tmp_path / "none").require()


def test_node_key_is_made_once_and_refused_when_others_can_read_it(tmp_path: Path) -> None:
    private, public = node_key(tmp_path)
    assert public.read_bytes().startswith(b"ecdsa-sha2-nistp384 ") and node_key(tmp_path) == (private, public)
    private.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        node_key(tmp_path)


def test_folder_of_a_client_is_its_own_and_keeps_its_key(tmp_path: Path) -> None:
    assert prepare(tmp_path / "me").name == "node.key.pub"
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o700
    assert key_of(tmp_path / "me").public == key_of(tmp_path / "me").public


def test_flowers_processes_have_a_home_of_their_own_and_send_no_telemetry(tmp_path: Path) -> None:
    found = surroundings(tmp_path)
    assert (found["FLWR_HOME"], found["FLWR_TELEMETRY_ENABLED"]) == (str(tmp_path.resolve()), "0")
    made = Link(tmp_path, "127.0.0.1", 8443, Certificates(tmp_path / "tls"))
    made.configure()
    text = (tmp_path / "config.toml").read_text()
    assert "insecure" not in text and 'address = "127.0.0.1:8443"' in text and "ca.pem" in text


def test_process_ends_when_its_parent_has_gone(tmp_path: Path) -> None:
    child = (
        "from compress.federated.flower.parent import end_with_parent as e; import time; e(); print(1, flush=True); "
    )
    child += "time.sleep(60)"
    parent = (
        "import subprocess, sys, os, time; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", parent, child], capture_output=True, text=True, check=True)
    for _ in range(100):
        if not _alive(int(done.stdout)):
            return
        time.sleep(0.1)
    raise AssertionError("the process is still there")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@dataclass
class Online:
    """A transport in memory under another name, whose clients must come first."""

    inner: Any
    name: str = "flower"
    waited: list[int] = field(default_factory=list)

    def clients(self) -> Any:
        return self.inner.clients()

    def ask(self, messages: Any, deadline_s: float | None = None) -> Any:
        return self.inner.ask(messages, deadline_s)

    def wait_for(self, count: int, wait_s: float, told: Any) -> Any:
        self.waited.append(count)
        return self.clients()


def context_of(data: Any, workspace: Path) -> PassContext:
    return PassContext(
        PassData.without_test(data), default_preprocess(data), choose(None), teacher=small_model(), workspace=workspace,
        progress=Silent(),
    )  # fmt: skip


def test_fleet_gives_the_model_of_the_simulation_when_the_same_clients_answer(
    fleet: Callable[..., Any], tmp_path: Path
) -> None:
    simulated, real = fleet(), fleet()
    wanted = simulated.run()
    holder: list[Online] = []

    def keep(transport: Any) -> Any:
        holder.append(Online(transport))
        return holder[0]

    real.server(keep)
    real.log.stop()
    shutil.rmtree(real.folder)
    server, model = new_key(), small_model()
    place = real.place
    chosen = fleets.Fleet(holder[0], server, 5, Use("finetune", "dpv:AcademicResearch"), tmp_path)
    with fleets.connect(chosen):
        assert fleets.connected() is chosen
        done = fleets.run_on_fleet(model, chosen, real.plan, place, context_of(real.data, tmp_path))
    assert fleets.connected() is None and holder[0].waited == [5] and done["rounds"] == 2
    layout = fleets.Layout.of(model)
    assert layout.content(model) == wanted
    run = real.sound()
    assert run.opening.message.transport == "flower" and run.opening.message.server == server.public.hex
    assert run.end is not None and run.end.message.model == fleets.digest(wanted)
    learner = start_of(tmp_path / fleets.START, small_model())
    assert learner.layout == layout and contract_of(tmp_path / fleets.START) == default_preprocess(real.data)


def test_noise_is_refused_on_a_fleet_when_the_model_keeps_running_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_privacy, "FEWEST_CLIENTS", 5)
    chosen = fleets.Fleet(Online(None), new_key(), 5, Use("finetune", "dpv:AcademicResearch"), tmp_path)
    noisy = FederatedFinetune(clients=5, epsilon=8.0, clip=1.0)
    with fleets.connect(chosen), pytest.raises(UsageError, match="running statistics"):
        noisy.apply(network("residual"), context_of(blobs(), tmp_path))


def test_distillation_is_refused_when_a_fleet_is_connected(tmp_path: Path) -> None:
    chosen = fleets.Fleet(Online(None), new_key(), 5, Use("finetune", "dpv:AcademicResearch"), tmp_path)
    with fleets.connect(chosen), pytest.raises(UsageError, match="cannot run on a fleet; use federated_finetune"):
        FederatedDistill(clients=5).apply(small_model(), context_of(blobs(), tmp_path))


def test_start_folder_is_refused_when_it_does_not_say_how_samples_become_inputs(tmp_path: Path) -> None:
    from compress.exchange import checkpoint

    checkpoint.save(tmp_path / checkpoint.CHECKPOINT, small_model(), None, original=small_model())
    with pytest.raises(ModelError, match="use the folder 'start'"):
        contract_of(tmp_path)
    with pytest.raises(ModelError, match="a checkpoint consists of"):
        contract_of(tmp_path / "none")


def test_commands_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "key.pub").write_text("x")
    done = CliRunner().invoke(main, ["federate", "admit", str(tmp_path / "folder"), str(tmp_path / "key.pub")])
    assert done.exit_code == 2 and "is not the folder of a link" in " ".join(done.output.split())
    help_ = CliRunner().invoke(main, ["federate", "run", "--help"])
    assert help_.exit_code == 0 and "--clients" in help_.output


@pytest.mark.skipif(importlib.util.find_spec("flwr") is not None, reason="Flower is installed")
def test_commands_name_the_extra_when_flower_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="the extra 'flower'"):
        program("flower-superlink")
    (tmp_path / "start").mkdir()
    (tmp_path / "ca.pem").write_text("x")
    for arguments in (
        ["link", str(tmp_path / "fleet")],
        ["join", "host:1", "--ca", str(tmp_path / "ca.pem"), "--start", str(tmp_path / "start"), "--data", "x",
         "--folder", str(tmp_path / "me")],
    ):  # fmt: skip
        done = CliRunner().invoke(main, ["federate", *arguments])
        assert done.exit_code == 2 and "the extra 'flower'" in " ".join(done.output.split()), done.output
    done = subprocess.run(
        [sys.executable, str(HERE.parents[1] / "fleet" / "fleet.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("SKIPPED: Flower is not installed here.")
