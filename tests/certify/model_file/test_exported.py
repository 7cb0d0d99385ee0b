"""Exported programs are read without running anything of them, and refused where torch would run something."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.core.errors import ModelError
from certify.model_file.pt2 import archive as exported
from certify.model_file.pt2 import computation
from certify.model_file.pt2 import weights as exported_weights

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, image: Any) -> Any:
        return self.head(torch.relu(self.first(image)).mean((2, 3)))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    batch = {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(4, 3, 16, 16),), dynamic_shapes=batch), path)
    return path


def _rewrite(
    source: Path, target: Path, change: Callable[[dict[str, bytes]], None], method: int = zipfile.ZIP_STORED
) -> Path:
    """A copy of an archive with changed members; those of value None go."""
    with zipfile.ZipFile(source) as archive:
        members = {entry.filename.partition("/")[2]: archive.read(entry) for entry in archive.infolist()}
    change(members)
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"net/{name}", content)
    return target


def _in_program(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def rewrite(members: dict[str, bytes]) -> None:
        values = json.loads(members[exported.PROGRAM])
        change(values)
        members[exported.PROGRAM] = json.dumps(values).encode()

    return rewrite


def test_content_digest_is_the_same_when_the_archive_is_rewritten(program: Path, tmp_path: Path) -> None:
    def shuffle(members: dict[str, bytes]) -> None:
        items = sorted(members.items(), reverse=True)
        members.clear()
        members.update(items)
        members[".data/serialization_id"] = b"7" * 40
        members[exported.PROGRAM] = json.dumps(json.loads(members[exported.PROGRAM]), indent=1).encode()

    other = _rewrite(program, tmp_path / "other.pt2", shuffle)
    digests = {exported.content_digest(exported.read_exported(path)) for path in (program, other)}
    assert len(digests) == 1 and other.read_bytes() != program.read_bytes()


def test_identities_are_the_same_when_values_are_renamed_and_nodes_documented(program: Path, tmp_path: Path) -> None:
    def document(values: dict[str, Any]) -> None:
        for node in values["graph_module"]["graph"]["nodes"]:
            node["metadata"]["stack_trace"] = "elsewhere"

    def rename(members: dict[str, bytes]) -> None:
        text = members[exported.PROGRAM].decode()
        for name in ("relu", "conv2d", "p_first_weight"):
            assert f'"{name}"' in text
            text = text.replace(f'"{name}"', f'"{name}_renamed"')
        members[exported.PROGRAM] = text.encode()

    first = computation.identities(exported.read_exported(program))
    for change in (_in_program(document), rename):
        other = exported.read_exported(_rewrite(program, tmp_path / "other.pt2", change))
        assert computation.identities(other) == first
        assert exported.content_digest(other) != exported.content_digest(exported.read_exported(program))


def test_identities_change_when_a_weight_or_an_operator_does(program: Path, tmp_path: Path) -> None:
    def weight(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.startswith(exported.WEIGHTS + "weight_"))
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    def operator(members: dict[str, bytes]) -> None:
        members[exported.PROGRAM] = members[exported.PROGRAM].replace(b"aten.relu.default", b"aten.silu.default")

    first = computation.identities(exported.read_exported(program))
    found = []
    for change in (weight, operator):
        other = exported.read_exported(_rewrite(program, tmp_path / "other.pt2", change))
        found.append([a == b for a, b in zip(first, computation.identities(other), strict=True)])
    assert found == [[False, False], [False, True]]


def test_content_digest_changes_when_one_weight_does(program: Path, tmp_path: Path) -> None:
    def nudge(members: dict[str, bytes]) -> None:
        values = np.frombuffer(members["data/weights/weight_0"], dtype=np.float32).copy()
        values[0] = math.nextafter(values[0], 9)
        values[0] += 1e-3
        members["data/weights/weight_0"] = values.tobytes()

    other = _rewrite(program, tmp_path / "other.pt2", nudge)
    assert exported.content_digest(exported.read_exported(other)) != exported.content_digest(
        exported.read_exported(program)
    )


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/model.so",
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/weights/model.pt",
        "serialized_state_dict.pt",
        "models/other.json",
        "../models/model.json",
    ],
)
def test_member_is_refused_when_loading_would_run_it(program: Path, tmp_path: Path, name: str) -> None:
    hostile = _rewrite(program, tmp_path / "hostile.pt2", lambda members: members.update({name: b"x"}))
    with pytest.raises(ModelError, match="not a graph, weight or tensor"):
        exported.read_exported(hostile)


def test_weight_is_refused_when_it_is_pickled(program: Path, tmp_path: Path) -> None:
    def pickled(members: dict[str, bytes]) -> None:
        table = json.loads(members[exported.WEIGHTS_TABLE])
        next(iter(table["config"].values()))["use_pickle"] = True
        members[exported.WEIGHTS_TABLE] = json.dumps(table).encode()

    with pytest.raises(ModelError, match="stored as a pickle"):
        exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", pickled))


@pytest.mark.parametrize(
    "target",
    [
        "torch.load", "torch.hub.load", "torch.ops.aten.from_file.default", "torch.ops.load_library", "torch.os.system",
        "_operator.methodcaller", "_operator.attrgetter", "#ext:op", "torch.ops.aten.relu.default.__globals__",
        "torch.ops.aten.__class__", "torch.ops.aten.relu.__init__",
    ],
)  # fmt: skip
def test_operator_is_refused_when_it_is_not_arithmetic(program: Path, tmp_path: Path, target: str) -> None:
    def swap(values: dict[str, Any]) -> None:
        values["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(ModelError, match="could run code"):
        exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", _in_program(swap)))


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "Symbol('s1').__class__", "Symbol('s1', x=open('f'))", "print", "s1\n"],
)
def test_size_is_refused_when_evaluating_it_could_run_code(program: Path, tmp_path: Path, text: str) -> None:
    def swap(values: dict[str, Any]) -> None:
        sizes = values["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = text

    with pytest.raises(ModelError, match="could run code"):
        exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", _in_program(swap)))


def test_container_is_refused_when_its_type_is_custom(program: Path, tmp_path: Path) -> None:
    def swap(values: dict[str, Any]) -> None:
        signature = values["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = '[1, {"type": "evil.Type", "context": "null", "children_spec": []}]'

    with pytest.raises(ModelError, match="could run code"):
        exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", _in_program(swap)))


def test_archive_is_refused_when_it_is_compressed(program: Path, tmp_path: Path) -> None:
    packed = _rewrite(program, tmp_path / "packed.pt2", lambda members: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed or duplicated"):
        exported.read_exported(packed)


def test_weight_is_refused_when_it_reaches_beyond_its_bytes(program: Path, tmp_path: Path) -> None:
    def beyond(members: dict[str, bytes]) -> None:
        table = json.loads(members[exported.WEIGHTS_TABLE])
        table["config"]["first.weight"]["tensor_meta"]["storage_offset"] = {"as_int": 100}
        members[exported.WEIGHTS_TABLE] = json.dumps(table).encode()

    read = exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", beyond))
    with pytest.raises(ModelError, match="beyond its stored bytes"):
        exported_weights.exported_zero_channels(read)


@pytest.mark.parametrize("values", [b"[],", b"0,"])
def test_graph_is_refused_when_a_small_file_expands_into_a_large_tree(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: bytes
) -> None:
    monkeypatch.setattr(exported, "MAX_CONTAINERS", 2000)
    monkeypatch.setattr(exported, "MAX_VALUES", 20_000)

    def grow(members: dict[str, bytes]) -> None:
        members[exported.PROGRAM] = members[exported.PROGRAM][:-1] + b', "more": [' + values * 30_000 + b"0]}"

    exported.read_exported(program)
    with pytest.raises(ModelError, match="more than 2000 lists and objects"):
        exported.read_exported(_rewrite(program, tmp_path / "large.pt2", grow))


def test_content_digest_covers_custom_parts_unchanged(program: Path, tmp_path: Path) -> None:
    digests = {
        exported.content_digest(exported.read_exported(_rewrite(program, tmp_path / f"{name}.pt2", add)))
        for name, add in (
            ("own", lambda members: members.update({"extra/own.json": b"no JSON"})),
            ("other", lambda members: members.update({"extra/own.json": b"[1, 2]"})),
            ("spaced", lambda members: members.update({"extra/own.json": b"[1,2]"})),
        )
    }
    assert len(digests) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not a zip at all"])
def test_damaged_file_is_refused_when_it_is_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.pt2 is damaged or not an exported program"):
        exported.read_exported(tmp_path / "bad.pt2")


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_nothing_is_unpickled_when_sample_inputs_are_a_trap(program: Path, tmp_path: Path) -> None:
    from certify.measure.runtimes.torch_cuda import load_program

    mark = tmp_path / "was-run"
    trap = io.BytesIO()
    torch.save((_Trap(mark),), trap)
    torch.load(io.BytesIO(trap.getvalue()), weights_only=False)
    assert mark.exists()  # the trap is live
    mark.unlink()
    hostile = _rewrite(
        program, tmp_path / "hostile.pt2", lambda members: members.update({exported.SAMPLE_INPUTS: trap.getvalue()})
    )
    loaded = load_program(exported.read_exported(hostile), "cpu")
    assert not mark.exists()
    assert loaded.module(check_guards=False)(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


def test_loadable_contains_no_location_of_the_source_code(program: Path) -> None:
    content = exported.loadable(exported.read_exported(program)).getvalue()
    assert b"test_exported.py" in program.read_bytes() and b"test_exported.py" not in content


def test_normal_form_is_idempotent_and_includes_the_contract(program: Path, tmp_path: Path) -> None:
    def noisy(members: dict[str, bytes]) -> None:
        members["extra/notes.txt"] = b"somebody's own"
        members[exported.SERIALIZATION_ID] = b"7" * 40

    once, twice = tmp_path / "once.pt2", tmp_path / "twice.pt2"
    once.write_bytes(exported.normal_form(exported.read_exported(_rewrite(program, tmp_path / "n.pt2", noisy)), b"{}"))
    twice.write_bytes(exported.normal_form(exported.read_exported(once), b"{}"))
    assert once.read_bytes() == twice.read_bytes() == exported.normal_form(exported.read_exported(program), b"{}")
    assert exported.stored_contract(exported.read_exported(once)) == b"{}"
    assert exported.stored_contract(exported.read_exported(program)) is None
    image = torch.ones(2, 3, 16, 16)
    before, after = (torch.export.load(path).module(check_guards=False)(image) for path in (program, once))
    assert torch.equal(before, after)
