"""The subject of a certificate: the file's name and digests."""

from __future__ import annotations

from pathlib import Path

from certify.model_file.model_file import ModelFile, kind_of, open_model


def subject_name(path: Path) -> str:
    """Return the name of the certified file in the folder of its certificate."""
    return f"model{kind_of(path).suffix}"


def subject_digests(path: Path) -> dict[str, str]:
    """Return digests that identify a certified file: of its bytes without a seal, and of its content.

    Raises:
        LeanmarkError: the file is damaged.
    """
    with open_model(path) as model:
        return digests_of(model)


def digests_of(model: ModelFile) -> dict[str, str]:
    """Return the digests of an open file; see :func:`subject_digests`."""
    return {"sha256": model.file_digest(), "leanmarkContent": model.content_digest()}
