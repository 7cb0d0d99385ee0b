"""Which architectures the table has: every classifier of torchvision, and one of each family of timm's."""

from __future__ import annotations

from compress import models

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

SIZES = {"timm:inception_v4": (96, 96)}
"""(H, W) that architectures need where they do not say so."""


def names(zoo: str) -> list[str]:
    """Names of one zoo's architectures, as compress.models takes them."""
    return models.names() if zoo == "torchvision" else [f"timm:{name}" for name in TIMM]
