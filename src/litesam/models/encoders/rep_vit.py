"""RepViT-M1, the image encoder of EdgeSAM.

Sources: Wang et al. 2023, "RepViT: Revisiting Mobile CNN From ViT Perspective" (arXiv 2307.09283),
Sec. 3; Zhou et al. 2023, "EdgeSAM" (arXiv 2312.06660), Sec. 3. Written from the papers and from the
names and shapes of the published checkpoints, without their code.

A block mixes neighbours (depthwise convolutions, in some blocks with squeeze-and-excitation), then
channels. The depthwise mixing is trained as three parallel branches, which `litesam.models.folding`
makes one convolution for inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.folding import fold_parallel
from litesam.models.layers import ConvBN, sam_neck

EXPAND = 2
STEM = 24
#: Squeeze-and-excitation: reduction of the channels, to a multiple of eight.
SQUEEZE = 4
SQUEEZE_STEP = 8


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; ``excite``: which of them have squeeze-and-excitation."""

    channels: int
    excite: tuple[bool, ...]


def _flags(text: str) -> tuple[bool, ...]:
    return tuple(character == "1" for character in text)


#: Strides 4, 8, 16 and 32. All stages but the first begin with a block of stride 2.
STAGES = (
    Stage(48, _flags("100")),
    Stage(96, _flags("0100")),
    Stage(192, _flags("0101010101010100")),
    Stage(384, _flags("010")),
)


class RepDepthwise(nn.Module):
    """Depthwise 3×3 + depthwise 1×1 + identity; names ``conv`` and ``conv1``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, kernel=3, groups=channels)
        self.conv1 = ConvBN(channels, channels, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = self.conv(x) + self.conv1(x) + x
        return y

    def folded(self) -> nn.Conv2d:
        """Return the equivalent depthwise 3×3 convolution."""
        return fold_parallel([self.conv.folded(), self.conv1.folded()], identity=True)


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole image holds (Hu et al. 2018); names ``fc1``, ``fc2``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = (channels // SQUEEZE + SQUEEZE_STEP // 2) // SQUEEZE_STEP * SQUEEZE_STEP
        self.fc1 = nn.Conv2d(channels, reduced, kernel_size=1)
        self.fc2 = nn.Conv2d(reduced, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        weights = x.mean(dim=(2, 3), keepdim=True)
        weights = self.fc2(F.relu(self.fc1(weights)))
        return x * torch.sigmoid(weights)


class ChannelMixer(nn.Module):
    """1×1 – GELU – 1×1 with a skip connection; name ``m``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels * EXPAND
        self.m = nn.Sequential(ConvBN(channels, hidden), nn.GELU(), ConvBN(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = x + self.m(x)
        return y


class RepViTBlock(nn.Module):
    """Mix neighbours, then channels; with a stride also reduce the resolution and widen."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, excite: bool) -> None:
        super().__init__()
        weigh = SqueezeExcite(inputs) if excite else nn.Identity()
        self.token_mixer = (
            nn.Sequential(RepDepthwise(inputs), weigh)
            if stride == 1
            else nn.Sequential(
                ConvBN(inputs, inputs, kernel=3, stride=stride, groups=inputs),
                weigh,
                ConvBN(inputs, outputs),
            )
        )
        self.channel_mixer = ChannelMixer(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.channel_mixer(self.token_mixer(x))
        return y


class FuseEnlarged(nn.Module):
    """1×1 projection of the coarsest map, then bicubic enlargement by 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.op_list = nn.ModuleList([nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2H, 2W)."""
        return F.interpolate(
            self.op_list[0](x), scale_factor=2.0, mode="bicubic", align_corners=False
        )


class RepViT(nn.Module):
    """RepViT-M1 with EdgeSAM's fusion: (B, 3, S, S) -> {"image": (B, 256, S/16, S/16)}."""

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        width = STAGES[0].channels
        blocks: list[nn.Module] = [
            nn.Sequential(
                ConvBN(3, STEM, kernel=3, stride=2),
                nn.GELU(),
                ConvBN(STEM, width, kernel=3, stride=2),
            )
        ]
        for level, stage in enumerate(STAGES):
            if level == len(STAGES) - 1:
                self.fused_at = len(blocks) - 1  # the last block of stride 16
            for index, excite in enumerate(stage.excite):
                stride = 2 if level and index == 0 else 1
                blocks.append(RepViTBlock(width, stage.channels, stride, excite=excite))
                width = stage.channels
        self.features = nn.ModuleList(blocks)
        self.fuse_stage2 = nn.Conv2d(STAGES[-2].channels, embed_dim, kernel_size=1, bias=False)
        self.fuse_stage3 = FuseEnlarged(STAGES[-1].channels, embed_dim)
        self.neck = sam_neck(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, S, S) normalised RGB; S is a multiple of 32."""
        x = x.contiguous(memory_format=torch.channels_last)
        kept = x
        for index, block in enumerate(self.features):
            x = block(x)
            if index == self.fused_at:
                kept = x
        return {"image": self.neck(self.fuse_stage2(kept) + self.fuse_stage3(x))}
