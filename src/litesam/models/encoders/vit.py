"""SAM's vision transformer: ViT-B, ViT-L and ViT-H with windowed and global attention.

Sources: Kirillov et al. 2023, "Segment Anything", Appendix A; Li et al. 2022, "Exploring Plain
Vision Transformer Backbones for Object Detection" (windows, few global blocks); Li et al. 2022,
"MViTv2" (decomposed relative positions). Module names are those of the official checkpoints
(facebookresearch/segment-anything, Apache-2.0), the code is our own.

What differs from the official module, with the same results:

* attention goes through blocks of queries, so that a block of scores stays in the cache: the whole
  score matrix of a global block of ViT-H would take 1 GB, and each pass over it a trip to memory.
  On a CPU this is also quicker than fused attention with the positions as a mask;
* the padding of the windows has the bias as its query, key and value; only real tokens are
  projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import sam_neck

PATCH_PX = 16
WINDOW = 14
MLP_RATIO = 4
NORM_EPS = 1e-6
#: Scores that are worked on at once: near the size of one core's cache, or, on an accelerator, as
#: much as keeps it busy.
_CPU_BLOCK_BYTES = 2 * 2**20
_DEVICE_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class ViTSize:
    """Width, number of blocks and heads, and which blocks see the whole image."""

    channels: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]


VIT_B = ViTSize(768, 12, 12, (2, 5, 8, 11))
VIT_L = ViTSize(1024, 24, 16, (5, 11, 17, 23))
VIT_H = ViTSize(1280, 32, 16, (7, 15, 23, 31))


class PatchEmbed(nn.Module):
    """Projection of 16×16 patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=PATCH_PX, stride=PATCH_PX)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S/16, S/16, C)."""
        patches: Tensor = self.proj(x)
        return patches.permute(0, 2, 3, 1)


class RelativeAttention(nn.Module):
    """Attention on a square grid with learned relative positions, one table for each axis.

    The score of query (y, x) and key (y', x') is ``q·k / sqrt(D) + q·R_h[y - y'] + q·R_w[x - x']``;
    the positions see the query before it is scaled.
    """

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.side = side
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend within each grid; (B, side, side, 3C) -> (B, side, side, C), not yet projected."""
        batch, side, _, width = qkv.shape
        heads, tokens = self.heads, side * side
        # (B, side, side, 3·H·D) -> three of (B·H, N, D)
        q, k, v = (
            part.reshape(batch, tokens, heads, -1).transpose(1, 2).flatten(0, 1)
            for part in qkv.chunk(3, dim=-1)
        )
        grid = torch.unflatten(q, 1, (side, side))  # (B·H, y, x, D)
        offsets = torch.arange(side, device=q.device)
        index = offsets[:, None] - offsets + side - 1  # (side, side)
        # a product for each row of queries, then for each column
        rows = (grid @ self.rel_pos_h[index].transpose(1, 2)).flatten(1, 2)  # (B·H, N, side)
        columns = grid.transpose(1, 2) @ self.rel_pos_w[index].transpose(1, 2)
        columns = columns.transpose(1, 2).flatten(1, 2)
        out = _blockwise_attention(q, k, v, rows, columns)
        # (B·H, N, D) -> (B, side, side, H·D)
        out = torch.unflatten(out, 0, (batch, heads)).transpose(1, 2)
        return out.reshape(batch, side, side, width // 3)


def _blockwise_attention(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Softmax attention with decomposed positions, exact, in blocks of queries.

    Parameters
    ----------
    q, k, v
        (G, N, D), N = side².
    rows, columns
        (G, N, side): what is added to the scores of the keys of each row, and of each column.

    Returns
    -------
    Tensor
        (G, N, D).
    """
    groups, tokens, dim = q.shape
    side = rows.shape[-1]
    budget = _CPU_BLOCK_BYTES * torch.get_num_threads()
    if q.device.type != "cpu":
        budget = _DEVICE_BLOCK_BYTES
    scores_at_once = budget // q.element_size()
    query_step = max(1, min(tokens, scores_at_once // tokens))
    group_step = max(1, scores_at_once // (tokens * query_step))
    scaled = q * dim**-0.5
    keys = k.transpose(1, 2)
    out = torch.empty_like(q)
    for g in range(0, groups, group_step):
        group = slice(g, g + group_step)
        for n in range(0, tokens, query_step):
            block = slice(n, n + query_step)
            scores = scaled[group, block] @ keys[group]  # (g, n, N)
            placed = torch.unflatten(scores, -1, (side, side))
            placed += rows[group, block, :, None]
            placed += columns[group, block, None, :]
            out[group, block] = scores.softmax(dim=-1) @ v[group]
    return out


class MLP(nn.Module):
    """Linear, GELU, linear; checkpoint names ``lin1``, ``lin2``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, MLP_RATIO * channels)
        self.lin2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        y: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return y


class Block(nn.Module):
    """Attention and MLP, each normalised before and with its residual.

    ``window`` 0: attention over the whole grid of ``grid_side``; else within windows.
    """

    def __init__(self, channels: int, heads: int, grid_side: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = RelativeAttention(channels, heads, window or grid_side)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = MLP(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> the same shape."""
        y = self.norm1(x)
        y = self._windowed(y) if self.window else self.attn.attend(self.attn.qkv(y))
        x = x + self.attn.proj(y)
        result: Tensor = x + self.mlp(self.norm2(x))
        return result

    def _windowed(self, x: Tensor) -> Tensor:
        """Attention in windows; the grid is padded with zeros, which take part as upstream."""
        side = self.window
        batch, height, width, _ = x.shape
        qkv: Tensor = self.attn.qkv(x)
        rows, columns = -(-height // side), -(-width // side)
        if (rows * side, columns * side) != (height, width):
            # what a linear layer makes of zeros is its bias
            whole = self.attn.qkv.bias.expand(batch, rows * side, columns * side, -1).clone()
            whole[:, :height, :width] = qkv
            qkv = whole
        # (B, rows·side, columns·side, 3C) -> (B·rows·columns, side, side, 3C)
        windows = torch.unflatten(torch.unflatten(qkv, 1, (rows, side)), 3, (columns, side))
        out = self.attn.attend(windows.transpose(2, 3).flatten(0, 2))
        out = torch.unflatten(out, 0, (batch, rows, columns)).transpose(2, 3)
        return out.reshape(batch, rows * side, columns * side, -1)[:, :height, :width]


class ViT(nn.Module):
    """Vision transformer with SAM's neck.

    Parameters
    ----------
    size
        Width, depth, heads and global blocks.
    grid_side
        Side of the grid of patches; the position tables have this size.
    embed_dim
        Channels of the image embedding.
    """

    def __init__(self, size: ViTSize, grid_side: int = 64, embed_dim: int = 256) -> None:
        super().__init__()
        self.early_block = size.global_blocks[0]
        self.patch_embed = PatchEmbed(size.channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid_side, grid_side, size.channels))
        self.blocks = nn.ModuleList(
            Block(
                size.channels,
                size.heads,
                grid_side,
                window=0 if index in size.global_blocks else WINDOW,
            )
            for index in range(size.depth)
        )
        self.neck = sam_neck(size.channels, embed_dim)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode normalised RGB.

        Parameters
        ----------
        x
            (B, 3, S, S), S = 16 · ``grid_side``.

        Returns
        -------
        dict
            ``"image"`` (B, 256, S/16, S/16), and ``"early"`` (B, C, S/16, S/16): the output of the
            first block that sees the whole image, which the HQ decoder takes its details from.
        """
        x = self.patch_embed(x) + self.pos_embed
        early = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.early_block:
                early = x
        return {"image": self.neck(x.permute(0, 3, 1, 2)), "early": early.permute(0, 3, 1, 2)}
