"""Costs in the user's cache: one file per block and set of conditions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certify.core.errors import CertificateError
from certify.core.files import write_text
from certify.core.folders import cache_folder
from compress.costs.timing import Cost

FOLDER = "cost_tables"
LAYOUT = 5
"""Incremented when costs are measured, or blocks described, differently."""


@dataclass(frozen=True)
class CostCache:
    """The cache of costs.

    Attributes:
        folder: folder of the cache; None for the user's.
        fresh: whether its contents are ignored, so that everything is measured again.

    Example:
        >>> CostCache(Path("nowhere")).read({"runtime": "onnxruntime-cpu"}, "0" * 64)
        {}
    """

    folder: Path | None = None
    fresh: bool = False

    def path(self, conditions: Mapping[str, Any], signature: str) -> Path:
        """Return the file of a block's costs."""
        # torch's version is part of the key, because its exporter decides which operators a block becomes.
        text = json.dumps(self._key(conditions, signature), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return (self.folder or cache_folder()) / FOLDER / f"{digest[:32]}.json"

    def read(self, conditions: Mapping[str, Any], signature: str) -> dict[str, Cost]:
        """Return costs by label; empty if there are none, or the file is damaged."""
        path = self.path(conditions, signature)
        if self.fresh or not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text())
            return {label: Cost.from_json(cost) for label, cost in found["costs"].items()}
        # A damaged cache only costs time: everything in it can be measured again.
        except (OSError, ValueError, LookupError, TypeError, AttributeError, CertificateError):
            return {}

    def write(self, conditions: Mapping[str, Any], signature: str, costs: Mapping[str, Cost]) -> None:
        """Store the costs of a block, replacing earlier ones."""
        path = self.path(conditions, signature)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {
            "key": self._key(conditions, signature),
            "costs": {label: cost.to_json() for label, cost in costs.items()},
        }
        write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")

    @staticmethod
    def _key(conditions: Mapping[str, Any], signature: str) -> dict[str, Any]:
        return {**conditions, "block": signature, "layout": LAYOUT, "torch": torch.__version__}
