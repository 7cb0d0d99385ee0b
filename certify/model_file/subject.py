"""The file that a certificate is about: its name and its digests."""

from __future__ import annotations

from pathlib import Path

from certify.model_file.model_file import ModelFile, kind_of, open_model


def subject_name(path: Path) -> str:
    """Name of the certified file in the folder of its certificate."""
    return f"model{kind_of(path).suffix}"


def subject_digests(path: Path) -> dict[str, str]:
    """Digests that identify a certified file: of its bytes without a seal, and of what it says.

    Raises:
        LeanmarkError: the file is damaged.
    """
    with open_model(path) as model:
        return digests_of(model)


def digests_of(model: ModelFile) -> dict[str, str]:
    """The same, of a file that is open."""
    return {"sha256": model.file_digest(), "leanmarkContent": model.content_digest()}
