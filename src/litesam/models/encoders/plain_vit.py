"""Plain vision transformer of EfficientSAM: every block attends over the whole image.

Source: Xiong et al. 2023, "EfficientSAM: Leveraged Masked Image Pretraining for Efficient Segment
Anything", Sec. 3; Dosovitskiy et al. 2021. Module names are those of the official checkpoints
(yformer/EfficientSAM, Apache-2.0), code is our own.

What differs from the official module, with the same results: fused attention, which never holds the
4096 x 4096 scores of a head, and a position table that is enlarged once after loading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import sam_neck

PATCH_PX = 16
MLP_RATIO = 4
NORM_EPS = 1e-6
#: Side of the position table: of pictures of 224 px, those of the pre-training.
TABLE_SIDE = 14


@dataclass(frozen=True, slots=True)
class PlainViTSize:
    """Width, depth and attention heads."""

    channels: int
    depth: int
    heads: int


VIT_TINY = PlainViTSize(192, 12, 3)
VIT_SMALL = PlainViTSize(384, 12, 6)


class PatchEmbed(nn.Module):
    """Non-overlapping patches as tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=PATCH_PX, stride=PATCH_PX)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/16, W/16)."""
        patches: Tensor = self.proj(x)
        return patches


class SelfAttention(nn.Module):
    """Multi-head attention over all tokens."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        # (B, N, 3·H·D) -> three of (B, H, N, D)
        qkv = torch.unflatten(self.qkv(x), -1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        result: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """Attention and MLP, each normalised before and with its residual."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class PlainViT(nn.Module):
    """Vision transformer with SAM's neck.

    Parameters
    ----------
    size
        Width, depth and heads.
    grid_side
        Side of the grid of patches.
    embed_dim
        Channels of the image embedding.

    Notes
    -----
    The position table of the file is enlarged when a state dict is loaded; who changes
    ``pos_embed`` in another way calls `place_positions` afterwards.
    """

    positions: Tensor

    def __init__(self, size: PlainViTSize, grid_side: int = 64, embed_dim: int = 256) -> None:
        super().__init__()
        self.grid_side = grid_side
        self.patch_embed = PatchEmbed(size.channels)
        # One entry per patch of the pre-training after that of its class token, which is unused.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TABLE_SIDE**2, size.channels))
        self.blocks = nn.ModuleList(Block(size.channels, size.heads) for _ in range(size.depth))
        self.neck = sam_neck(size.channels, embed_dim)
        self.register_buffer(
            "positions", torch.zeros(1, grid_side**2, size.channels), persistent=False
        )
        self.register_load_state_dict_post_hook(_place_positions)  # type: ignore[no-untyped-call]

    def place_positions(self) -> None:
        """Enlarge the position table to the grid of patches, bicubically."""
        table = self.pos_embed.detach()[:, 1:]  # (1, N, C)
        side = math.isqrt(table.shape[1])
        table = torch.unflatten(table, 1, (side, side)).permute(0, 3, 1, 2)  # (1, C, side, side)
        if side != self.grid_side:
            table = F.interpolate(
                table, (self.grid_side, self.grid_side), mode="bicubic", align_corners=False
            )
        self.positions = table.flatten(2).transpose(1, 2).contiguous()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode normalised RGB.

        Parameters
        ----------
        x
            (B, 3, S, S), S = 16 · ``grid_side``.

        Returns
        -------
        dict
            ``"image"`` (B, 256, S/16, S/16).
        """
        patches = self.patch_embed(x)  # (B, C, h, w)
        tokens = patches.flatten(2).transpose(1, 2) + self.positions  # (B, h*w, C)
        for block in self.blocks:
            tokens = block(tokens)
        # (B, h*w, C) -> (B, C, h, w), channels-last in memory
        grid = torch.unflatten(tokens, 1, (self.grid_side, self.grid_side)).permute(0, 3, 1, 2)
        return {"image": self.neck(grid)}


def _place_positions(encoder: nn.Module, _incompatible_keys: Any) -> None:
    if isinstance(encoder, PlainViT):
        encoder.place_positions()
