"""Name-independent digests of an exported program, by which measurements are counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from certify.model_file.pt2.archive import Exported
from certify.model_file.pt2.facts import reading, sources


def identities(exported: Exported) -> tuple[str, str]:
    """Return the hex SHA-256 over the operators with their inputs, and over the values of all tensors in any order.

    Raises:
        ModelError: the program is damaged.
    """
    with reading(exported):
        stored = {name: _stored(exported, member, entry) for name, member, entry in sources(exported)}
        known = dict(stored)
        nodes = [
            _renamed([node["target"], _arguments(node), node["outputs"]], known) for node in exported.graph["nodes"]
        ]
        outputs = _renamed(exported.graph["outputs"], known)
        text = json.dumps([nodes, outputs], sort_keys=True, separators=(",", ":"))
    weights = json.dumps(sorted(stored.values()))
    return hashlib.sha256(text.encode()).hexdigest(), hashlib.sha256(weights.encode()).hexdigest()


def _arguments(node: Mapping[str, Any]) -> list[Any]:
    return [item["arg"] for item in node["inputs"]]


def _stored(exported: Exported, member: str, entry: Mapping[str, Any]) -> str:
    layout = json.dumps(entry["tensor_meta"], sort_keys=True).encode()
    return hashlib.sha256(layout + b"\0" + exported.members[member]).hexdigest()


def _renamed(value: Any, known: dict[str, str], key: str = "") -> Any:
    """Return a part of the graph with digests in place of stored tensors' names, and numbers for other names."""
    if isinstance(value, Mapping):
        return {name: _renamed(item, known, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, known, key) for item in value]
    if isinstance(value, str) and key in ("name", "as_name"):
        return known.setdefault(value, f"value {len(known)}")
    return value
