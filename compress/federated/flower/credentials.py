"""Certificates and node keys of a SuperLink and its clients, as files.

A fleet with its own certificate authority uses certificates of that authority; otherwise :func:`write_authority`
creates one. Node keys are P-384 keys in OpenSSH format, as Flower requires; they authenticate machines to the SuperLink
and are independent of the keys that sign entries.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certify.core.errors import UsageError
from certify.core.files import write_bytes, write_secret

DAYS = 365
NODE_KEY = "node.key"


@dataclass(frozen=True)
class Certificates:
    """Certificate files of a SuperLink.

    Attributes:
        folder: folder of all three files.
    """

    folder: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority, which clients need."""
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        """Certificate of the SuperLink."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """Private key of the SuperLink."""
        return self.folder / "server.key"

    def require(self) -> Certificates:
        """Return self after checking that all files exist.

        Raises:
            UsageError: a file is missing.
        """
        for path in (self.authority, self.server, self.key):
            if not path.is_file():
                raise UsageError(f"{path} is missing; leanmark federate link creates it in a new folder.")
        return self


def write_authority(folder: Path, hosts: Sequence[str]) -> Certificates:
    """Create a certificate authority and a server certificate; the authority's private key is discarded.

    Args:
        folder: folder for ``ca.pem``, ``server.pem`` and ``server.key``.
        hosts: names and addresses of the SuperLink; ``localhost`` and ``127.0.0.1`` are added.

    Raises:
        UsageError: certificates already exist.
    """
    certificates = Certificates(folder)
    if certificates.key.exists():
        raise UsageError(f"{certificates.key} exists; clients trust its certificate. Use another folder.")
    # The authority's key is used once and never written, so that nobody can issue a second certificate.
    signing, own = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leanmark federation")])
    names = list(dict.fromkeys(["localhost", "127.0.0.1", *hosts]))
    root = (
        _builder(issuer, issuer, signing.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(signing, SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1])])
    server = (
        _builder(subject, issuer, own.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_named(name) for name in names]), critical=False)
        .sign(signing, SHA256())
    )
    write_secret(certificates.key, own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_bytes(certificates.server, server.public_bytes(Encoding.PEM))
    write_bytes(certificates.authority, root.public_bytes(Encoding.PEM))
    return certificates


def node_key(folder: Path) -> tuple[Path, Path]:
    """Return the paths of a client's private and public node key, which is created on first use.

    Raises:
        UsageError: others can read the private key.
    """
    private, public = folder / NODE_KEY, folder / f"{NODE_KEY}.pub"
    if not private.is_file():
        key = ec.generate_private_key(ec.SECP384R1())
        write_secret(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        write_bytes(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    if os.name == "posix" and private.stat().st_mode & 0o077:
        raise UsageError(f"{private} can be read by others; run chmod 600 {private}, or delete it to get a new key.")
    return private, public


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # The clocks of clients may be slow.
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=not ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
