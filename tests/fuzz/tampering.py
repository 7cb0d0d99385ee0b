"""Tampering with a graded model and its papers: what was tried, what was found, by which check, and what was missed.

Run ``python tests/fuzz/tampering.py --count 10000 --seed 0``; it leaves with 1 where anything was missed, found by
another check than the one that should find it, or where an untouched file raised an alarm. ``count`` is the number of
random single-byte changes in each file; of every other attack a hundredth of it is tried, at least one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bytes_of
import onnx
import rfc8785
from graded import Graded, make, own_folders
from honest import false_alarms

from certify.certificate.envelope import parse_envelope, sign
from certify.certificate.keys import generate
from certify.certificate.seal import unsealed_bytes

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

FREE = {
    "predicate.model.name": "a name for people; the digests identify the model",
    "predicate.label.renderer": "what drew label.png, which is then not compared",
}
"""What a maker may sign as he likes; everything else is derived from the evidence or compared with a file."""


@dataclass
class Tally:
    """What came of one attack.

    Attributes:
        tried: how many changes were made.
        by: how often each check found one.
        missed: changes that no check found.
        elsewhere: changes that were found, but not by a check that should.
        seconds: spent in verify.
    """

    tried: int = 0
    by: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def judge(self, what: str, failed: set[str], expected: set[str] | None) -> None:
        """Count one change; None expects any check."""
        self.tried += 1
        self.by.update(failed)
        if not failed:
            self.missed.append(what)
        elif expected is not None and not failed & expected:
            self.elsewhere.append(f"{what} (found by {', '.join(sorted(failed))})")

    @property
    def wrong(self) -> int:
        return len(self.missed) + len(self.elsewhere)


REORDERED = "protobuf fields in another order"
"""Of these, a seal that changed places with another entry is all that a tool that saves the model again may do; verify
then notes that the bytes are not those that were measured."""


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

    def run(self) -> dict[str, Tally]:
        """Try everything."""
        self.single_bytes()
        self.other_bytes_for_the_same()
        self.exchanges()
        self.metadata()
        self.external_data()
        self.keys()
        self.signed_lies()
        return self.tallies

    def single_bytes(self) -> None:
        """One byte of one file, anywhere, replaced by another."""
        start = unsealed_bytes(self.home.model)
        ranges = {"graph and weights": (0, start, MODEL), "seal": (start, None, {"seal", "sidecar_identical"} | MODEL)}
        for part, (low, high, expected) in ranges.items():
            self._changes(
                f"one byte of model.onnx, {part}", "model.onnx", self.count // 2, expected,
                lambda content, rng, low=low, high=high: bytes_of.another_byte(content, rng, low, high),
                without=("evidence.jsonl",),
            )  # fmt: skip
        for name in ("certificate.json", "evidence.jsonl", "lineage.json", "label.svg"):
            without = () if name == "evidence.jsonl" else ("evidence.jsonl",)
            self._changes(f"one byte of {name}", name, self.count, PAPERS[name], bytes_of.another_byte, without)
        self._changes(
            "one byte of certificate.json, model without seal", "certificate.json", self.count, ALONE,
            bytes_of.another_byte, ("evidence.jsonl",), sealed=False,
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
            self._changes(name, "model.onnx", self.few, expected, change, ("evidence.jsonl",))
        envelope: dict[str, Change] = {
            "base64 padding bits": bytes_of.stray_bits,
            "JSON white space": bytes_of.with_white_space,
            "a JSON escape": bytes_of.with_escape,
        }
        for name, change in envelope.items():
            expected = {"envelope_canonical"}
            self._changes(name, "certificate.json", self.few, expected, change, ("evidence.jsonl",), sealed=False)
            self._envelopes(f"{name}, in the seal too", change, expected)
        self._changes(
            "JSON white space in the evidence", "evidence.jsonl", self.few, PAPERS["evidence.jsonl"],
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
                entry.value = _another_letter(entry.value, rng)
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
        copy = self._copy(("evidence.jsonl",))
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
        (copy.folder / "label.svg").unlink()
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
        self,
        name: str,
        target: str,
        count: int,
        expected: set[str],
        change: Change,
        without: tuple[str, ...] = (),
        sealed: bool = True,
    ) -> None:
        copy = self._copy(without)
        if not sealed:
            copy.unseal()
        path, rng = copy.folder / target, self._rng(name)
        good = path.read_bytes()
        for number in range(count):
            changed = change(good, rng)
            if changed != good:
                path.write_bytes(changed)
                self._judge(name, f"number {number}", copy, expected)

    def _envelopes(self, name: str, change: Change, expected: set[str]) -> None:
        copy, rng = self._copy(("evidence.jsonl",)), self._rng(name)
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


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all values that are no containers."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, (*path, str(place)))
    else:
        yield path


def lie(statement: Any, path: tuple[str, ...]) -> None:
    """Put another value of the same type at a path."""
    place = statement
    for key in path[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    key: Any = int(path[-1]) if isinstance(place, list) else path[-1]
    value = place[key]
    if isinstance(value, bool):
        place[key] = not value
    elif isinstance(value, int | float):
        place[key] = value + 1 if value == int(value) else value * 1.001
    elif value is None:
        place[key] = 1
    else:
        place[key] = _another_letter(value, random.Random(0)) if value else "x"


def _another_letter(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def report(tallies: dict[str, Tally]) -> int:
    """Print a table; gives the number of changes that were not found as they should be."""
    print(f"{'attack':58} {'tried':>7} {'found':>7} {'missed':>7}  by (most often first)")
    for name, tally in tallies.items():
        found = tally.tried - tally.wrong
        by = ", ".join(check for check, _ in tally.by.most_common(4))
        print(f"{name:58} {tally.tried:7} {found:7} {tally.wrong:7}  {by}")
        for what in [*tally.missed, *tally.elsewhere][:10]:
            print(f"    MISSED {what}")
    tried, wrong = (sum(getattr(tally, key) for tally in tallies.values()) for key in ("tried", "wrong"))
    seconds = sum(tally.seconds for tally in tallies.values())
    print(f"{'all':58} {tried:7} {tried - wrong:7} {wrong:7}  {1000 * seconds / max(1, tried):.1f} ms a verify")
    return wrong


def main() -> int:
    """Attack, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="single-byte changes in each file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, own_folders(Path(name)):
        missed = report(Attacks(Path(name) / "attacks", arguments.count, arguments.seed).run())
        tried, wrong = false_alarms(Path(name) / "honest", max(1, arguments.count // 200))
    print(f"{'untouched, saved again or changed openly':58} {tried:7} {tried - len(wrong):7} {len(wrong):7}")
    for what in wrong[:10]:
        print(f"    WRONG {what}")
    return int(missed + len(wrong) > 0)


if __name__ == "__main__":
    sys.exit(main())
