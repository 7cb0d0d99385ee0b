"""Attention heads, and the dimensions inside heads, as groups of units.

Papers: Michel, Levy and Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019 (arXiv 1905.10650) for whole
heads; Fang et al., CVPR 2023 (arXiv 2301.12900) for head dimensions. An attention module is recognised by its parts,
not by its class: a number of heads, projections to queries, keys and values (one or three), and an output projection.
If the module's own code ties the width of its heads to that of its input, it is first replaced by one of
`compress.models.attention`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from compress.models.attention import SelfAttention, TokenAttention, WindowAttention
from compress.pruning.equivalence import outputs_match
from compress.pruning.groups import Cut, Group, Number, layer_cuts, layer_number
from compress.pruning.proof import bisect_valid

Unit = Literal["heads", "head_dims"]
TIED = (nn.MultiheadAttention, ShiftedWindowAttention, RelativePositionalMultiHeadAttention)
"""Modules whose heads can only be removed after they are replaced by one of `compress.models.attention`."""
PROJECTIONS = (
    ("qkv",),
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
)
"""Names of the query, key and value projections in torchvision, timm and Hugging Face."""
BACK = ("proj", "out_proj", "o_proj", "out_lin")
SIBLINGS = ("output.dense",)
"""The output projection, inside the module or, as in BERT, next to it."""
HEADS = ("num_heads", "num_attention_heads", "n_heads")
HEAD_DIM = ("head_dim", "attention_head_size")
INNER_WIDTH = ("all_head_size", "attn_dim")
OF_HEADS = (("relative_position_bias_table", 1), ("logit_scale", 0))
"""Parameters with one entry per head, and the dimension of these entries."""


@dataclass(frozen=True)
class Attention:
    """An attention module and the layers of its heads.

    Attributes:
        path: path of the module.
        heads: number of heads.
        head_dim: dimension of each head.
        projections: paths of the layers to queries, keys and values.
        back: path of the output projection.
    """

    path: str
    heads: int
    head_dim: int
    projections: tuple[str, ...]
    back: str


def attentions(model: nn.Module) -> Iterator[Attention]:
    """Yield the attention modules whose heads can be identified."""
    for path, module in model.named_modules():
        heads = next((number for name in HEADS if isinstance(number := getattr(module, name, None), int)), 0)
        names = next((names for names in PROJECTIONS if all(_is_linear(module, name) for name in names)), None)
        back = _back(model, path)
        if not heads or names is None or back is None:
            continue
        # The inner width is what the output projection reads; after pruning it differs from the embedding's.
        width = int(model.get_parameter(f"{back}.weight").shape[1])
        stretches = 3 // len(names)
        fits = all(module.get_parameter(f"{name}.weight").shape[0] == stretches * width for name in names)
        if fits and width % heads == 0:
            yield Attention(path, heads, width // heads, tuple(f"{path}.{name}".lstrip(".") for name in names), back)


def _is_linear(module: nn.Module, path: str) -> bool:
    try:
        return isinstance(module.get_submodule(path), nn.Linear)
    except AttributeError:
        return False


def _back(model: nn.Module, path: str) -> str | None:
    """Return the path of an attention module's output projection."""
    parent = path.rpartition(".")[0]
    places = [f"{path}.{name}".lstrip(".") for name in BACK] + [f"{parent}.{name}".lstrip(".") for name in SIBLINGS]
    return next((place for place in places if _is_linear(model, place)), None)


def head_group(model: nn.Module, attention: Attention, unit: Unit) -> Group:
    """Return the heads of an attention module, or the dimensions of its heads, as a group.

    Every head loses equally many dimensions, each its own least important ones; those of queries and keys, and those of
    values, are chosen separately.
    """
    heads, head_dim = attention.heads, attention.head_dim
    stretches = 3 // len(attention.projections)
    stretch_rows: list[tuple[int, ...]]
    if unit == "heads":
        units, rows, size = heads, 1, head_dim
        stretch_rows = [(0,)] * 3
    else:
        units, rows, size = head_dim, 2 * heads, 1
        # Queries and keys meet in a scalar product and must lose the same dimensions; values are independent of them.
        matched, carried = tuple(range(heads)), tuple(range(heads, 2 * heads))
        stretch_rows = [matched, matched, carried]
    cuts: list[Cut] = []
    numbers = _module_numbers(model.get_submodule(attention.path), attention, unit)
    for first, path in zip(range(0, 3, stretches), attention.projections, strict=True):
        own = sum(stretch_rows[first : first + stretches], ())
        cuts += [_acting(cut) for cut in layer_cuts(model, path, 0, own, size)]
        numbers.append(layer_number(model, path, 0, len(own) * size))
    cuts += layer_cuts(model, attention.back, 1, stretch_rows[2], size)
    numbers.append(layer_number(model, attention.back, 1, len(stretch_rows[2]) * size))
    if unit == "heads":
        module = model.get_submodule(attention.path)
        cuts += [
            Cut(attention.path, name, dim)
            for name, dim in OF_HEADS
            if isinstance(tensor := getattr(module, name, None), torch.Tensor) and tensor.shape[dim] == heads
        ]
    return Group(attention.path, unit, units, tuple(cuts), tuple(numbers), rows)


def _acting(cut: Cut) -> Cut:
    """Mask queries, keys and values where they are computed: a score over fewer dimensions equals one with zeros."""
    return Cut(cut.path, cut.tensor, cut.dim, cut.rows, cut.size, acts=True)


def _module_numbers(module: nn.Module, attention: Attention, unit: Unit) -> list[Number]:
    """Return the attributes of the module that depend on the units, each with the other dimension as its factor."""
    own, others = (HEADS, attention.head_dim) if unit == "heads" else (HEAD_DIM, attention.heads)
    factors = dict.fromkeys(own, 1) | dict.fromkeys(INNER_WIDTH, others)
    return [Number(attention.path, name, factor) for name, factor in factors.items() if name in vars(module)]


def loosen(model: nn.Module, sample: torch.Tensor) -> list[str]:
    """Replace modules whose heads are tied to their width by those of `compress.models.attention`, in place.

    Only where the model's outputs do not change. Returns the paths of the replaced modules.

    Args:
        model: model in eval mode.
        sample: (1, ...) input of the model.
    """
    found = {path: free for path, module in model.named_modules() if (free := loose(module)) is not None}
    taken = bisect_valid(
        list(found), lambda paths: outputs_match(sample, model, _with(copy.deepcopy(model), paths, found))
    )
    _with(model, taken, found)
    return taken


def has_attention(model: nn.Module) -> bool:
    """Return whether a model contains attention, on whose reshapes traces for channel groups fail or never end."""
    return any(True for _ in attentions(model)) or any(isinstance(module, TIED) for module in model.modules())


def _with(model: nn.Module, paths: Any, modules: Mapping[str, nn.Module]) -> nn.Module:
    for path in paths:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, modules[path])
    return model


def loose(module: nn.Module) -> SelfAttention | None:
    """Return an equivalent attention with removable heads, or None if the module is not known to need one."""
    attention: SelfAttention | None = None
    if isinstance(module, nn.MultiheadAttention):
        attention = _of_tokens(module)
    elif isinstance(module, ShiftedWindowAttention):
        attention = _of_windows(module)
    elif isinstance(module, RelativePositionalMultiHeadAttention):
        attention = _of_partitions(module)
    return None if attention is None else attention.train(module.training)


def _of_tokens(module: nn.MultiheadAttention) -> TokenAttention | None:
    # Separate projections and appended keys have no counterpart in TokenAttention.
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        return None
    has_bias = module.in_proj_bias is not None
    attention = TokenAttention(
        module.embed_dim,
        module.num_heads,
        module.head_dim,
        module.head_dim**-0.5,
        qkv_bias=has_bias,
        out_bias=module.out_proj.bias is not None,
        attention_dropout=module.dropout,
        batch_first=module.batch_first,
    )
    # torch stores the three projections as one matrix, in this order.
    attention.qkv.weight = nn.Parameter(module.in_proj_weight.detach().clone())
    if has_bias:
        attention.qkv.bias = nn.Parameter(module.in_proj_bias.detach().clone())
    attention.proj.load_state_dict(module.out_proj.state_dict())
    return attention


def _of_windows(module: ShiftedWindowAttention) -> WindowAttention:
    cosine = isinstance(module, ShiftedWindowAttentionV2)
    width = module.qkv.in_features
    head_dim = width // module.num_heads
    table = module.relative_position_bias_table if not cosine else _evaluated_table(module)
    attention = WindowAttention(
        width,
        module.num_heads,
        head_dim,
        # Swin V2 compares directions: its learnt logit_scale takes the place of the usual 1 / sqrt(d).
        1.0 if cosine else head_dim**-0.5,
        qkv_bias=module.qkv.bias is not None,
        out_bias=module.proj.bias is not None,
        offsets=table.shape[0],
        tokens=module.window_size[0] * module.window_size[1],
        cosine=cosine,
        attention_dropout=module.attention_dropout,
        dropout=module.dropout,
        window_size=tuple(module.window_size),
        shift_size=tuple(module.shift_size),
    )
    _take(attention, module.qkv, module.proj, table, module.relative_position_index)
    if cosine:
        attention.logit_scale = nn.Parameter(module.logit_scale.detach().clone())
        if attention.qkv.bias is not None:  # the original never adds the bias of the keys
            attention.qkv.bias.data[width : 2 * width] = 0
    return attention


def _evaluated_table(module: ShiftedWindowAttentionV2) -> torch.Tensor:
    """Evaluate the small network of Swin V2 for each relative position: (offsets, heads)."""
    with torch.no_grad():
        table: torch.Tensor = module.cpb_mlp(module.relative_coords_table).view(-1, module.num_heads)
        # As torchvision's ShiftedWindowAttentionV2 does at each call; the table does not depend on the input.
        return 16 * table.sigmoid()


def _of_partitions(module: RelativePositionalMultiHeadAttention) -> SelfAttention:
    attention = SelfAttention(
        module.to_qkv.in_features,
        module.n_heads,
        module.head_dim,
        module.scale_factor,
        qkv_bias=module.to_qkv.bias is not None,
        out_bias=module.merge.bias is not None,
        offsets=module.relative_position_bias_table.shape[0],
        tokens=module.max_seq_len,
    )
    table, index = module.relative_position_bias_table, module.relative_position_index
    _take(attention, module.to_qkv, module.merge, table, index)
    return attention


def _take(attention: SelfAttention, qkv: nn.Linear, back: nn.Linear, table: torch.Tensor, index: Any) -> None:
    attention.qkv.load_state_dict(qkv.state_dict())
    attention.proj.load_state_dict(back.state_dict())
    attention.relative_position_bias_table = nn.Parameter(table.detach().clone())
    attention.relative_position_index = index.flatten().clone()
