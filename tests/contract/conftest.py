"""A small certified model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from certify.attest.certificate import Certificate
from certify.present.label.sidecars import write_label

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A certified model, and the public key of its maker in hexadecimal digits."""
    from graded import make  # type: ignore[import-not-found]

    made = make(tmp_path_factory.mktemp("graded"))
    write_label(Certificate.read(made.model), made.folder)  # with the image, which the base ring cannot draw again
    return made.model, made.key.public.hex
