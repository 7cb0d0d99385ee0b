"""Which architectures the table has: every classifier of torchvision, one of each family of timm's, and Hugging Face's
encoders of text and images."""

from __future__ import annotations

from typing import Any

from compress.models import factories

TIMM = (
    "beit_base_patch16_224", "botnet26t_256", "cait_xxs24_224", "coat_lite_tiny", "convmixer_1024_20_ks9_p14",
    "convnextv2_atto", "cspresnet50", "darknet53", "davit_tiny", "deit_tiny_patch16_224", "dla34", "dpn68",
    "edgenext_xx_small", "efficientformer_l1", "efficientnet_lite0", "efficientvit_b0", "ese_vovnet19b_dw",
    "fastvit_t8", "fbnetc_100", "gernet_s", "ghostnet_100", "hgnetv2_b0", "hrnet_w18_small", "inception_v4",
    "levit_128s", "mixer_s32_224", "mobilenetv4_conv_small", "mobileone_s0", "mobilevit_xxs", "nf_resnet50",
    "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "regnetz_b16", "repvgg_a0", "res2net50_26w_4s", "resnest14d",
    "resnetv2_50", "rexnet_100", "seresnet18",
)  # fmt: skip
"""One a family: convolutions in plain, dense, split, gated and re-parametrised blocks, tokens, windows and hybrids."""

TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_base": ("BertConfig", {}),
    "distilbert_base": ("DistilBertConfig", {}),
    "minilm_l6": ("BertConfig", {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
    "vit_base_patch16_224": ("ViTConfig", {}),
    "deit_base_patch16_224": ("DeiTConfig", {}),
}
"""Classes of transformers' configs, and what differs from their defaults."""

SIZES = {"timm:inception_v4": (96, 96)}
"""(H, W) that architectures need where they do not say so."""


def names(zoo: str) -> list[str]:
    """Names of one zoo's architectures: ``torchvision``, ``timm`` or ``transformers``."""
    if zoo == "torchvision":
        return factories.names()
    return [f"{zoo}:{name}" for name in (TIMM if zoo == "timm" else TRANSFORMERS)]
