"""Signed releases: one statement about the files that are published together, such as a wheel and its source archive.

leanmark signs its own wheels this way. The statement is an in-toto Statement in a DSSE envelope, like a certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.attest.certificate import read_certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.signed import Signed, read_statement, sign_statement
from certify.attest.trust import Standing, trusted
from certify.core import exit_codes
from certify.core.errors import UsageError
from certify.core.files import sha256_file

SCHEMA = "release-1"


@dataclass(frozen=True)
class ReleaseCheck:
    """The result of checking a release.

    Attributes:
        release: name and version, in the signer's words.
        files: names of the files that are as they were signed.
        faults: one sentence for each file that is missing or altered.
        standing: whether the signer is trusted.
    """

    release: str
    files: tuple[str, ...]
    faults: tuple[str, ...]
    standing: Standing

    @property
    def exit_code(self) -> int:
        """0 if all files match and the signer is trusted, 1 if not all match or the key is revoked, else 4."""
        if self.faults or self.standing.revoked:
            return exit_codes.FAILED
        return exit_codes.DONE if self.standing.trusted else exit_codes.NOT_TRUSTED


def sign_release(files: Sequence[Path], release: str, key: SigningKey) -> Signed:
    """Sign the digests of a release's files.

    Args:
        files: files of the release; their names must differ.
        release: name and version, such as ``leanmark 0.1.0``.
        key: signing key.

    Raises:
        UsageError: a file cannot be read, or two have the same name.
        CertificateError: a name is not a plain file name, or the release's name is empty or too long.

    Example:
        >>> from certify.attest.keys import new_key
        >>> sign_release([Path(__file__)], "example 1.0", new_key()).predicate["release"]
        'example 1.0'
    """
    names = [path.name for path in files]
    # Subjects are names without folders, so two files of one name could be swapped.
    if len(set(names)) < len(names):
        raise UsageError(f"The files of a release must have different names, got {', '.join(sorted(names))}.")
    try:
        subject = [{"name": path.name, "digest": {"sha256": sha256_file(path)}} for path in files]
    except OSError as error:
        raise UsageError(f"{error.filename}: the file cannot be read ({error.strerror}).") from error
    return sign_statement(SCHEMA, subject, {"release": release}, key)


def check_release(
    statement: Path, folder: Path | None = None, trust: Iterable[str | Path | PublicKey] = ()
) -> ReleaseCheck:
    """Check the files of a release against its statement.

    Args:
        statement: file that :func:`sign_release`'s content was written to.
        folder: folder of the files. Default: that of the statement.
        trust: keys to trust, in addition to the trust store.

    Raises:
        CertificateError: the statement is not valid, or is not signed by the key that it names.
        UsageError: the statement cannot be read.
    """
    signed = read_statement(read_certificate(statement), SCHEMA)
    place = folder or statement.parent
    good, faults = [], []
    for file in signed.subject:
        path = place / file["name"]
        if not path.is_file():
            faults.append(f"{file['name']}: missing in {place}.")
        elif sha256_file(path) != file["digest"]["sha256"]:
            faults.append(f"{file['name']}: not the file that was signed; its SHA-256 differs.")
        else:
            good.append(file["name"])
    standing = trusted(trust).standing(signed.signer)
    return ReleaseCheck(signed.predicate["release"], tuple(good), tuple(faults), standing)
