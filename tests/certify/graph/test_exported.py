from __future__ import annotations

import contextlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.data.preprocess import Preprocess
from certify.errors import ModelError
from certify.graph import exported, exported_facts, exported_weights
from certify.graph.structure import ZeroChannels

torch = pytest.importorskip("torch")

CONTRACT = Preprocess(
    input_name="image", output_name="linear", height=16, width=16, layout="NCHW", colour="RGB", scale=255.0,
    mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize="exact", crop="none", interpolation="bilinear", reading="logits",
)  # fmt: skip


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.up = torch.nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, image: Any) -> Any:
        x = torch.relu(self.norm(self.first(image)))
        return self.head(self.up(torch.relu(self.second(x))).mean((2, 3)))


def _save(net: Any, path: Path, dynamic: bool = True) -> Path:
    batch = {"image": {0: torch.export.Dim("batch", min=1, max=64)}} if dynamic else None
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(4, 3, 16, 16),), dynamic_shapes=batch), path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return _save(Net(), tmp_path_factory.mktemp("program") / "net.pt2")


def test_facts_are_read_when_the_batch_is_dynamic(program: Path) -> None:
    read = exported.read_exported(program)
    counts = exported_facts.count_exported(read)
    conv = 16 * 16 * 8 * (3 * 9 + 4 * 9)
    assert counts.macs == conv + 16 * 16 * 8 * 4 * 4 + 4 * 5
    assert (counts.counted_share, counts.not_counted) == (1.0, ())
    # Running mean and variance count as weights, as they do in an ONNX file; the counter of batches does not.
    assert counts.parameters == 8 * 27 + 4 * 8 + 8 * 36 + 8 + 8 * 4 * 4 + 4 + 4 * 5 + 5
    assert exported_facts.output_names(read) == ("linear",)
    assert exported_facts.input_port(read, "image").shape == (None, 3, 16, 16)
    exported_facts.check_exported_feedable(read, CONTRACT, 7)


def test_multiply_adds_are_of_one_sample_when_the_batch_is_fixed(program: Path, tmp_path: Path) -> None:
    fixed = exported.read_exported(_save(Net(), tmp_path / "fixed.pt2", dynamic=False))
    dynamic = exported.read_exported(program)
    assert exported_facts.count_exported(fixed).macs == exported_facts.count_exported(dynamic).macs
    with pytest.raises(ModelError, match="measure with batch 4"):
        exported_facts.check_exported_feedable(fixed, CONTRACT, 1)


def test_what_is_not_counted_is_named_when_attention_is_used(tmp_path: Path) -> None:
    class Attention(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            x = image.flatten(2)
            return torch.nn.functional.scaled_dot_product_attention(x, x, x).mean((1, 2))

    counts = exported_facts.count_exported(exported.read_exported(_save(Attention(), tmp_path / "attention.pt2")))
    assert counts.not_counted == ("scaled_dot_product_attention",) and counts.counted_share == 0


@pytest.mark.parametrize("after", [False, True])
def test_channels_of_zeros_are_found_when_a_mask_is_multiplied_in_the_graph(tmp_path: Path, after: bool) -> None:
    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8, 3, 3, 3))
            self.register_buffer("mask", torch.tensor([0.0] * 2 + [1.0] * 6).reshape(8, 1, 1))

        def forward(self, image: Any) -> Any:
            if after:
                return (torch.nn.functional.conv2d(image, self.weight) * self.mask).mean((2, 3))
            return torch.nn.functional.conv2d(image, self.weight * self.mask.unsqueeze(3)).mean((2, 3))

    found = exported_weights.exported_zero_channels(exported.read_exported(_save(Masked(), tmp_path / "masked.pt2")))
    assert found == ZeroChannels(8, 2)


@pytest.mark.parametrize("where", ["weight", "norm", "transposed"])
def test_channels_of_zeros_are_found_when_they_are_masked(tmp_path: Path, where: str) -> None:
    net = Net()
    with torch.no_grad():
        {"weight": net.first.weight, "norm": net.norm.weight}.get(where, net.up.weight.transpose(0, 1))[:3] = 0
    read = exported.read_exported(_save(net, tmp_path / "masked.pt2"))
    found = exported_weights.exported_zero_channels(read)
    assert (found.channels, found.zero) == (8 + 8 + 4 + 5, 3)


def test_quantized_operators_are_never_fused_when_a_program_dequantizes_its_weights(tmp_path: Path) -> None:
    import importlib

    importlib.import_module("torch.ao.quantization.fx._decomposed")

    class Quantized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.ones(5, 768, dtype=torch.int8))

        def forward(self, image: Any) -> Any:
            weight = torch.ops.quantized_decomposed.dequantize_per_tensor(self.weight, 0.1, 0, -128, 127, torch.int8)
            return torch.nn.functional.linear(image.flatten(1), weight)

    read = exported.read_exported(_save(Quantized(), tmp_path / "quantized.pt2"))
    found = exported_facts.exported_quantization(read)
    assert (found.intended, found.fused, found.unfused) == (1, 0, ("linear",))


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


def test_content_digest_stays_when_the_archive_is_laid_out_anew(program: Path, tmp_path: Path) -> None:
    def shuffle(members: dict[str, bytes]) -> None:
        items = sorted(members.items(), reverse=True)
        members.clear()
        members.update(items)
        members[".data/serialization_id"] = b"7" * 40
        members[exported.PROGRAM] = json.dumps(json.loads(members[exported.PROGRAM]), indent=1).encode()

    other = _rewrite(program, tmp_path / "other.pt2", shuffle)
    digests = {exported.content_digest(exported.read_exported(path)) for path in (program, other)}
    assert len(digests) == 1 and other.read_bytes() != program.read_bytes()


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
    with pytest.raises(ModelError, match="no graph, weight or tensor"):
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
def test_operator_is_refused_when_it_is_none_of_arithmetic(program: Path, tmp_path: Path, target: str) -> None:
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


def test_container_is_refused_when_it_is_a_type_of_somebodys_own(program: Path, tmp_path: Path) -> None:
    def swap(values: dict[str, Any]) -> None:
        signature = values["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = '[1, {"type": "evil.Type", "context": "null", "children_spec": []}]'

    with pytest.raises(ModelError, match="could run code"):
        exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", _in_program(swap)))


def test_archive_is_refused_when_it_is_compressed(program: Path, tmp_path: Path) -> None:
    packed = _rewrite(program, tmp_path / "packed.pt2", lambda members: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed or stands twice"):
        exported.read_exported(packed)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and index of a JSON value, as paths."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


@pytest.mark.parametrize("instead", [None, "text", -1, {}, []])
def test_error_is_typed_when_any_part_of_the_graph_is_something_else(program: Path, instead: Any) -> None:
    whole = exported.read_exported(program)
    places = [place for place in _places(whole.program) if "metadata" not in place]
    for place in places[::7]:
        damaged = json.loads(whole.members[exported.PROGRAM])
        inner = damaged
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = instead
        read = replace(whole, program=damaged)
        for facts in (
            exported_facts.count_exported,
            exported_weights.exported_zero_channels,
            exported_facts.exported_quantization,
            lambda broken: exported_facts.check_exported_feedable(broken, CONTRACT, 1),
        ):
            with contextlib.suppress(ModelError):
                facts(read)


def test_weight_is_refused_when_it_reaches_beyond_its_bytes(program: Path, tmp_path: Path) -> None:
    def beyond(members: dict[str, bytes]) -> None:
        table = json.loads(members[exported.WEIGHTS_TABLE])
        table["config"]["first.weight"]["tensor_meta"]["storage_offset"] = {"as_int": 100}
        members[exported.WEIGHTS_TABLE] = json.dumps(table).encode()

    read = exported.read_exported(_rewrite(program, tmp_path / "hostile.pt2", beyond))
    with pytest.raises(ModelError, match="beyond its bytes"):
        exported_weights.exported_zero_channels(read)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not a zip at all"])
def test_damaged_file_is_refused_when_it_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.pt2 is damaged or no exported program"):
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


def test_loadable_holds_no_place_of_the_source_code(program: Path) -> None:
    content = exported.loadable(exported.read_exported(program)).getvalue()
    assert b"test_exported.py" in program.read_bytes() and b"test_exported.py" not in content


def test_normal_form_is_its_own_and_carries_the_contract(program: Path, tmp_path: Path) -> None:
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
