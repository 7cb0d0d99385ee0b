"""Fuzzing targets: valid input of every kind, its mutation into hostile input, and its reader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import model_mutations
import mutations
import programs
import rfc8785
from federated import FederatedReaders
from google.protobuf.message import DecodeError
from graded import make
from readers import Readers

from certify.attest.envelope import parse_envelope
from certify.model_file.onnx_file.seal import unsealed_bytes
from compress.job import recipe

Mutate = Callable[[bytes, random.Random], bytes]
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A reader of somebody else's input.

    Attributes:
        good: gives good input.
        mutate: makes a hostile one of it, or of one that it made before.
        run: reads it; only a LeanmarkError may come out.
        cost: how much of the whole count it gets, relative.
    """

    good: Callable[[], bytes]
    mutate: Mutate
    run: Run
    cost: int = 1

    @cached_property
    def seed(self) -> bytes:
        """Good input."""
        return self.good()


def targets(folder: Path) -> dict[str, Target]:
    """All targets, over a graded model in ``folder``."""
    home = make(folder / "home")
    (folder / "home" / mutations.SECRET).write_bytes(b"secret" * 1000)
    readers = Readers(home)
    program = programs.ProgramReaders(folder / "program")
    federated = FederatedReaders()
    files = {path.name: path.read_bytes() for path in home.folder.iterdir() if path.is_file()}
    payload = parse_envelope(files["certificate.json"]).payload
    contract = _yaml(json.loads(payload)["predicate"]["preprocess"])
    bare = files["model.onnx"][: unsealed_bytes(home.model)]
    said = readers.countersigned.read_bytes()
    lineage = files["lineage.json"]

    def target(good: bytes, mutate: Mutate, run: Run, cost: int = 1) -> Target:
        return Target(lambda: good, mutate, run, cost)

    return {
        "envelope": target(files["certificate.json"], mutations.of_bytes, readers.envelope),
        "envelope as JSON": target(files["certificate.json"], _canonical, readers.envelope),
        "signed statement": target(payload, _canonical, readers.statement),
        "countersignature": target(said, _canonical_or_bytes, readers.countersignature),
        "signed countersignature": target(parse_envelope(said).payload, _canonical, readers.signed_countersignature),
        "key statements": target(readers.said, _statements, readers.key_statements),
        "trust store": target(readers.store_before(), _canonical_or_bytes, readers.trust_store),
        "evidence": target(files["evidence.jsonl"], mutations.of_bytes, readers.evidence),
        "signed evidence": target(files["evidence.jsonl"], _records, readers.signed_evidence),
        "texts of a measurement": target(files["evidence.jsonl"], _texts, readers.texts),
        "lineage": target(lineage, _json, readers.lineage),
        "declarations": target(readers.declared, _text, readers.declarations, 2),
        "declarations, signed": target(readers.declaration_statement, _canonical, readers.signed_declarations),
        "records of declarations": target(readers.declaration_records, _records, readers.signed_records),
        "model card": target(readers.card, _text, readers.model_card),
        "recipe": target((recipe.recipe_folder() / "balanced.yaml").read_bytes(), _text, readers.recipe, 2),
        "preprocessing contract": target(contract.encode(), _text, readers.contract),
        "federated log": target(federated.log, _statements, federated.read_log),
        "federated records": target(federated.records, _records, federated.read_records),
        "federated receipts": target(federated.receipts, _statements, federated.read_receipts),
        "ONNX bytes": target(files["model.onnx"], mutations.of_bytes, readers.model, 2),
        "ONNX model": target(bare, _model, readers.model, 3),
        "exported program": Target(programs.exported_program, programs.of_program, program.facts, 2),
        "exported program, loaded": Target(programs.exported_program, programs.of_program, program.loaded),
    }


def _yaml(fields: dict[str, Any]) -> str:
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items() if value is not None)


def _text(content: bytes, rng: random.Random) -> bytes:
    return rng.choice([mutations.of_lines, mutations.of_lines, mutations.of_bytes])(content, rng)


def _json(content: bytes, rng: random.Random) -> bytes:
    return _parsed(content, rng, lambda value: json.dumps(mutations.of_json(value, rng)).encode())


def _canonical(content: bytes, rng: random.Random) -> bytes:
    """Changed JSON in canonical form, where it has one."""
    return _parsed(content, rng, lambda value: rfc8785.dumps(mutations.of_json(value, rng)))


def _canonical_or_bytes(content: bytes, rng: random.Random) -> bytes:
    return rng.choice([_canonical, _canonical, mutations.of_bytes])(content, rng)


def _statements(content: bytes, rng: random.Random) -> bytes:
    """One line of several in another form."""
    lines = content.removesuffix(b"\n").split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = _canonical_or_bytes(lines[place], rng)
    return b"\n".join(lines) + rng.choice([b"\n", b"\n", b"", b"\n\n"])


def _records(content: bytes, rng: random.Random) -> bytes:
    """Evidence with changed records in canonical form; the first, the last and any other are changed alike."""
    lines = content.splitlines()
    for _ in range(rng.choice([1, 1, 2, 10])):
        place = rng.choice([0, rng.randrange(len(lines)), len(lines) - 1 - rng.randrange(min(12, len(lines)))])
        lines[place] = _canonical(lines[place], rng)
    return b"".join(line + b"\n" for line in lines)


def _texts(content: bytes, rng: random.Random) -> bytes:
    """Evidence whose header says something else in places where it holds words."""
    header, *rest = content.splitlines() or [b""]
    return b"".join(line + b"\n" for line in [_parsed(header, rng, lambda values: _reworded(values, rng)), *rest])


def _reworded(values: Any, rng: random.Random) -> bytes:
    places = [(values, "baseline_origin"), (values, "leanmark"), *((values["device"], key) for key in values["device"])]
    places += [(values["data"], key) for key in ("name", "spec")]
    places += [(values["meter"], key) for key in ("name", "scope", "method")]
    places += [(values["workload"], key) for key in ("runtime", "runtime_version", "provider", "precision")]
    for owner, key in rng.sample(places, rng.choice([1, 3, len(places)])):
        owner[key] = rng.choice([text for text in mutations.TEXTS if text != "\ud800"])[: rng.choice([200, 4000])]
    return rfc8785.dumps(values)


def _model(content: bytes, rng: random.Random) -> bytes:
    try:
        return model_mutations.of_model(content, rng)
    except (DecodeError, UnicodeDecodeError, ValueError):
        return mutations.of_bytes(content, rng)


def _parsed(content: bytes, rng: random.Random, change: Callable[[Any], bytes]) -> bytes:
    """What a change of the parsed JSON gives; of bytes that are none, or of another kind, other bytes."""
    try:
        return change(json.loads(content))
    except (ValueError, RecursionError, TypeError, LookupError):
        return mutations.of_bytes(content, rng)
