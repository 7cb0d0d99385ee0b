"""Attacks on a graded model and its sidecar files, each with the check that should detect it."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bytes_of
import onnx
import rfc8785
from graded import Graded, make, make_program
from lies import FREE, another_letter, leaves, lie
from results import Results
from tally import Tally

from certify.attest.audit import audit
from certify.attest.countersignature import countersign
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import generate
from certify.model_file.onnx_file.seal import unsealed_bytes

Change = Callable[[bytes, random.Random], bytes]

MODEL = {"file_digest", "content_digest"}
PAPERS = {
    "certificate.json": {"sidecar_identical"},
    "evidence.jsonl": {"evidence_digest"},
    "lineage.json": {"lineage_digest"},
    "label.svg": {"label"},
    "baseline.onnx": {"companions"},
}
"""The check that should find a change in each file."""

ALONE = {"envelope_canonical", "schema", "signature"}
"""Those that should find one in a certificate that nothing else can be compared with."""

REORDERED = "protobuf fields in another order"
"""Of these, a seal that changed places with another entry is all that a tool that saves the model again may do; verify
then notes that the bytes are not those that were measured."""


COSTLY = ("evidence.jsonl", "label.svg")
"""Papers whose checks take most of the time; left out where another file is changed, which leaves fewer checks to find
it."""

PART = 100
"""Changes of one file between two lines of the file of results."""


class Attacks:
    """All attacks on one graded folder.

    Args:
        folder: to work in.
        count: of single-byte changes in each file.
        seed: of everything random.
    """

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.folder = folder
        self.count = count
        self.few = max(1, count // 100)
        self.seed = seed
        self.home = make(folder / "home")
        self.other = make(folder / "other", seed=1, ratio=0.5)
        self.tallies: dict[str, Tally] = {}

    def run(self, results: Results) -> None:
        """Try everything of which no results are there yet."""
        for part, attack in self._parts():
            if part not in results.parts:
                self.tallies = {}
                attack()
                results.add(part, {name: tally.to_json() for name, tally in self.tallies.items()})

    def _parts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for first in range(0, self.count, PART):
            numbers = range(first, min(first + PART, self.count))
            yield f"single bytes from {first}", lambda numbers=numbers: self.single_bytes(numbers)  # type: ignore[misc]
        for attack in (
            self.other_bytes_for_the_same,
            self.exchanges,
            self.papers_of_others,
            self.metadata,
            self.external_data,
            self.keys,
            self.signed_lies,
        ):
            yield attack.__name__.replace("_", " "), attack

    def single_bytes(self, numbers: range) -> None:
        """One byte of one file, anywhere, replaced by another; of the model, half of them in the seal."""
        start = unsealed_bytes(self.home.model)
        ranges = {"graph and weights": (0, start, MODEL), "seal": (start, None, {"seal", "sidecar_identical"} | MODEL)}
        for place, (part, (low, high, expected)) in enumerate(ranges.items()):
            self._changes(
                f"one byte of model.onnx, {part}", "model.onnx", numbers[place::2], expected,
                lambda content, rng, low=low, high=high: bytes_of.another_byte(content, rng, low, high),
            )  # fmt: skip
        for name in ("certificate.json", "evidence.jsonl", "lineage.json", "label.svg"):
            self._changes(f"one byte of {name}", name, numbers, PAPERS[name], bytes_of.another_byte)
        self._changes(
            "one byte of certificate.json, model without seal", "certificate.json", numbers, ALONE,
            bytes_of.another_byte, sealed=False,
        )  # fmt: skip

    def other_bytes_for_the_same(self) -> None:
        """Padding, order, unknown fields, stray bits, white space: what readers overlook."""
        model: dict[str, tuple[Change, set[str]]] = {
            "protobuf padding": (bytes_of.padded, {"file_digest", "seal"}),
            REORDERED: (bytes_of.reordered, {*MODEL, "seal"}),
            "a protobuf field twice": (bytes_of.doubled, {*MODEL, "seal"}),
            "an unknown protobuf field": (bytes_of.with_unknown_field, {"content_digest", "seal"}),
        }
        for name, (change, expected) in model.items():
            self._changes(name, "model.onnx", range(self.few), expected, change)
        envelope: dict[str, Change] = {
            "base64 padding bits": bytes_of.stray_bits,
            "JSON white space": bytes_of.with_white_space,
            "a JSON escape": bytes_of.with_escape,
        }
        for name, change in envelope.items():
            expected = {"envelope_canonical"}
            self._changes(name, "certificate.json", range(self.few), expected, change, sealed=False)
            self._envelopes(f"{name}, in the seal too", change, expected)
        self._changes(
            "JSON white space in the evidence", "evidence.jsonl", range(self.few), PAPERS["evidence.jsonl"],
            bytes_of.with_white_space,
        )  # fmt: skip

    def exchanges(self) -> None:
        """A file of another graded folder in place of one of this; a certificate moved to another model."""
        lineage = self.other.folder / "lineage.json"
        lineage.write_text(json.dumps({**json.loads(lineage.read_bytes()), "seed": 1}))
        for name, expected in PAPERS.items():
            copy = self._copy()
            shutil.copyfile(self.other.folder / name, copy.folder / name)
            self._judge("a paper of another model", name, copy, expected)
        copy = self._copy()
        shutil.copyfile(self.other.model, copy.model)
        self._judge("another graded model beside these papers", "model.onnx", copy, {"sidecar_identical"})
        copy = self._copy()
        envelope = (copy.folder / "certificate.json").read_bytes()
        shutil.copyfile(self.other.model, copy.model)
        copy.reseal(envelope)
        self._judge("a certificate moved to another model", "model.onnx", copy, MODEL)
        copy = self._copy()
        copy.model.write_bytes(copy.model.read_bytes() + copy.model.read_bytes()[unsealed_bytes(copy.model) :])
        self._judge("a second seal", "model.onnx", copy, {"seal"})

    def papers_of_others(self) -> None:
        """One byte of a countersignature, and of a certified program, which has no seal."""
        verifier = generate(self.folder / "verifier" / "k.key")
        copy = self._copy()
        _, written = countersign(audit(copy.model), verifier)
        (copy.folder / "evidence.jsonl").unlink()
        self._bytes_of("one byte of a countersignature", written["countersignature"], copy, {"countersignature"})
        program = make_program(self.folder / "program")
        expected = {"file_digest", "content_digest"}
        self._bytes_of("one byte of a certified program", program.model, program, expected)

    def _bytes_of(self, name: str, path: Path, copy: Graded, expected: set[str]) -> None:
        good = path.read_bytes()
        for number in range(max(self.few, self.count // 10)):
            path.write_bytes(bytes_of.another_byte(good, self._rng(f"{name} {number}")))
            self._judge(name, f"number {number}", copy, expected)

    def metadata(self) -> None:
        """``leanmark.*`` entries of the model edited, added or doubled, and the rest saved as onnx does."""
        rng = self._rng("metadata")
        copy = self._copy()
        good = copy.model.read_bytes()
        for _ in range(self.few):
            model = onnx.load_from_string(good)
            entry = next(entry for entry in model.metadata_props if entry.key == "leanmark.preprocess")
            kind = rng.randrange(3)
            if kind == 0:
                entry.value = another_letter(entry.value, rng)
            elif kind == 1:
                model.metadata_props.add(key=f"leanmark.{rng.randbytes(4).hex()}", value="x")
            else:
                model.metadata_props.add(key=entry.key, value=entry.value)
            onnx.save(model, copy.model)
            self._judge(
                "an edited leanmark.* metadata entry", str(kind), copy, {"content_digest", "preprocess_matches"}
            )

    def external_data(self) -> None:
        """Weights brought into a file beside the model; then that file is exchanged under an unchanged .onnx."""
        copy = self._copy(COSTLY)
        model = onnx.load(copy.model)
        onnx.save(model, copy.model, save_as_external_data=True, location="weights.bin", size_threshold=0)
        before = copy.verify()
        assert before.valid, before.failed
        weights = copy.folder / "weights.bin"
        good = weights.read_bytes()
        for number in range(max(self.few, self.count // 10)):
            changed = bytes_of.another_byte(good, self._rng(f"external{number}"))
            weights.write_bytes(changed)
            self._judge("external data exchanged", f"number {number}", copy, {"content_digest"})
        outside = self.folder / "outside.bin"
        outside.write_bytes(good)
        for what, spoil in {
            "cut short": lambda: weights.write_bytes(good[:-1]),
            "absent": lambda: weights.unlink(),
            "a link that leads out of the folder": lambda: weights.symlink_to(outside),
        }.items():
            spoil()
            self._judge("external data exchanged", what, copy, {"content_digest"})

    def keys(self) -> None:
        """Signed again with a key that nobody trusts: valid, but not trusted; and with a key that it does not name."""
        stranger = generate(self.folder / "stranger" / "k.key")
        copy = self._copy()
        statement = json.loads(parse_envelope((copy.folder / "certificate.json").read_bytes()).payload)
        copy.reseal(sign(rfc8785.dumps(statement), stranger).to_bytes())
        self._judge("signed with a key that the statement does not name", "", copy, {"signature"})
        statement["predicate"]["signer"]["public_key"] = stranger.public.hex
        copy.reseal(sign(rfc8785.dumps(statement), stranger).to_bytes())
        for name in ("label.svg", "signer.pub"):
            (copy.folder / name).unlink(missing_ok=True)
        verification = copy.verify()
        tally = self._tally("signed again with another key: valid, exit 4")
        tally.tried += 1
        if verification.exit_code != 4:
            tally.missed.append(verification.verdict)
        else:
            tally.by["key_trusted"] += 1

    def signed_lies(self) -> None:
        """Fields of the statement changed, one at a time, and signed again by the very maker."""
        copy = self._copy(("label.svg",))
        envelope = (copy.folder / "certificate.json").read_bytes()
        paths = [path for path in leaves(json.loads(parse_envelope(envelope).payload)) if ".".join(path) not in FREE]
        for path in self._rng("lies").sample(paths, min(self.count, len(paths))):
            statement = json.loads(parse_envelope(envelope).payload)
            lie(statement, path)
            copy.reseal(sign(rfc8785.dumps(statement), copy.key).to_bytes())
            verification = copy.verify()
            noted = {check.name for check in verification.checks if check.outcome == "note"}
            name = "a lie that the maker signs"
            self._tally(name).judge(".".join(path), {check.name for check in verification.failed} | noted, None)

    def _changes(
        self, name: str, target: str, numbers: range, expected: set[str], change: Change, sealed: bool = True
    ) -> None:
        copy = self._copy(tuple(paper for paper in COSTLY if paper != target))
        if not sealed:
            copy.unseal()
        path = copy.folder / target
        good = path.read_bytes()
        for number in numbers:
            changed = change(good, self._rng(f"{name} {number}"))
            if changed != good:
                path.write_bytes(changed)
                self._judge(name, f"number {number}", copy, expected)
        shutil.rmtree(copy.folder)

    def _envelopes(self, name: str, change: Change, expected: set[str]) -> None:
        copy, rng = self._copy(COSTLY), self._rng(name)
        good = (copy.folder / "certificate.json").read_bytes()
        for number in range(self.few):
            copy.reseal(change(good, rng))
            self._judge(name, f"number {number}", copy, expected)

    def _judge(self, name: str, what: str, copy: Graded, expected: set[str]) -> None:
        tally, began = self._tally(name), time.perf_counter()
        verification = copy.verify()
        tally.seconds += time.perf_counter() - began
        told = {check.name for check in verification.failed}
        if name == REORDERED and (check := verification.check("file_digest")) and check.outcome == "note":
            told.add(check.name)
        tally.judge(what, told, expected)

    def _tally(self, name: str) -> Tally:
        return self.tallies.setdefault(name, Tally())

    def _copy(self, without: tuple[str, ...] = ()) -> Graded:
        return self.home.copy(Path(tempfile.mkdtemp(dir=self.folder)) / "copy", without)

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")
