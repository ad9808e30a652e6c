"""TinyViT-5M, the image encoder of MobileSAM.

Sources: Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers";
Zhang et al. 2023, "Faster Segment Anything" (MobileSAM). Module names are those of the official
checkpoint (Apache-2.0), the code is our own.

What differs from the official module, with the same results:

* attention biases are looked up from the parameter at every call; the official module keeps an
  expanded copy that is stale when weights are loaded after ``eval()``;
* for inference convolution and batch normalisation become one convolution (`models.folding`);
* fused attention; (B, H, W, C) tokens, which in channels-last memory are views of the feature maps;
* the sizes follow the input instead of being fixed to 1024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import ConvBN, sam_neck

#: Widths, depths, heads and window sides of the stages of TinyViT-5M as MobileSAM uses it.
DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
MLP_RATIO = 4
#: The stage whose output, patch merging included, is the early feature.
EARLY_STAGE = 1
#: Widths whose patch merging keeps the resolution, so that the embedding stays at stride 16.
KEPT_RESOLUTION = (320, 448, 576)
#: Classes of the pre-training; the classifier is in the checkpoint and is never run.
CLASSES = 1000


class PatchEmbed(nn.Module):
    """Stem: two 3×3 convolutions of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBN(3, channels // 2, kernel=3, stride=2),
            nn.GELU(),
            ConvBN(channels // 2, channels, kernel=3, stride=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, S/4, S/4)."""
        stem: Tensor = self.seq(x)
        return stem


class MBConv(nn.Module):
    """Inverted bottleneck; the last GELU comes after the residual sum."""

    def __init__(self, channels: int, expand: int = 4) -> None:
        super().__init__()
        hidden = channels * expand
        self.conv1 = ConvBN(channels, hidden)
        self.conv2 = ConvBN(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = ConvBN(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class PatchMerging(nn.Module):
    """1×1 – depthwise 3×3 – 1×1; halves the resolution except before wide stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if outputs in KEPT_RESOLUTION else 2
        self.conv1 = ConvBN(inputs, outputs)
        self.conv2 = ConvBN(outputs, outputs, kernel=3, stride=stride, groups=outputs)
        self.conv3 = ConvBN(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        merged: Tensor = self.conv3(y)
        return merged


class ConvStage(nn.Module):
    """First stage: inverted bottlenecks, then patch merging."""

    def __init__(self, channels: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MBConv(channels) for _ in range(depth))
        self.downsample = PatchMerging(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2)."""
        for block in self.blocks:
            x = block(x)
        merged: Tensor = self.downsample(x)
        return merged


class WindowAttention(nn.Module):
    """Attention in a window; one learned bias per head and absolute offset (|dy|, |dx|)."""

    bias_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        # Offsets are numbered in order of first appearance when the window is scanned row by row
        # from its first pixel, which is |dy| * window + |dx|. The index is not part of the
        # checkpoint.
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        side = torch.arange(window)
        y, x = (grid.flatten() for grid in torch.meshgrid(side, side, indexing="ij"))
        index = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()  # (N, N)
        self.register_buffer("bias_index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each window; (B, N, C) -> (B, N, C)."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1))  # (B, N, H, 3, D)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)  # (B, H, N, D) each
        bias = self.attention_biases[:, self.bias_index]  # (H, N, N)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
        projected: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Layer norm, linear, GELU, linear; checkpoint names ``norm``, ``fc1``, ``fc2``."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return y


class TinyViTBlock(nn.Module):
    """Window attention – residual – depthwise 3×3 without residual – MLP – residual."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads, window)
        self.mlp = Mlp(channels, channels * MLP_RATIO)
        self.local_conv = ConvBN(channels, channels, kernel=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        tokens = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        tokens = tokens + self._windowed(tokens)
        x = self.local_conv(tokens.permute(0, 3, 1, 2))
        tokens = x.permute(0, 2, 3, 1)
        result: Tensor = (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)
        return result

    def _windowed(self, x: Tensor) -> Tensor:
        """Attention in windows; the grid is padded with zeros, which take part as upstream."""
        side = self.window
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        # (B, rows*side, columns*side, C) -> (B*rows*columns, side*side, C)
        windows = x.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        windows = self.attn(windows.reshape(-1, side * side, channels))
        windows = windows.reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = windows.reshape(batch, rows * side, columns * side, channels)
        cut: Tensor = x[:, :height, :width]
        return cut


class AttentionStage(nn.Module):
    """TinyViT blocks, then patch merging except in the last stage."""

    def __init__(
        self, channels: int, depth: int, heads: int, window: int, outputs: int | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TinyViTBlock(channels, heads, window) for _ in range(depth))
        self.downsample = None if outputs is None else PatchMerging(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """TinyViT with SAM's neck, with ``embed_dim`` channels of the image embedding."""

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(DIMS[0])
        stages: list[nn.Module] = [ConvStage(DIMS[0], DEPTHS[0], DIMS[1])]
        for index in range(1, len(DIMS)):
            outputs = DIMS[index + 1] if index + 1 < len(DIMS) else None
            stages.append(
                AttentionStage(DIMS[index], DEPTHS[index], HEADS[index], WINDOWS[index], outputs)
            )
        self.layers = nn.ModuleList(stages)
        # Classifier of the pre-training: part of the official file, hence here for strict loading;
        # unused.
        self.norm_head = nn.LayerNorm(DIMS[-1])
        self.head = nn.Linear(DIMS[-1], CLASSES)
        self.neck = sam_neck(DIMS[-1], embed_dim)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode normalised RGB.

        Parameters
        ----------
        x
            (B, 3, S, S); S is a multiple of 16.

        Returns
        -------
        dict
            ``"image"`` (B, 256, S/16, S/16), and ``"early"`` (B, 160, S/16, S/16): the output of
            the second stage with its patch merging, which the light HQ decoder takes its details
            from.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(x)
        early = x
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index == EARLY_STAGE:
                early = x
        return {"image": self.neck(x), "early": early}
