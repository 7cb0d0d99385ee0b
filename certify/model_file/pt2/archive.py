"""Reading of exported torch programs (``.pt2``), without torch and without executing any of their content.

A ``.pt2`` file is a ZIP archive: the graph as JSON, and the weights as raw bytes with a JSON table of their shapes
(https://docs.pytorch.org/docs/stable/export/pt2_archive.html). ``torch.export.load`` trusts it: it unpickles sample
inputs and every weight or constant declared as pickled, loads shared libraries from it, evaluates the text of symbolic
sizes and guards as Python, and resolves operators as arbitrary attributes of ``torch``. So a file is first read here,
and refused if it contains any of these; torch then gets a new archive (:func:`loadable`) made from the checked parts,
so that two readers of one ZIP file cannot see different content.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certify.core.errors import ModelError

PROGRAM = "models/model.json"
WEIGHTS, CONSTANTS = "data/weights/", "data/constants/"
WEIGHTS_TABLE = "data/weights/model_weights_config.json"
CONSTANTS_TABLE = "data/constants/model_constants_config.json"
JSON_PARTS = (PROGRAM, WEIGHTS_TABLE, CONSTANTS_TABLE)
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
CONTRACT = "extra/leanmark.preprocess"
SERIALIZATION_ID = ".data/serialization_id"
"""A random number of the writer, which is not part of the program."""
LITTLE = b"little"
MAX_JSON_BYTES = 64 << 20
MAX_CONTAINERS, MAX_VALUES = 300_000, 3_000_000
"""Limits for one JSON part, so that a small file cannot become a large tree; a swin_v2_t has 28,000 containers."""

_KNOWN = re.compile(
    r"models/model\.json|archive_format|archive_version|byteorder|version|\.data/[a-z_]+|\.format_version"
    r"|\.storage_alignment|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt|extra/[\w.-]+"
)
_ARITHMETIC = "getitem|add|sub|mul|neg|floordiv|truediv|mod|eq|ne|lt|le|gt|ge"
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.(?!from_file\b|__)[a-z0-9_]+(\.(?!__)[A-Za-z0-9_]+)?"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__\.(Tensor|Scalar)"
    rf"|_operator\.({_ARITHMETIC})|torch\.sym_(int|float|max|min|not|sum)",
    re.ASCII,
)
_SYMBOLS = "Symbol|Integer|Rational|Float|Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing"
_EXPRESSION = re.compile(
    rf"(?:\b(?:{_SYMBOLS}|positive|integer|nonnegative|nonzero|real|True|False)\b|\b[su]\d{{1,6}}\b|'[su]\d{{1,6}}'"
    r"|\b\d{1,19}\b|[-+*/(),= ])+",
    re.ASCII,
)
_CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Exported:
    """A checked program.

    Attributes:
        path: path of its file, for error messages.
        members: bytes by name, without the archive's top folder.
        program: parsed graph and signature.
        weights: parsed table of the weights, by name.
        constants: parsed table of constant tensors, by name.
    """

    path: Path
    members: Mapping[str, bytes] = field(repr=False)
    program: Mapping[str, Any] = field(repr=False)
    weights: Mapping[str, Any] = field(repr=False)
    constants: Mapping[str, Any] = field(repr=False)

    @property
    def graph(self) -> Mapping[str, Any]:
        """Inputs, nodes, outputs and the types of all values."""
        graph: Mapping[str, Any] = self.program["graph_module"]["graph"]
        return graph

    @property
    def signature(self) -> Mapping[str, Any]:
        """Meaning of each input and output of the graph."""
        signature: Mapping[str, Any] = self.program["graph_module"]["signature"]
        return signature


def read_exported(path: Path) -> Exported:
    """Read and check a program.

    Raises:
        ModelError: the file is missing or damaged, or has content that would be executed, unpickled or evaluated.
    """
    if not path.is_file():
        raise ModelError(f"{path}: exported program not found.")
    try:
        members = _members(path)
        program, weights, constants = (_parsed(members[name]) for name in JSON_PARTS)
        if members.get("byteorder", LITTLE) != LITTLE:
            raise ModelError(f"{path} has weights from a big-endian machine; export it on a little-endian one.")
        exported = Exported(path, members, program, weights["config"], constants["config"])
        _check_nodes(exported)
        _check_payloads(exported)
        _check_program(exported)
    except KeyError as error:
        raise ModelError(
            f"{path} is damaged or not an exported program: it has no {error}; export it again."
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or not an exported program ({error}); export it again.") from error
    return exported


def content_digest(exported: Exported) -> str:
    """Return the hex SHA-256 over the members by value, sorted by name, independent of the archive's layout.

    The graph and the tables enter as canonical JSON with sorted keys. The writer's random number is excluded.
    """
    digest = hashlib.sha256(b"leanmark pt2 content digest 1\n")
    for name in sorted(set(exported.members) - {SERIALIZATION_ID}):
        content = exported.members[name]
        if name in JSON_PARTS:
            content = json.dumps(_parsed(content), sort_keys=True, separators=(",", ":")).encode()
        for part in (name.encode(), content):
            digest.update(struct.pack(">Q", len(part)))
            digest.update(part)
    return digest.hexdigest()


def loadable(exported: Exported) -> io.BytesIO:
    """Return an archive for ``torch.export.load`` with only the checked parts.

    Sample inputs are emptied (torch would unpickle them); guards and notes about source code are dropped.
    """
    return io.BytesIO(_archive(_plain(exported)))


def normal_form(exported: Exported, contract: bytes) -> bytes:
    """Return the normal form of a program, which is measured and certified; normalising is idempotent.

    Like :func:`loadable`, it drops content that could publish somebody's folder names and images, and also the user's
    own files in the archive; the preprocessing contract is added.

    Args:
        exported: the program.
        contract: canonical JSON of its preprocessing contract.
    """
    return _archive({**_plain(exported), CONTRACT: contract})


def stored_contract(exported: Exported) -> bytes | None:
    """Return the preprocessing contract of a program as canonical JSON, or None."""
    return exported.members.get(CONTRACT)


def _plain(exported: Exported) -> dict[str, bytes]:
    program = json.loads(exported.members[PROGRAM])
    # Cleared, because torch would evaluate guards as Python, and metadata contain stack traces of the exporter.
    program["guards_code"] = []
    for node in program["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    left_out = {name for name in exported.members if name.startswith("extra/")} | {SERIALIZATION_ID}
    members = {name: content for name, content in exported.members.items() if name not in left_out}
    # torch would unpickle sample inputs, so an empty part replaces them.
    return {**members, PROGRAM: json.dumps(program, sort_keys=True).encode(), SAMPLE_INPUTS: b""}


def _archive(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            # A fixed date, because the time of writing would give equal programs different bytes.
            archive.writestr(zipfile.ZipInfo(f"model/{name}", _DATE), members[name])
    return buffer.getvalue()


def _members(path: Path) -> dict[str, bytes]:
    """Return all members by name, without the top folder, which torch names after the file."""
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
        entries = {entry.filename.partition("/")[2]: entry for entry in listed}
        if len(entries) < len(listed) or any(entry.compress_type != zipfile.ZIP_STORED for entry in listed):
            raise ModelError(f"{path}: one of its parts is compressed or duplicated, which torch never writes.")
        if sum(entry.file_size for entry in listed) > path.stat().st_size:
            raise ModelError(f"{path}: its parts overlap or are truncated; the file was damaged or tampered with.")
        for name, entry in entries.items():
            if not _KNOWN.fullmatch(name):
                raise ModelError(
                    f"{path} contains '{name[:200]}', which is not a graph, weight or tensor (pickled objects and "
                    "compiled libraries would be executed on loading); save the plain program with torch.export.save."
                )
            if name in JSON_PARTS and entry.file_size > MAX_JSON_BYTES:
                raise ModelError(
                    f"{path}: its part '{name}' must have at most {MAX_JSON_BYTES} bytes, got {entry.file_size}."
                )
            members[name] = archive.read(entry)
    return members


def _parsed(content: bytes) -> Any:
    """Return a parsed JSON part.

    Raises:
        ValueError: it is not valid JSON, or has too many values.
    """
    # Counted in the text, before it is parsed.
    containers = content.count(b"[") + content.count(b"{")
    if containers > MAX_CONTAINERS or containers + content.count(b",") > MAX_VALUES:
        raise ValueError(f"a part has more than {MAX_CONTAINERS} lists and objects, or {MAX_VALUES} values")
    return json.loads(content)


def _check_nodes(exported: Exported) -> None:
    """Refuse a graph whose structure is not that of nodes.

    Raises:
        TypeError: something has another type than torch writes.
    """
    if not isinstance(exported.signature, dict) or not isinstance(exported.graph["nodes"], list):
        raise TypeError("it has no list of nodes, or no signature")
    if not all(isinstance(node, dict) and isinstance(node["target"], str) for node in exported.graph["nodes"]):
        raise TypeError("a node does not name an operator")


def _check_payloads(exported: Exported) -> None:
    for folder, table in ((WEIGHTS, exported.weights), (CONSTANTS, exported.constants)):
        for name, entry in table.items():
            if entry["use_pickle"] is not False or entry["tensor_meta"] is None:
                raise ModelError(
                    f"{exported.path}: '{name[:200]}' is stored as a pickle, which would run code on loading; export "
                    "the program with plain tensors."
                )
            if f"{folder}{entry['path_name']}" not in exported.members:
                raise ModelError(f"{exported.path}: the bytes of '{name[:200]}' are missing; export the program again.")


def _check_program(exported: Exported) -> None:
    """Refuse operators, expressions and containers that a plain program does not need."""
    refused = [text for kind, text in _evaluated(exported.program) if not _harmless(kind, text)]
    ranges = exported.program.get("range_constraints", {})
    refused += [name for name in ranges if not _EXPRESSION.fullmatch(name)]
    if refused:
        raise ModelError(
            f"{exported.path} refers to '{str(refused[0])[:200]}', which is not an operator, size or container of a "
            "plain program and could run code on loading, so it is refused."
        )


def _evaluated(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every text of a program that torch resolves or evaluates, with its key."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("target", "as_operator", "expr_str", "in_spec", "out_spec"):
                yield key, item
            elif key == "as_graph":
                yield "target", "a graph inside the graph"
            elif key not in ("metadata", "guards_code"):  # dropped before loading
                yield from _evaluated(item)
    elif isinstance(value, list):
        for item in value:
            yield from _evaluated(item)


def _harmless(kind: str, text: Any) -> bool:
    if not isinstance(text, str):
        return False
    if kind in ("in_spec", "out_spec"):
        return text == "" or all(name in _CONTAINERS for name in _containers(json.loads(text)))
    return (_EXPRESSION if kind == "expr_str" else _OPERATOR).fullmatch(text) is not None


def _containers(spec: Any) -> Iterator[Any]:
    if isinstance(spec, list):
        for item in spec:
            yield from _containers(item)
    elif isinstance(spec, dict):
        yield spec.get("type")
        yield from _containers(spec.get("children_spec", []))
