"""A single file with a certified model and its sidecar files, to send or archive.

A pack is an uncompressed zip archive, so that equal folders give equal bytes and nothing in it can be larger than the
pack itself. The reader trusts nothing: it allows only a limited number of plain names, each once, and no links.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from certify.attest import countersignature, statements
from certify.attest.certificate import (
    CERTIFICATE_NAME,
    EVIDENCE_NAME,
    LABEL_PNG_NAME,
    LABEL_SVG_NAME,
    LINEAGE_NAME,
    SIGNER_NAME,
)
from certify.attest.key_statements import KEY_STATEMENTS_NAME
from certify.attest.keyless import BUNDLE_NAME
from certify.attest.verify import require_derived
from certify.core.errors import CertificateError, UsageError
from certify.core.files import CHUNK_BYTES, replacing
from certify.model_file.model_file import has_model_suffix, open_model

PACK_SUFFIX = ".zip"
MAX_FILES = 1000

SIDECARS = (
    CERTIFICATE_NAME, EVIDENCE_NAME, LINEAGE_NAME, LABEL_SVG_NAME, LABEL_PNG_NAME, SIGNER_NAME, KEY_STATEMENTS_NAME,
    BUNDLE_NAME,
)  # fmt: skip
_FOLDERS = (
    statements.FOLDER, countersignature.FOLDER, statements.ATTESTATIONS_FOLDER, statements.MARKS_FOLDER,
)  # fmt: skip
_NAME = re.compile(rf"((?:{'|'.join(_FOLDERS)})/)?[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16


def model_in(folder: Path) -> Path:
    """Return a folder's certified model: ``model.onnx`` or ``model.pt2``, else the only model besides the baseline.

    Raises:
        UsageError: the folder contains no model, or more than one.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     Path(place, "net.onnx").touch()
        ...     model_in(Path(place)).name
        'net.onnx'
    """
    found = sorted(
        path for path in folder.iterdir() if path.is_file() and has_model_suffix(path) and path.stem != "baseline"
    )
    named = [path for path in found if path.stem == "model"]
    if len(named or found) == 1:
        return (named or found)[0]
    what = f"several models ({', '.join(path.name for path in found[:5])}); name one of them" if found else (
        "no model; name the folder written by leanmark, or the model file"
    )  # fmt: skip
    raise UsageError(f"The folder {folder} contains {what}.")


def pack(folder: str | Path, out: str | Path | None = None) -> tuple[Path, tuple[str, ...]]:
    """Bundle a certified model into one file: model, baseline, certificate, evidence, lineage, statements, label, key.

    Args:
        folder: folder of the model, or the model file.
        out: path of the pack. Default: ``FOLDER.zip`` next to the folder.

    Returns:
        The pack, and the names of its files.

    Raises:
        UsageError: the folder contains no model, or ``out`` does not end in ``.zip``.
        CertificateError: the certificate is not valid, so the pack should not be distributed.
        NotDerivedError: the evidence is missing, so the pack could not be audited.

    Example:
        >>> packed, names = pack("graded")
        >>> packed.name, names[:2]
        ('graded.zip', ('certificate.json', 'evidence.jsonl'))
    """
    model = model_in(Path(folder)) if Path(folder).is_dir() else Path(folder)
    home = model.parent
    out = Path(f"{home.resolve()}{PACK_SUFFIX}") if out is None else Path(out)
    if out.suffix.lower() != PACK_SUFFIX:
        raise UsageError(f"The name of a pack must end in {PACK_SUFFIX}, got '{out.name}'.")
    # An invalid model is not packed, because its reader would blame the pack.
    _, found = require_derived(model)
    bound = [name for certificate in found.certificates for name in certificate.predicate["companions"]]
    files = {path.relative_to(home).as_posix(): path for path in _belonging(model, bound)}
    if odd := [name for name in files if not _NAME.fullmatch(name)]:
        raise UsageError(
            f"File names in a pack must consist of ASCII letters, digits, '.', '-' and '_', got '{odd[0]}'; rename it."
        )
    with replacing(out) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(files.items()):
            # The time of a file is not part of what was certified; without it equal folders give equal packs.
            info = zipfile.ZipInfo(name, _EPOCH)
            # 3 is Unix; the default depends on the machine and would change the bytes.
            info.create_system, info.external_attr, info.file_size = 3, _MODE, path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)
    return out, tuple(sorted(files))


def _belonging(model: Path, bound: Iterable[str]) -> Iterator[Path]:
    """Yield a model, its baseline, their weights, and every existing sidecar file, including those bound by statements.

    Args:
        model: model file.
        bound: names of further files next to it.
    """
    # The baseline is included because measuring again needs it.
    for path in (model, model.with_name(f"baseline{model.suffix}")):
        if path.is_file():
            with open_model(path) as opened:
                yield from (path, *opened.weights_files())
    yield from (path for name in (*SIDECARS, *bound) if (path := model.parent / name).is_file())
    for name in _FOLDERS:
        found = sorted((model.parent / name).glob("*"))
        # A link in these folders would add its target to the pack.
        yield from (path for path in found if path.is_file() and not path.is_symlink())


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack into a temporary folder, and yield the path of the model there.

    Raises:
        UsageError: the file is not a pack.
        CertificateError: it contains something that ``leanmark pack`` does not write, or is damaged.
    """
    with tempfile.TemporaryDirectory(prefix=f"{path.stem}-") as place:
        folder = Path(place).resolve()
        try:
            with zipfile.ZipFile(path) as archive:
                _require_plain(archive, path)
                for info in archive.infolist():
                    target = folder / info.filename
                    target.parent.mkdir(exist_ok=True)
                    # Exclusive: an entry never replaces a file that another one wrote.
                    with archive.open(info) as source, target.open("xb") as stream:
                        shutil.copyfileobj(source, stream, CHUNK_BYTES)
        # zipfile raises RuntimeError for encrypted parts and NotImplementedError for unknown methods.
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise UsageError(f"{path} is not a pack, or is damaged ({error}). Ask its maker for a new copy.") from error
        yield model_in(folder)


def _require_plain(archive: zipfile.ZipFile, path: Path) -> None:
    """Reject entries that could write elsewhere, or more than the size of the pack itself.

    Raises:
        CertificateError: the pack contains such an entry; the message names it.
    """
    infos = archive.infolist()
    seen: set[str] = set()
    wrong = f"more than {MAX_FILES} files" if len(infos) > MAX_FILES else None
    for info in infos[:MAX_FILES]:
        if not _NAME.fullmatch(info.orig_filename) or info.orig_filename != info.filename:
            wrong = f"the name {info.orig_filename!r}"
        # On file systems that ignore case the second of two such files would overwrite the first.
        elif info.filename.lower() in seen:
            wrong = f"the name {info.filename!r} twice"
        elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            wrong = f"{info.filename!r} as something other than a regular file"
        elif info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            wrong = f"{info.filename!r} compressed or encrypted"
        seen.add(info.filename.lower())
    # Overlapping entries could unpack to more than the pack itself.
    if wrong is None and sum(info.file_size for info in infos) > path.stat().st_size:
        wrong = "files whose total size exceeds that of the pack"
    if wrong is not None:
        raise CertificateError(f"{path} contains {wrong}, which leanmark pack does not write; the pack was not opened.")
