"""The file that a certificate is about: an ONNX file, which carries the seal, or a program, which can't carry any.

A program that torch exported has no place for a seal. Its certificate lies beside it, and any changed byte makes it
another file.
"""

from __future__ import annotations

from pathlib import Path

from certify.attest.statement import SUBJECT_NAME
from certify.core.evidence import ModelFacts
from certify.core.files import sha256_file
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.seal import file_digest
from certify.model_file.pt2 import archive as exported

PROGRAM_NAME = f"model{exported.SUFFIX}"
"""Name of a certified program in the folder of its certificate."""


def can_be_sealed(path: Path) -> bool:
    """Whether the file is an ONNX file, under whatever name."""
    return path.suffix != exported.SUFFIX


def subject_name(path: Path) -> str:
    """Name of the certified file in the folder of its certificate."""
    return SUBJECT_NAME if can_be_sealed(path) else PROGRAM_NAME


def baseline_name(path: Path) -> str:
    """Name of the baseline that a file of this kind was compared with, in the same folder."""
    return f"baseline{Path(subject_name(path)).suffix}"


def subject_digests(path: Path) -> dict[str, str]:
    """Digests that identify a certified file: of its bytes without a seal, and of what it says.

    Raises:
        LeanmarkError: the file is damaged.
    """
    if can_be_sealed(path):
        content = content_digest(parse_model(path), path.parent)
    else:
        content = exported.content_digest(exported.read_exported(path))
    return {"sha256": bytes_digest(path), "leanmarkContent": content}


def bytes_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes without its seal, if it can carry one.

    Raises:
        LeanmarkError: the file is damaged.
    """
    return file_digest(path) if can_be_sealed(path) else sha256_file(path)


def measured_digests(facts: ModelFacts) -> dict[str, str]:
    """The same, as the evidence states them."""
    return {"sha256": facts.file_digest, "leanmarkContent": facts.content_digest}
