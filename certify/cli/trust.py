"""``leanmark trust``: manage the keys that you trust."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, Group, ModelPath
from certify.cli.output import json_option, print_json

EXAMPLE = """\
leanmark trust add their-key.pub --name acme
leanmark trust list
leanmark trust revoke acme --reason "their key was stolen"
"""


SAME_SOURCE = (
    "Warning: this key came with the certificate that it is meant to vouch for, so it proves nothing about who made "
    "it. Compare its id with one that the owner gave you by another channel, or run leanmark trust remove."
)


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Manage the keys that you trust: keys by name, their successors, and revoked keys."""


@command.command(cls=Command, example="leanmark trust add their-key.pub --name acme\nleanmark trust add keys.jsonl")
@click.argument("source")
@click.option("--name", help="Your name for the key.  [default: its file name]")
@json_option
def add(source: str, name: str | None, as_json: bool) -> None:
    """Trust the key in the file SOURCE.

    SOURCE is a PEM file or the key's 64 hexadecimal digits. It may also be a certificate, a certified model, its folder
    or its pack: the key is then the one named in the certificate, with a warning. Or it is a file of statements by keys
    about themselves: a key that names a successor passes your trust on to it, and a key that revokes itself loses it.
    """
    from certify.attest.key_statements import read_key_statements
    from certify.attest.trust import load_store

    # SOURCE is a model, a certificate, a PEM file or statements by keys; its content tells which.
    store = load_store()
    certificate = _certificate_of(source)
    if certificate is None and _holds_statements(source):
        statements = read_key_statements(Path(source))
        for statement in statements:
            store = store.with_statement(statement)
        store.save()
        _print(as_json, {"statements": [_statement(statement) for statement in statements]},
             *(_sentence(_statement(statement)) for statement in statements))  # fmt: skip
        return
    key = store.find(source) if certificate is None else certificate.signer
    # A key next to a certificate has the same publisher as the certificate.
    vouched = certificate or _certificate_of(str(Path(source).with_name("certificate.json")))
    chosen = name or (Path(source).stem if certificate is None and Path(source).is_file() else key.key_id[:16])
    store.with_key(chosen, key).save()
    # Only a warning, because the user decides whom to trust.
    if vouched is not None and vouched.signer == key:
        click.echo(SAME_SOURCE, err=True)
    _print(as_json, {"name": chosen, "key_id": key.key_id}, f"You now trust {chosen}, key {key.key_id}.")


@command.command(cls=Command, example="leanmark trust meter 9f86d0...0f00a08 --name bench")
@click.argument("code")
@click.option("--name", help="Your name for the meter.  [default: the beginning of CODE]")
@json_option
def meter(code: str, name: str | None, as_json: bool) -> None:
    """Trust the plug-in meter whose code has the digest CODE.

    CODE is the SHA-256 in 64 hexadecimal digits that the certificate states. Joules of other plug-in meters count as
    sampled at best, and leanmark gate --metered rejects them.
    """
    from certify.attest.trust import load_store
    from certify.core.errors import UsageError

    if not re.fullmatch("[0-9a-f]{64}", code):
        raise UsageError(f"CODE must be 64 lower-case hexadecimal digits, got '{code}'.")
    chosen = name or code[:16]
    load_store().with_meter(chosen, code).save()
    _print(as_json, {"name": chosen, "code": code}, f"You now trust the meter {chosen}, code {code}.")


@command.command(cls=Command, example="leanmark trust scheme scheme.pub --name example-scheme")
@click.argument("source")
@click.option("--name", help="Your name for the scheme.  [default: its file name]")
@json_option
def scheme(source: str, name: str | None, as_json: bool) -> None:
    """Trust the marks of the certification scheme that owns the key SOURCE.

    SOURCE is a PEM file or the key's 64 hexadecimal digits. Take it from the scheme itself, not from a model's folder.
    Keys that you trust for certificates, and your own key, do not count as a scheme's.
    """
    from certify.attest.keys import load_public
    from certify.attest.trust import load_store

    store, key = load_store(), load_public(source)
    chosen = name or (Path(source).stem if Path(source).is_file() else key.key_id[:16])
    store.with_scheme(chosen, key).save()
    _print(as_json, {"name": chosen, "key_id": key.key_id}, f"You now trust the marks of {chosen}, key {key.key_id}.")


@command.command("list", cls=Command, example="leanmark trust list")
@json_option
def list_(as_json: bool) -> None:
    """List the keys and meters that you trust.

    The key is what --trust accepts; its id is the SHA-256 of the key. Handovers and revocations are listed too.
    """
    from certify.attest.trust import trusted

    store = trusted()
    keys = [
        {"name": name, "key_id": key.key_id, "public_key": key.hex, "revoked": key in store.revoked}
        for name, key in sorted(store.keys.items())
    ]
    handovers = [{"from": old.key_id, "to": new.key_id} for old, new in store.handovers]
    revoked = [{"key_id": key.key_id, "reason": reason} for key, reason in store.revoked.items()]
    lines = [
        line
        for key in keys
        for line in (f"{key['name']}: id {key['key_id']}{' (REVOKED)' if key['revoked'] else ''}",
                     f"{key['name']}: key {key['public_key']}")
    ]  # fmt: skip
    lines += [f"{handover['from'][:16]} handed over to {handover['to']}" for handover in handovers]
    lines += [f"revoked: {key['key_id']} ({key['reason']})" for key in revoked]
    lines += [f"meter {name}: {code}" for name, code in sorted(store.meters.items())]
    lines += [f"scheme {name}: key {key.hex}" for name, key in sorted(store.schemes.items())]
    values = {
        "keys": keys, "handovers": handovers, "revoked": revoked, "meters": dict(store.meters),
        "schemes": {name: key.hex for name, key in sorted(store.schemes.items())},
    }  # fmt: skip
    _print(as_json, values, *(lines or ["You do not trust any key yet."]))


@command.command(cls=Command, example="leanmark trust remove acme")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Stop trusting the key or meter called NAME.

    Certificates signed by that key are then untrusted.
    """
    from certify.attest.trust import load_store

    load_store().without(name).save()
    _print(as_json, {"removed": name}, f"You no longer trust {name}.")


@command.command(cls=Command, example='leanmark trust revoke acme --reason "their key was stolen"')
@click.argument("source")
@click.option("--reason", default="you said so", show_default=True, help="Reason, for your own records.")
@json_option
def revoke(source: str, reason: str, as_json: bool) -> None:
    """Reject everything that the key SOURCE ever signed.

    SOURCE is a name, a PEM file or hexadecimal digits. It may also be the key's statement about itself (leanmark keygen
    --revoke). Revocation is total and cannot be undone: without a trusted timestamp, the date in a certificate proves
    nothing. leanmark verify then exits with 1.
    """
    from certify.attest.key_statements import read_key_statements
    from certify.attest.trust import load_store
    from certify.core.errors import UsageError

    store = load_store()
    # A name in the store takes precedence, because a file in the working folder may have the same name.
    if source not in store.keys and _holds_statements(source):
        statements = [
            statement for statement in read_key_statements(Path(source)) if statement.schema == "revocation-1"
        ]
        if not statements:
            raise UsageError(
                f"{source} does not contain a revocation. To revoke a key yourself, pass the key or its name."
            )
        revoked = {statement.signer: str(statement.predicate["reason"]) for statement in statements}
    else:
        revoked = {store.find(source): reason}
    for key, why in revoked.items():
        store = store.with_revoked(key, why)
    store.save()
    _print(as_json, {"revoked": [{"key_id": key.key_id, "reason": why} for key, why in revoked.items()]},
         *(f"Key {key.key_id} is revoked ({why}): all its signatures are void." for key, why in revoked.items()),
         )  # fmt: skip


def _certificate_of(source: str) -> Any:
    """Return the certificate in SOURCE, or in the model, folder or pack of that name; None if there is none.

    Raises:
        CertificateError: it is not signed by the key that it names.
    """
    from certify.attest.certificate import Certificate
    from certify.core.errors import CertificateError
    from certify.model_file.model_file import has_model_suffix

    path = Path(source)
    if not path.exists():
        return None
    if path.is_dir() or has_model_suffix(path) or path.suffix == ".zip":
        found = Certificate.read(ModelPath().convert(source, None, click.get_current_context()))
    else:
        try:
            found = Certificate.read(path)
        except CertificateError:
            return None  # a key, or statements by keys
    # Without this check, a forged certificate could add the key of somebody who did not sign it.
    if not found.envelope.signed_by(found.signer):
        raise CertificateError(f"{source} is not signed by the key that it names; no key was added.")
    return found


def _holds_statements(source: str) -> bool:
    """Return whether a file holds statements rather than a key: JSON begins with a brace, PEM does not."""
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(1) == b"{"


def _statement(signed: Any) -> dict[str, str]:
    from certify.attest.keys import PublicKey

    if signed.schema == "revocation-1":
        return {"revoked": signed.signer.key_id, "reason": signed.predicate["reason"]}
    successor = PublicKey(bytes.fromhex(signed.predicate["successor"]))
    return {"from": signed.signer.key_id, "to": successor.key_id}


def _sentence(statement: dict[str, str]) -> str:
    if "revoked" in statement:
        return f"Key {statement['revoked']} revoked itself ({statement['reason']}): all its signatures are void."
    return f"Key {statement['from'][:16]} handed over to {statement['to']}: trusted as long as you trust the old key."


def _print(as_json: bool, values: dict[str, Any], *lines: str) -> None:
    from certify.core.text import clean

    if as_json:
        print_json(values)
    else:
        click.echo("\n".join(clean(line) for line in lines))
