"""``leanmark federate``: federated training on real clients, over Flower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, Group, read_data_key
from certify.core.errors import UsageError
from compress.cli import compress

FOLDER = click.Path(file_okay=False, path_type=Path)
THERE = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
LINK_FILE = "link.json"
TLS = "tls"
SERVER_LOG = "superlink.log"
NOT_HERE = {"recipe", "model", "dry_run", "max_loss"}
"""Arguments of ``leanmark compress`` that a run on a fleet does not have, or has in another form."""


EXAMPLE = """\
leanmark federate link fleet --name fleet.example.org
leanmark federate join fleet.example.org:8443 --ca ca.pem --start start --data imagefolder:photos
"""


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Train on the data of many clients, which stay with the clients: a link, a server, and clients that join.

    On the server: leanmark federate link, then admit for each client, then run. On each client: leanmark federate join.
    leanmark federate compare sets a simulated run beside central training.
    Flower transmits the messages (extra 'flower', in a separate environment); see recipes/guides/federated.md.
    """


@command.command(cls=Command, example="leanmark federate link fleet --host 0.0.0.0 --name fleet.example.org")
@click.argument("folder", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1024, 65535), default=8443, show_default=True, help="Port to listen on.")
@click.option("--name", "names", multiple=True, help="Name or address by which clients reach this machine; repeatable.")
def link(folder: Path, host: str, port: int, names: tuple[str, ...]) -> None:
    """Start Flower's SuperLink with TLS for admitted clients, until it is stopped.

    Certificates are created in FOLDER/tls on first use; clients need FOLDER/tls/ca.pem. Runs can be started only from
    this machine.

    Exit code 0: stopped. 2: usage error, or Flower is not installed.
    """
    from certify.core.files import write_text
    from compress.federated.flower.credentials import Certificates, write_authority
    from compress.federated.flower.fleet_client import stop
    from compress.federated.flower.processes import Link, program

    program("flower-superlink")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates = Certificates(folder / TLS)
    # Keep it across restarts, because clients pin the authority of the first start.
    if not certificates.key.is_file():
        write_authority(folder / TLS, [*names, *([host] if host != "0.0.0.0" else [])])
        click.echo(f"Created certificates valid for a year; clients need {certificates.authority}.")
    write_text(folder / LINK_FILE, json.dumps({"host": host, "port": port}) + "\n")
    superlink = Link(folder, host, port, certificates)
    process = superlink.start(folder / SERVER_LOG)
    click.echo(f"The SuperLink listens on {host}:{port} and logs to {folder / SERVER_LOG}. Ctrl-C stops it.")
    try:
        code = process.wait()
    except KeyboardInterrupt:
        stop(process)
        return
    raise UsageError(f"The SuperLink ended with {code}; see {folder / SERVER_LOG}.")


@command.command(cls=Command, example="leanmark federate admit fleet client-7.pub")
@click.argument("folder", type=THERE)
@click.argument("public_key", type=FILE)
def admit(folder: Path, public_key: Path) -> None:
    """Admit a client's machine to the link in FOLDER, by the PUBLIC_KEY that 'leanmark federate join' prints.

    Exit code 0: admitted. 2: usage error, or the link is not running.
    """
    node = opened(folder).register(public_key)
    click.echo(f"Admitted {public_key} as node {node}.")


def _run(
    recipe: str, link_folder: Path, clients: int, wait: float, deadline: float, client_purpose: str,
    client_recipient: str, **arguments: Any,
) -> None:  # fmt: skip
    from certify.attest.keys import signing_key
    from certify.core.data_use.vocabulary import purpose
    from certify.core.federation import Use
    from compress.federated import fleet
    from compress.federated.flower.processes import program
    from compress.federated.flower.transport import FlowerTransport
    from compress.job.output import folder_of

    # Fail here, with the name of the extra, instead of after a model was built.
    program("flwr")
    reached, socket = opened(link_folder), (link_folder / "sock" / "s").resolve()
    use = Use("finetune", purpose(client_purpose), client_recipient)
    out = folder_of(arguments["out"], arguments["model"])
    transport = FlowerTransport(socket, lambda: reached.run_app(socket))
    signer = signing_key(arguments["key"])  # of the log, whether or not anything is measured
    if not arguments["measure"]:
        # Check a copy without --key, because that key signs the log whether or not anything is measured.
        compress.refuse_measuring({**arguments, "key": None})
        for name in compress.ABOUT_MEASURING:
            del arguments[name]
    with fleet.connect(fleet.Fleet(transport, signer, clients, use, out, wait_s=wait, deadline_s=deadline)):
        try:
            compress.carry_out(recipe=recipe, dry_run=False, **arguments)
        finally:
            # Close it after a failure too, or Flower's run would continue and occupy the clients.
            transport.close()


command.add_command(
    Command(
        "run",
        params=[
            click.Argument(["recipe"]),
            click.Option(["--model"], required=True, help="Model, as for leanmark compress."),
            click.Option(["--link", "link_folder"], type=THERE, required=True, help="Folder of the link."),
            click.Option(["--clients"], type=click.IntRange(2), required=True, help="Number of clients to wait for."),
            click.Option(["--wait"], type=click.FloatRange(1), default=600, show_default=True,
                         help="Seconds to wait for the clients."),
            click.Option(["--deadline"], type=click.FloatRange(1), default=600, show_default=True,
                         help="Seconds after which a round continues without clients that have not answered."),
            click.Option(["--client-purpose"], default="research", show_default=True,
                         help="Purpose of use of clients' data, checked against their use policies."),
            click.Option(["--client-recipient"], default="", help="Recipient of the data, as in the use policies."),
            # Reuse the options of leanmark compress, so that new ones appear here too.
            *(each for each in compress.command.params if each.name not in NOT_HERE),
        ],
        callback=_run,
        help="""Run RECIPE with its pass federated_finetune on the clients of a link.

        Options are those of leanmark compress and of the fleet. Clients join with the folder OUT/start, which is
        created before the first round. If the job is killed and started again, it resumes after the last closed round.
        The signed log is written next to the model as federation.jsonl, for leanmark state --assessment federation.

        Exit codes are those of leanmark compress.
        """,
        example="leanmark federate run federated --model resnet18 --data mnist5k --link fleet --clients 3\n",
    )
)  # fmt: skip


@command.command(
    cls=Command,
    example="""\
leanmark federate join fleet.example.org:8443 --ca ca.pem --start start --data imagefolder:photos --folder me
""",
)
@click.argument("superlink")
@click.option("--ca", type=FILE, required=True, help="Certificate that authenticates the SuperLink.")
@click.option("--start", type=THERE, required=True, help="Folder 'start' that the server's operator gave you.")
@click.option("--data", required=True, help="Your data; training uses its train part, which stays here.")
@click.option(
    "--folder", type=FOLDER, default=Path("federation"), show_default=True, help="Folder for keys and receipts."
)
@click.option("--model", help="Original model, if 'start' names none of torchvision's.")
@click.option("--idle", type=FILE, help="YAML file with an idle policy: mains_only, most_load, hours, ...")
@click.option("--purpose", help="Purpose of use, if a use policy governs the data.")
@click.option("--recipient", default="", help="Recipient of the data, as named in the use policy.")
@click.option("--data-key", type=FILE, help="Data key of the data's use policy.  [default: your own]")
@click.option("--port", type=click.IntRange(1024, 65535), default=9094, show_default=True,
              help="Port of Flower's own programs, reachable only from this machine.")  # fmt: skip
def join(superlink: str, ca: Path, start: Path, data: str, folder: Path, **options: Any) -> None:
    """Join the federation at SUPERLINK (host:port) as a client, until stopped.

    Your key signs your entry in each round, and FOLDER/receipts.jsonl stores the server's receipts: leanmark verify
    MODEL --receipts later checks whether you were omitted. The server's operator must first admit FOLDER/node.key.pub.

    Exit code 0: stopped. 2: usage error, Flower is not installed, or the link rejects you. 6: the use policy of the
    data does not permit it.
    """
    from compress.federated.flower.fleet_client import Joining, prepare
    from compress.federated.flower.processes import program

    program("flower-supernode")
    public = prepare(folder)
    click.echo(f"The server's operator admits you with: leanmark federate admit LINK {public}")
    client = Joining(
        folder, superlink, ca, start, data, use=_use(**options), idle=_idle(options["idle"]), port=options["port"],
        build=_build(options["model"]),
    )  # fmt: skip
    try:
        client.run(click.echo)
    except KeyboardInterrupt:
        click.echo("Stopped.")


@command.command(cls=Command, example="leanmark federate compare small central")
@click.argument("out", type=THERE)
@click.argument("central", type=THERE)
def compare(out: Path, central: Path) -> None:
    """Add the job in CENTRAL, which trained in one place, to the records of the simulated federated job in OUT.

    Both jobs must be measured, have the same data, and have the same passes with the same settings, except that CENTRAL
    has finetune or distill in place of the federated pass. Accuracy, CPU-seconds and joules are read from their files
    and written to OUT/federation.jsonl, for leanmark state --assessment federation.

    Exit code 0: added. 2: usage error, or the jobs differ in data, model, passes or test samples.
    """
    from compress.job.federation import add_central

    found = add_central(out, central)
    table = found.table
    click.echo(
        f"Added to {out / 'federation.jsonl'}: {table.candidate} of {table.n} test samples right, and {table.baseline} "
        "after central training."
    )


def opened(folder: Path) -> Any:
    """Return the link of a folder.

    Raises:
        UsageError: the folder has no link.
    """
    from compress.federated.flower.credentials import Certificates
    from compress.federated.flower.processes import Link

    path = folder / LINK_FILE
    try:
        stated = json.loads(path.read_bytes())
        return Link(folder, str(stated["host"]), int(stated["port"]), Certificates(folder / TLS))
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is not the folder of a link; start one with leanmark federate link.") from error


def _use(purpose: str | None, recipient: str, data_key: Path | None, **_: Any) -> Any:
    from certify.core.data_use import vocabulary
    from certify.core.data_use.guard import Use

    return None if purpose is None else Use(vocabulary.purpose(purpose), recipient, read_data_key(data_key))


def _idle(path: Path | None) -> Any:
    from certify.core.validation import validated
    from certify.core.yaml_document import parse_document
    from compress.federated.idle import IdlePolicy

    if path is None:
        return None
    document = parse_document(path.read_text(), str(path))
    return validated(IdlePolicy, document.values, "the idle policy", document.place)


def _build(model: str | None) -> Any:
    """Return a function that creates the model named by the client; None if it named none."""
    from certify.core.progress import Silent
    from compress.job.original import Request, find_original

    if model is None:
        return None
    # Built on the client: the server sends no code, only weights for a model that the client itself named.
    return lambda dataset, contract: find_original(Request(model, preprocess=contract), dataset, Silent()).module
