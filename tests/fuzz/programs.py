"""A program exported by torch, hostile ones derived from it, and their readers."""

from __future__ import annotations

import contextlib
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import mutations
from graded import Graded, fixtures, make_program

from certify.core.errors import LeanmarkError
from certify.data.preprocess import Preprocess
from certify.measure.runtimes.torch_cuda import load_program
from certify.model_file.pt2 import archive as exported
from certify.model_file.pt2 import facts as exported_facts
from certify.model_file.pt2 import weights as exported_weights

MEMBERS = (
    "data/aotinductor/model/model.so", "data/constants/custom_obj_0", "data/weights/model.pt", "../x", "/etc/x",
    "models/other.json", "extra/x", ".data/serialization_id", "data/constants/tensor_0", exported.SAMPLE_INPUTS,
)  # fmt: skip
PICKLE = b"cos\nsystem\n(S'true'\ntR."
TARGETS = (
    "torch.load", "torch.ops.aten.from_file.default", "torch.os.system", "_operator.attrgetter", "#ext:op",
    "torch.ops.aten.relu.default", "torch.ops.aten.add.Tensor", "torch.ops.higher_order.cond", "torch.ops.aten.empty",
)  # fmt: skip
EXPRESSIONS = (
    "Symbol('s1')", "Symbol('s64', positive=True, integer=True)**9", "Integer(10)", "Max(s1, 2)", "((((1))))",
    "__import__('os').system('true')", "Mul(" * 60 + "1" + ")" * 60, "Integer(9)*" * 200 + "9", "s0", "FloorDiv(1, 0)",
)  # fmt: skip


def exported_program() -> bytes:
    """A small network as torch exports it."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(4)
            self.head = torch.nn.Linear(4, 10)

        def forward(self, image: Any) -> Any:
            return self.head(torch.relu(self.norm(self.first(image))).mean((2, 3)))

    torch.manual_seed(0)
    sizes = {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(Net().eval(), (torch.zeros(4, 3, 8, 8),), dynamic_shapes=sizes)
    made = io.BytesIO()
    torch.export.save(program, made)
    return made.getvalue()


def of_program(content: bytes, rng: random.Random) -> bytes:
    """Another graph, table, member or layout of the archive; now and then other bytes of it."""
    if rng.random() < 0.2:
        return mutations.of_bytes(content, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError):
        return mutations.of_bytes(content, rng)
    rng.choice([_graph, _graph, _graph, _evaluated, _table, _member, _bytes])(members, rng)
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.02 else zipfile.ZIP_STORED
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), member, method)
    return made.getvalue()


Members = list[tuple[str, bytes]]


def _rewrite(members: Members, ending: str, rng: random.Random) -> tuple[int, Any] | None:
    """Place and parsed JSON of the member of that ending."""
    for place, (name, content) in enumerate(members):
        if name.endswith(ending):
            try:
                return place, json.loads(content)
            except (ValueError, RecursionError):
                return None
    return None


def _put(members: Members, place: int, value: Any) -> None:
    with contextlib.suppress(UnicodeEncodeError, RecursionError, ValueError):
        members[place] = members[place][0], json.dumps(value).encode()


def _graph(members: Members, rng: random.Random) -> None:
    if found := _rewrite(members, exported.PROGRAM, rng):
        _put(members, found[0], mutations.of_json(found[1], rng))


def _table(members: Members, rng: random.Random) -> None:
    if found := _rewrite(members, rng.choice([exported.WEIGHTS_TABLE, exported.CONSTANTS_TABLE]), rng):
        _put(members, found[0], mutations.of_json(found[1], rng))


def _evaluated(members: Members, rng: random.Random) -> None:
    """Another text where torch looks an operator up or evaluates a size."""
    if not (found := _rewrite(members, exported.PROGRAM, rng)):
        return
    key, texts = rng.choice([("target", TARGETS), ("expr_str", EXPRESSIONS), ("in_spec", mutations.TEXTS)])
    owners = [value for value in _objects(found[1]) if key in value]
    if owners:
        rng.choice(owners)[key] = rng.choice(texts)
        _put(members, found[0], found[1])


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(inner for item in value.values() for inner in _objects(item))]
    return [inner for item in value for inner in _objects(item)] if isinstance(value, list) else []


def _member(members: Members, rng: random.Random) -> None:
    """One more member, one less, one twice, or one of another name."""
    place, kind = rng.randrange(len(members)), rng.randrange(4)
    if kind == 0:
        members.append((f"model/{rng.choice(MEMBERS)}", rng.choice([PICKLE, b"", b"x"])))
    elif kind == 1 and len(members) > 1:
        del members[place]
    elif kind == 2:
        members.append(members[place])
    else:
        members[place] = rng.choice([*MEMBERS, members[place][0] + "x"]), members[place][1]


def _bytes(members: Members, rng: random.Random) -> None:
    place = rng.randrange(len(members))
    name, content = members[place]
    members[place] = name, rng.choice([mutations.of_bytes(content, rng), PICKLE])


class ProgramReaders:
    """Reads one program each.

    Args:
        folder: an empty one, to work in.
    """

    def __init__(self, folder: Path) -> None:
        self.home: Graded = make_program(folder)
        papers = fixtures("certify/attest/conftest")
        self.contract: Preprocess = papers.contract(input_name="image", output_name="linear")

    def facts(self, content: bytes) -> None:
        """Verified, digested, brought into the normal form, counted and looked at."""
        path = self.home.model
        path.write_bytes(content)
        with contextlib.suppress(LeanmarkError):
            self.home.verify().to_json()
        program = exported.read_exported(path)
        exported.content_digest(program)
        exported.stored_contract(program)
        normal = path.with_name("normal.pt2")
        normal.write_bytes(exported.normal_form(program, b"{}"))
        exported.read_exported(normal)
        for read in (
            exported_facts.count_exported,
            exported_facts.exported_quantization,
            exported_weights.exported_zero_channels,
            lambda whole: exported_facts.check_exported_feedable(whole, self.contract, 1),
        ):
            with contextlib.suppress(LeanmarkError):
                read(program)

    def loaded(self, content: bytes) -> None:
        """Given to torch, where leanmark finds nothing in it that would be run."""
        path = self.home.model
        path.write_bytes(content)
        load_program(exported.read_exported(path), "cpu")
