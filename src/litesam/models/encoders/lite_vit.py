"""LiteViT, the image encoder of Lite-SAM: a PoolFormer-S12 descendant of 1.16 M parameters.

Source: Fu et al. 2024 (arXiv 2407.08965), Sec. 3: MSPM + convolutional MLP in every stage, patch
merging between stages, 1×1 + LN neck, 1.16 M parameters. Open details are decided in
``docs/decisions/0003-lite-sam-architecture.md``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import LayerNorm2d
from litesam.models.pooling_mixer import PoolingBlock

if TYPE_CHECKING:
    from collections.abc import Sequence


class LocalContrast(nn.Module):
    """Add channels that say how each pixel differs from its surroundings.

    Microscopy images differ most in their overall brightness and least in the contrast between an
    object and what is around it. Each added channel is ``(grey - mean) / (std + floor)`` with mean
    and standard deviation of about three ``cells`` around the pixel. There is nothing to learn in
    it.
    """

    def __init__(self, cells: Sequence[int] = (8, 32), floor: float = 0.05) -> None:
        super().__init__()
        self.cells = tuple(cells)
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> (B, 3 + len(cells), S, S)."""
        grey = x.mean(dim=1, keepdim=True)
        size = grey.shape[-2:]
        moments = torch.cat((grey, grey * grey), dim=1)
        channels = [x]
        for cell in self.cells:
            # Means of cells, smoothed over 3×3 cells and interpolated: a cheap wide window.
            local = F.avg_pool2d(moments, cell)
            local = F.avg_pool2d(local, 3, stride=1, padding=1, count_include_pad=False)
            local = F.interpolate(local, size, mode="bilinear", align_corners=False)
            mean, square = local.unbind(dim=1)
            deviation = (square - mean * mean).clamp(min=0.0).sqrt() + self.floor
            channels.append(((grey[:, 0] - mean) / deviation)[:, None])
        return torch.cat(channels, dim=1)


class LiteViT(nn.Module):
    """Four stages of pooling blocks at strides 4, 8, 16 and 32, fused at stride 8.

    Parameters
    ----------
    dims, depths
        Channels and number of blocks of each stage.
    ratio
        Expansion of the convolutional MLPs.
    embed_dim
        Channels of the embedding.
    """

    def __init__(
        self,
        dims: Sequence[int] = (32, 64, 96, 192),
        depths: Sequence[int] = (2, 2, 6, 2),
        ratio: float = 3.0,
        embed_dim: int = 256,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            LocalContrast(),
            nn.Conv2d(5, 24, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.GELU(),
            nn.Conv2d(24, dims[0], kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(dims[0]),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(PoolingBlock(dim, ratio) for _ in range(depth)))
            for dim, depth in zip(dims, depths, strict=True)
        )
        # The first two mergings see a 3×3 neighbourhood; the last, widest one a 2×2 patch.
        self.merges = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1)
                if index < len(dims) - 2
                else nn.Conv2d(a, b, kernel_size=2, stride=2),
                nn.BatchNorm2d(b),
            )
            for index, (a, b) in enumerate(pairwise(dims))
        )
        # Stride 4 enters as 2×2 patches, so that the embedding keeps sub-cell detail for the mask
        # decoder.
        self.laterals = nn.ModuleList(
            nn.Conv2d(4 * dim if level == 0 else dim, embed_dim, kernel_size=1, bias=level == 0)
            for level, dim in enumerate(dims)
        )
        self.centre = nn.BatchNorm2d(embed_dim)
        self.norm = LayerNorm2d(embed_dim)

    def early(self, x: Tensor) -> Tensor:
        """First layer, and the local contrast that it sees: (B, 3, S, S) -> (B, 32, S/2, S/2).

        The contrasts (two) of four pixels share a place of the result.
        """
        pixels: Tensor = self.stem[0](x)
        first: Tensor = self.stem[1:4](pixels)  # convolution, norm, activation
        contrast = F.pixel_unshuffle(pixels[:, x.shape[1] :], 2)
        return torch.cat((first, contrast), dim=1).contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Encode (B, 3, S, S) as (B, C, S/8, S/8)."""
        x = self.stem(x)
        embedding: Tensor | None = None
        for level, stage in enumerate(self.stages):
            if level:
                x = self.merges[level - 1](x)
            x = stage(x)
            lateral = self.laterals[level](F.pixel_unshuffle(x, 2) if level == 0 else x)
            if level >= 2:
                lateral = F.interpolate(
                    lateral, scale_factor=2 ** (level - 1), mode="bilinear", align_corners=False
                )
            embedding = lateral if embedding is None else embedding + lateral
        normed: Tensor = self.norm(self.centre(embedding))
        return normed
