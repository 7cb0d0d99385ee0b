"""What a lineage row says about a model of either stage: digest, parameters, MACs, bytes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from certify.core.files import sha256_file
from certify.data.dataset import Split
from certify.data.preprocess import Preprocess
from certify.data.scoring import Scores, score_split
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file, onnx_session


@dataclass(frozen=True)
class ModelStats:
    """Size of a model in the form that its stage has.

    Attributes:
        digest: hex SHA-256 of the weights with their names and shapes (torch), or of the file (onnx), with the weights
            beside it behind it.
        parameters: number of weights.
        macs: multiply-adds of one sample's inference.
        bytes: of parameters and buffers (torch), or of the file with the weights beside it (onnx).
    """

    digest: str
    parameters: int
    macs: int
    bytes: int


def of_module(module: nn.Module, sample: torch.Tensor) -> ModelStats:
    """Facts of a torch module; ``sample`` is one preprocessed sample (1, ...)."""
    tensors = module.state_dict().values()
    return ModelStats(
        digest=state_digest(module),
        parameters=count_parameters(module),
        macs=count_macs(module, sample),
        bytes=sum(t.numel() * t.element_size() for t in tensors),
    )


def of_file(path: Path) -> ModelStats:
    """Facts of an ONNX file with the weights that it keeps beside it."""
    counts = count(load_model(path))
    parts = onnx_file.parts(path)
    return ModelStats(sha256_file(*parts), counts.parameters, counts.macs, sum(part.stat().st_size for part in parts))


def file_accuracy(path: Path, split: Split, preprocess: Preprocess, classes: int, batch: int = 64) -> float:
    """Share of a split's samples whose class an ONNX file gets right; see :func:`file_scores`."""
    return file_scores(path, split, preprocess, classes, batch).accuracy


def file_scores(path: Path, split: Split, preprocess: Preprocess, classes: int, batch: int = 64) -> Scores:
    """What an ONNX file, run in ONNX Runtime, makes of each sample of a split.

    Raises:
        ModelError: ONNX Runtime can't load or run it, its outputs do not fit the data, or are not finite.
    """
    session = onnx_session.session(path)
    outputs = []
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else batch
    for begin in range(0, len(split), step):
        wanted = [min(i, len(split) - 1) for i in range(begin, begin + step)]  # a fixed batch is filled up
        outputs += onnx_session.run(session, [preprocess.output_name], preprocess.feed(split, wanted))
    whole = np.concatenate(outputs)[: len(split)]
    return score_split(whole, split, preprocess.class_map, classes, reading=preprocess.reading)


def count_parameters(module: nn.Module) -> int:
    """Number of weights; those that several parts share count once."""
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, sample: torch.Tensor) -> int:
    """Multiply-adds of one forward pass, counted at the operators that torch dispatches (attention included).

    The module runs in eval mode and is given back as it was. Attention runs as plain matrix products: which of its
    fused kernels the counter knows differs between versions of torch, and the count must not.

    Args:
        module: any torch module.
        sample: one preprocessed sample (1, ...).
    """
    modes = {m: m.training for m in module.modules()}
    trained = [p for p in module.parameters() if p.requires_grad]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see the fused kernel of encoder layers
    module.eval()
    module.requires_grad_(False)  # the counter fails over parameters that are handed from module to module
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            module(sample)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for part, training in modes.items():
            part.training = training
        for parameter in trained:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops()) // 2


def state_digest(module: nn.Module) -> str:
    """Hex SHA-256 over name, type, shape and bytes of every tensor of the state, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        header = f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode()
        digest.update(struct.pack("<I", len(header)) + header)
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()
