"""What hostile input is given to: everything of leanmark that reads what somebody else wrote."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mutations
import rfc8785
from google.protobuf.message import DecodeError
from graded import Graded, make

from certify.certificate.content import content_digest
from certify.certificate.envelope import parse_envelope, sign
from certify.certificate.issue import Certificate, issue, read_lineage
from certify.certificate.messages import parse_model
from certify.certificate.normalise import normalise, stored_contract
from certify.certificate.seal import unsealed_bytes
from certify.data.preprocess import Preprocess
from certify.errors import LeanmarkError
from certify.evidence import parse_evidence
from certify.export import FORMATS, export
from certify.graph.counts import count
from certify.graph.load import inputs, load_model
from certify.graph.structure import zero_channels
from certify.page import Papers, page
from compress import recipe

Mutate = Callable[[bytes, random.Random], bytes]
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A reader of somebody else's input.

    Attributes:
        seed: good input.
        mutate: makes a hostile one of it, or of one that it made before.
        run: reads it; only a LeanmarkError may come out.
        cost: how much of the whole count it gets, relative.
    """

    seed: bytes
    mutate: Mutate
    run: Run
    cost: int = 1


class Unsafe(Exception):
    """Something happened that must not, though nothing was raised."""


def targets(folder: Path) -> dict[str, Target]:
    """All targets, over a graded model in ``folder``."""
    home = make(folder / "home")
    (folder / "home" / mutations.SECRET).write_bytes(b"secret" * 1000)
    readers = Readers(home)
    files = {path.name: path.read_bytes() for path in home.folder.iterdir() if path.is_file()}
    payload = parse_envelope(files["certificate.json"]).payload
    contract = _yaml(json.loads(payload)["predicate"]["preprocess"])
    bare = files["model.onnx"][: unsealed_bytes(home.model)]
    return {
        "envelope": Target(files["certificate.json"], mutations.of_bytes, readers.envelope),
        "envelope as JSON": Target(files["certificate.json"], _canonical, readers.envelope),
        "signed statement": Target(payload, _canonical, readers.statement),
        "evidence": Target(files["evidence.jsonl"], mutations.of_bytes, readers.evidence),
        "signed evidence": Target(files["evidence.jsonl"], _records, readers.signed_evidence),
        "texts of a measurement": Target(files["evidence.jsonl"], _texts, readers.texts),
        "lineage": Target(files["lineage.json"], _json, readers.lineage),
        "recipe": Target((recipe.recipe_folder() / "balanced.yaml").read_bytes(), _text, readers.recipe, cost=2),
        "preprocessing contract": Target(contract.encode(), _text, readers.contract),
        "ONNX bytes": Target(files["model.onnx"], mutations.of_bytes, readers.model, cost=2),
        "ONNX model": Target(bare, _model, readers.model, cost=3),
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


def _records(content: bytes, rng: random.Random) -> bytes:
    """Evidence with changed records in canonical form; the first, the last and any other are changed alike."""
    lines = content.splitlines()
    for _ in range(rng.choice([1, 1, 2, 10])):
        place = rng.choice([0, rng.randrange(len(lines)), len(lines) - 1 - rng.randrange(min(12, len(lines)))])
        lines[place] = _canonical(lines[place], rng)
    return b"".join(line + b"\n" for line in lines)


def _texts(content: bytes, rng: random.Random) -> bytes:
    """Evidence whose header says something else in places where it holds words."""
    header, *rest = content.splitlines()
    values = json.loads(header)
    places = [(values, "baseline_origin"), (values, "leanmark"), *((values["device"], key) for key in values["device"])]
    places += [(values["data"], key) for key in ("name", "spec")]
    places += [(values["meter"], key) for key in ("name", "scope", "method")]
    places += [(values["workload"], key) for key in ("runtime", "runtime_version", "provider", "precision")]
    for owner, key in rng.sample(places, rng.choice([1, 3, len(places)])):
        owner[key] = rng.choice([text for text in mutations.TEXTS if text != "\ud800"])[: rng.choice([200, 4000])]
    return b"".join(line + b"\n" for line in [rfc8785.dumps(values), *rest])


def _model(content: bytes, rng: random.Random) -> bytes:
    try:
        return mutations.of_model(content, rng)
    except (DecodeError, UnicodeDecodeError, ValueError):
        return mutations.of_bytes(content, rng)


def _parsed(content: bytes, rng: random.Random, change: Callable[[Any], bytes]) -> bytes:
    """What a change of the parsed JSON gives; of bytes that are no JSON, or can't be written, other bytes."""
    try:
        return change(json.loads(content))
    except (ValueError, RecursionError):
        return mutations.of_bytes(content, rng)


class Readers:
    """Runs one input each.

    Args:
        home: a graded folder, whose files are replaced by hostile ones.
    """

    def __init__(self, home: Graded) -> None:
        self.home = home
        self.folder = home.folder
        self.records = parse_evidence((home.folder / "evidence.jsonl").read_bytes())
        self.statement_before = json.loads(parse_envelope((home.folder / "certificate.json").read_bytes()).payload)
        self.bare = Graded(home.folder.parent / "bare", home.key)
        self.bare.folder.mkdir()
        (self.bare.folder / "link").symlink_to(self.folder.parent / mutations.SECRET)
        (self.bare.folder / "weights.bin").write_bytes(bytes(1000))
        os.mkfifo(self.bare.folder / "fifo")
        self.unsealed = (home.folder / "baseline.onnx").read_bytes()
        self.file = self.bare.folder / "file"

    def envelope(self, content: bytes) -> None:
        """A certificate from anywhere: verified beside a model without seal, drawn, exported."""
        self.bare.model.write_bytes(self.unsealed)
        path = self.bare.folder / "certificate.json"
        path.write_bytes(content)
        self.bare.verify().to_json()
        _draw(Certificate.read(path))

    def statement(self, payload: bytes) -> None:
        """A statement that its maker signed properly."""
        content = sign(payload, self.home.key).to_bytes()
        self.home.reseal(content)
        valid = self.home.verify().valid
        _draw(Certificate(content), Papers(Certificate(content), self.records, None) if valid else None)

    def evidence(self, content: bytes) -> None:
        """Evidence that nobody signed."""
        parse_evidence(content)

    def signed_evidence(self, content: bytes) -> None:
        """Evidence that its maker signed properly: the whole judgement runs over it."""
        statement = json.loads(json.dumps(self.statement_before))
        statement["predicate"]["evidence"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (self.folder / "evidence.jsonl").write_bytes(content)
        envelope = sign(rfc8785.dumps(statement), self.home.key).to_bytes()
        self.home.reseal(envelope)
        if self.home.verify().valid:
            _draw(Certificate(envelope), Papers(Certificate(envelope), parse_evidence(content), None), formats=())

    def texts(self, content: bytes) -> None:
        """A measurement that is honest but for its texts, judged, signed, and shown in every way there is."""
        evidence = parse_evidence(content)
        evidence = replace(evidence, header=replace(evidence.header, edition="2026"))
        bare, out = self.home.folder.parent / "candidate.onnx", self.home.folder.parent / "issued"
        name = evidence.header.baseline_origin[:256]
        contract = Preprocess.from_json(self.statement_before["predicate"]["preprocess"])
        lineage = self.folder / "lineage.json"
        certificate = issue(bare, evidence, lineage, contract, {}, out, self.home.key, model_name=name)
        _draw(certificate, Papers(certificate, evidence, read_lineage(lineage)))

    def lineage(self, content: bytes) -> None:
        """A lineage that its maker signed properly."""
        self.file.write_bytes(content)
        lineage = read_lineage(self.file)
        certificate = Certificate(sign(rfc8785.dumps(self.statement_before), self.home.key).to_bytes())
        _draw(certificate, Papers(certificate, None, lineage))

    def recipe(self, content: bytes) -> None:
        """A recipe."""
        self.file.with_suffix(".yaml").write_bytes(content)
        recipe.load(self.file.with_suffix(".yaml")).digest()

    def contract(self, content: bytes) -> None:
        """A preprocessing contract."""
        self.file.write_bytes(content)
        Preprocess.from_yaml(self.file)

    def model(self, content: bytes) -> None:
        """An ONNX file: verified, digested, brought into the normal form, checked, counted, and looked at."""
        path = self.bare.model
        path.write_bytes(content)
        for read in (self._verified, _digested, self._normalised, _counted):
            with contextlib.suppress(LeanmarkError):
                read(path)

    def _verified(self, path: Path) -> None:
        (path.parent / "certificate.json").write_bytes((self.folder / "certificate.json").read_bytes())
        self.bare.verify().to_json()

    def _normalised(self, path: Path) -> None:
        target = path.with_name("normal.onnx")
        normalise(path, target, Preprocess.from_json(self.statement_before["predicate"]["preprocess"]))
        if b"secret" * 3 in target.read_bytes():
            raise Unsafe("a file outside of the model's folder was read into it")
        target.unlink()


def _digested(path: Path) -> None:
    stored_contract(path)
    content_digest(parse_model(path), path.parent)


def _counted(path: Path) -> None:
    model = load_model(path)
    if any(b"secret" * 3 in tensor.raw_data for tensor in model.graph.initializer):
        raise Unsafe("a file outside of the model's folder was read into a tensor")
    inputs(model)
    count(model, (3, 8, 8))
    zero_channels(model)


def _draw(certificate: Certificate, papers: Papers | None = None, formats: Iterable[str] = tuple(FORMATS)) -> None:
    """Everything that is made from a certificate for people and for tools; whoever signed it may not script any.

    The report is drawn from papers that verify calls valid alone, the rest from any certificate that can be read.
    """
    lineage = None if papers is None else papers.lineage
    made: list[Callable[[], str]] = [
        certificate.label,
        *(lambda name=name: export(certificate, name, lineage).content for name in formats),  # type: ignore[misc]
    ]
    if papers is not None:
        made.append(lambda: page(papers))
    for make_one in made:
        with contextlib.suppress(LeanmarkError):
            text = make_one()
            if text.lstrip().startswith("<"):
                refuse_script(text)


class _Markup(HTMLParser):
    """Finds what a browser would run or fetch."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "foreignobject", "animate", "set", "base", "form"):
            raise Unsafe(f"markup with <{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                raise Unsafe(f"markup with {name}=")
            if name in ("href", "src", "xlink:href", "action") and not (value or "").startswith(("#", "data:")):
                raise Unsafe(f"markup that refers to {value!r}")


def refuse_script(text: str) -> None:
    parser = _Markup()
    parser.feed(text)
    parser.close()
