"""What an exported program says: ports, multiply-adds, parameters, zeros, quantized operators."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certify.core.errors import ModelError
from certify.data.images import ImagePreprocess
from certify.data.tokens import TokenPreprocess
from certify.model_file.onnx_graph.zero_channels import ZeroChannels
from certify.model_file.pt2 import archive as exported
from certify.model_file.pt2 import facts as exported_facts
from certify.model_file.pt2 import weights as exported_weights

torch = pytest.importorskip("torch")

CONTRACT = ImagePreprocess(
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


def test_uncounted_operators_are_named_when_attention_is_used(tmp_path: Path) -> None:
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


def test_feedable_is_refused_when_the_contract_has_several_inputs(program: Path) -> None:
    text = TokenPreprocess("image", "linear", 8, 9, 0, "logits", attention_mask="mask")
    with pytest.raises(ModelError, match="names 2 inputs, but exported programs must have exactly one"):
        exported_facts.check_exported_feedable(exported.read_exported(program), text, 1)
