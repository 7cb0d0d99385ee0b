"""Statistics of a model of either stage for a lineage row: digest, parameters, MACs, bytes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from certify.core.files import sha256_file
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.file_scores import file_accuracy as file_accuracy
from compress.core.file_scores import file_scores as file_scores


@dataclass(frozen=True)
class ModelStats:
    """Size of a model in its stage.

    Attributes:
        digest: hex SHA-256 of the weights with their names and shapes (torch), or of the file followed by its external
            weights (onnx).
        parameters: number of weights.
        macs: multiply-adds for one sample.
        bytes: size of parameters and buffers (torch), or of the file with its external weights (onnx).
    """

    digest: str
    parameters: int
    macs: int
    bytes: int


def of_module(module: nn.Module, sample: torch.Tensor) -> ModelStats:
    """Return the statistics of a torch module; ``sample`` is one preprocessed sample (1, ...)."""
    tensors = module.state_dict().values()
    return ModelStats(
        digest=state_digest(module),
        parameters=count_parameters(module),
        macs=count_macs(module, sample),
        bytes=sum(t.numel() * t.element_size() for t in tensors),
    )


def of_file(path: Path) -> ModelStats:
    """Return the statistics of an ONNX file, including its external weights."""
    counts = count(load_model(path))
    parts = onnx_file.parts(path)
    return ModelStats(sha256_file(*parts), counts.parameters, counts.macs, sum(part.stat().st_size for part in parts))


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights; shared weights count once."""
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, sample: torch.Tensor) -> int:
    """Count the multiply-adds of one forward pass, at the operators that torch dispatches (attention included).

    The module runs in eval mode and is restored afterwards. Attention runs as plain matrix products: which of its fused
    kernels the counter knows depends on the version of torch, and the count must not.

    Args:
        module: any torch module.
        sample: one preprocessed sample (1, ...).
    """
    modes = {m: m.training for m in module.modules()}
    trained = [p for p in module.parameters() if p.requires_grad]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see the fused kernel of encoder layers
    module.eval()
    module.requires_grad_(False)  # the counter fails on parameters that are passed from module to module
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            module(sample)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for part, training in modes.items():
            part.training = training
        for parameter in trained:
            parameter.requires_grad_(True)
    # The counter counts a multiply-add as two operations.
    return int(counter.get_total_flops()) // 2


def state_digest(module: nn.Module) -> str:
    """Return the hex SHA-256 of name, type, shape and bytes of every tensor of the state, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        header = f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode()
        digest.update(struct.pack("<I", len(header)) + header)
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()
