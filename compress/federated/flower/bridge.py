"""Folder of the app for Flower, and the digest of the bundle that Flower builds from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from certify.core.errors import MissingExtra
from certify.core.files import copy

HERE = Path(__file__).parent / "app"
PACKAGE = "leanmark_bridge"


def write_app(folder: Path) -> Path:
    """Write the app into a folder, in the format of ``flwr run``."""
    copy(HERE / "bridge.toml", folder / "pyproject.toml")
    for path in sorted((HERE / PACKAGE).glob("*.py")):
        copy(path, folder / PACKAGE / path.name)
    return folder


def app_digest(folder: Path) -> str:
    """Return the hex SHA-256 of the bundle that Flower builds from the app's folder, the same on every machine.

    Raises:
        MissingExtra: Flower is not installed.
    """
    try:
        from flwr.cli.build import build_fab_from_disk
    except ImportError as error:
        raise MissingExtra("Federated training over a network", "flower") from error
    return hashlib.sha256(build_fab_from_disk(folder)).hexdigest()
