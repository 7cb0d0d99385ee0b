"""Attention with any number of heads of any width.

The common modules tie the total width of all heads to the width of their input, so heads cannot be removed from them.
These compute the same (Vaswani et al. 2017, arXiv 1706.03762) with independent sizes; they replace the common modules
when heads are removed (`compress.pruning.heads`), and a checkpoint can rebuild them
from their numbers (`compress.exchange.replacements`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

LARGEST_LOGIT_SCALE = math.log(100.0)
"""Liu et al., "Swin Transformer V2", 2022 (arXiv 2111.09883), section 3.2."""
OTHER_REGION = -100.0
"""Added to the score of two tokens in a shifted window that are not neighbours in the image."""


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second to last dimension.

    Args:
        width: features per token.
        num_heads: number of heads.
        head_dim: size of a query, key and value in each head.
        scale: factor of the scores.
        qkv_bias: whether queries, keys and values have a bias.
        out_bias: whether the output has a bias.
        offsets: rows of a table of biases by relative position, (offsets, heads); 0 for none.
        tokens: number of tokens that attend to each other, if there is such a table.
        cosine: whether scores are cosines, times a learned scale per head.
        attention_dropout: share of the attention weights dropped in training.
        dropout: share of the outputs dropped in training.
    """

    relative_position_index: torch.Tensor

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int,
        scale: float,
        *,
        qkv_bias: bool = True,
        out_bias: bool = True,
        offsets: int = 0,
        tokens: int = 0,
        cosine: bool = False,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.num_heads, self.head_dim, self.scale = width, num_heads, head_dim, scale
        self.qkv_bias, self.out_bias = qkv_bias, out_bias
        self.offsets, self.tokens, self.cosine = offsets, tokens, cosine
        self.attention_dropout, self.dropout = attention_dropout, dropout
        self.qkv = nn.Linear(width, 3 * num_heads * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(num_heads * head_dim, width, bias=out_bias)
        if offsets:
            self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets, num_heads))
            self.register_buffer("relative_position_index", torch.zeros(tokens * tokens, dtype=torch.long))
        if cosine:
            self.logit_scale = nn.Parameter(torch.zeros(num_heads, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., tokens, width) to the same shape."""
        return self.attend(x)

    def attend(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute attention among the tokens.

        Args:
            x: (..., tokens, width).
            mask: added to the scores; broadcasts to (..., heads, tokens, tokens).
        """
        heads = (*x.shape[:-1], 3, self.num_heads, self.head_dim)
        query, key, value = (part.transpose(-2, -3) for part in self.qkv(x).reshape(heads).unbind(-3))
        if self.cosine:
            query = F.normalize(query, dim=-1) * self.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
            key = F.normalize(key, dim=-1)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if self.offsets:
            scores = scores + self._position_bias()
        if mask is not None:
            scores = scores + mask
        shares = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        gathered = (shares @ value).transpose(-2, -3).flatten(-2)
        return F.dropout(self.proj(gathered), self.dropout, self.training)

    def _position_bias(self) -> torch.Tensor:
        """Return the biases of all pairs of tokens, (heads, tokens, tokens)."""
        table = self.relative_position_bias_table[self.relative_position_index]
        return table.view(self.tokens, self.tokens, self.num_heads).permute(2, 0, 1)


class TokenAttention(SelfAttention):
    """Replacement of an ``nn.MultiheadAttention`` that is called with the same tokens three times.

    Args:
        batch_first: whether tokens come as (batch, tokens, width).
        others: see :class:`SelfAttention`.
    """

    in_proj_bias = None
    """Tells PyTorch's encoder layers not to use their fused kernel here."""

    def __init__(self, *args: float, batch_first: bool = True, **others: float) -> None:
        super().__init__(*args, **others)  # type: ignore[arg-type]
        self.batch_first = batch_first

    def forward(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, None]:
        """Like ``nn.MultiheadAttention``, but for self-attention only, with one mask for all heads and no weights."""
        x = query if self.batch_first else query.transpose(0, 1)
        mask = None if attn_mask is None else _added(attn_mask, x)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, x)[:, None, None, :]
            mask = padding if mask is None else mask + padding
        gathered = self.attend(x, mask)
        return (gathered if self.batch_first else gathered.transpose(0, 1)), None


class WindowAttention(SelfAttention):
    """Attention inside shifted windows: Liu et al., "Swin Transformer", 2021 (arXiv 2103.14030), section 3.2.

    Args:
        window_size: (height, width) of a window, in tokens.
        shift_size: (rows, columns) by which the windows are shifted.
        others: see :class:`SelfAttention`.
    """

    def __init__(
        self, *args: float, window_size: tuple[int, int] = (7, 7), shift_size: tuple[int, int] = (0, 0), **others: float
    ) -> None:
        super().__init__(*args, **others)  # type: ignore[arg-type]
        self.window_size, self.shift_size = window_size, shift_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, height, width, features) to the same shape."""
        batch, height, width, numbers = x.shape
        rows, columns = self.window_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        high, wide = height + -height % rows, width + -width % columns
        # a window as large as the image has no neighbour to shift into
        shift = (0 if rows >= high else self.shift_size[0], 0 if columns >= wide else self.shift_size[1])
        mask = None
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
            # Rolled images wrap around: tokens from opposite edges share a window but must not attend to each other.
            mask = self._regions(high, wide, shift, x)
        x = x.view(batch, high // rows, rows, wide // columns, columns, numbers).transpose(2, 3)
        x = self.attend(x.reshape(batch, -1, rows * columns, numbers), mask)
        x = x.view(batch, high // rows, wide // columns, rows, columns, numbers).transpose(2, 3)
        x = x.reshape(batch, high, wide, numbers)
        if any(shift):
            x = torch.roll(x, shift, (1, 2))
        return x[:, :height, :width].contiguous()

    def _regions(self, high: int, wide: int, shift: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
        """Return (windows, 1, tokens, tokens): 0 for tokens of the same region of the image, -100 for others."""
        rows, columns = self.window_size
        region = 3 * _bands(high, rows, shift[0], like)[:, None] + _bands(wide, columns, shift[1], like)
        region = region.view(high // rows, rows, wide // columns, columns).transpose(1, 2).reshape(-1, rows * columns)
        return (region[:, None, :] != region[:, :, None])[:, None].to(like.dtype) * OTHER_REGION


def _bands(size: int, window: int, shift: int, like: torch.Tensor) -> torch.Tensor:
    """Return (size,): 0 before the last window, 1 in it, 2 in its part that came from the other edge."""
    band = like.new_zeros(size)
    if shift:
        band[size - window : size - shift] = 1
        band[size - shift :] = 2
    return band


def _added(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Convert a boolean mask (true where attention is blocked) to one that is added to the scores."""
    return like.new_zeros(mask.shape).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask
