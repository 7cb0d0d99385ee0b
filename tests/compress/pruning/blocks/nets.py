"""Small nets with attention or with channels that can't be traced, and what is compared of them."""

from __future__ import annotations

import torch
import torchvision
from torch import nn
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from compress.core.model_stats import count_parameters
from compress.pruning.blocks import BlockPruner
from compress.pruning.channels import find_head
from compress.pruning.rules import PruningRules

EXACT = 1e-4


def _vit() -> nn.Module:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=4
    )


def _swin(**other) -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 1], [2, 4], [4, 4], num_classes=4, **other)


def _swin_v2() -> nn.Module:
    return _swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def _maxvit() -> nn.Module:
    return MaxVit(
        input_size=(32, 32),
        stem_channels=16,
        partition_size=4,
        block_channels=[16],
        block_layers=[1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=4,
    )


def _shufflenet() -> nn.Module:
    return torchvision.models.ShuffleNetV2([2, 1, 1], [8, 32, 64, 128, 128], num_classes=4)


class BertSelf(nn.Module):
    """Heads with three projections, whose layer back stands beside, as in BERT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = heads, width // heads
        self.all_head_size, self.scaling = width, (width // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (*x.shape[:-1], -1, self.attention_head_size)
        query, key, value = (layer(x).view(heads).transpose(1, 2) for layer in (self.query, self.key, self.value))
        shares = (query @ key.transpose(2, 3) * self.scaling).softmax(-1)
        return (shares @ value).transpose(1, 2).reshape(*x.shape[:-1], -1)


class BertOutput(nn.Module):
    def __init__(self, taken: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(taken, width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(x) + beside)


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": BertSelf(width, heads), "output": BertOutput(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 2 * width)})
        self.output = BertOutput(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attention["output"](self.attention["self"](x), x)
        return self.output(nn.functional.gelu(self.intermediate["dense"](x)), x)


class FusedAttention(nn.Module):
    """One projection, as in timm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = heads, width // heads, width
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (*x.shape[:2], 3, self.num_heads, self.head_dim)
        query, key, value = self.qkv(x).reshape(heads).permute(2, 0, 3, 1, 4).unbind(0)
        gathered = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(gathered.transpose(1, 2).reshape(*x.shape[:2], self.attn_dim))


class Tokens(nn.Module):
    """Patches of an image through any layers that keep tokens, and a head."""

    def __init__(self, *layers: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.patches, self.layers, self.head = nn.Conv2d(3, width, 8, 8), nn.Sequential(*layers), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def _bert() -> nn.Module:
    return Tokens(nn.LayerNorm(32), BertLayer(32, 4), BertLayer(32, 4))


def _fused() -> nn.Module:
    return Tokens(nn.LayerNorm(32), FusedAttention(32, 4), nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32))


def _encoder() -> nn.Module:
    return Tokens(*(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True) for _ in range(2)))


MODELS = {
    "vit": _vit,
    "swin": _swin,
    "swin_v2": _swin_v2,
    "maxvit": _maxvit,
    "shufflenet": _shufflenet,
    "bert": _bert,
    "fused": _fused,
    "encoder": _encoder,
}

TRANSFORMERS = [name for name in MODELS if name != "shufflenet"]


def made(name: str) -> nn.Module:
    """A model all of whose parameters matter."""
    torch.manual_seed(0)
    net = MODELS[name]()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1 or "table" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.abs().max() == 0:
                parameter.normal_()
        net.train()(torch.randn(8, 3, 32, 32))
    return net.eval()


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).detach().abs().max() / other.detach().abs().max())


def block_pruner(model, context, **settings):
    sample = context.sample(1)
    head = find_head(model, sample)
    rules = PruningRules(head, "magnitude_l2", "local", multiple=4, most=0.9, count=count_parameters)
    return BlockPruner(model, sample, rules, **{"attention": "heads", "embedding": False, **settings})
