"""EfficientViT-L and -XL with the neck of EfficientViT-SAM: convolutions and linear attention.

Sources: Cai et al. 2023, "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense
Prediction" (arXiv 2205.14756); Zhang et al. 2024, "EfficientViT-SAM: Accelerated Segment Anything
Model Without Accuracy Loss" (arXiv 2402.05008). Module names are those of the official checkpoints
(Apache-2.0), the code is our own.

Every normalisation has eps 1e-6, batch normalisation included. The attention is computed in
float32 whatever the type of the network: its sums over all pixels overflow in half precision. The
activation is GELU in its tanh form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.folding import fold_conv_bn
from litesam.models.layers import LayerNorm2d

if TYPE_CHECKING:
    from collections.abc import Iterable

#: eps of every normalisation of this family, the mask decoder's included.
NORM_EPS = 1e-6
#: eps of the normaliser of the linear attention.
ATTENTION_EPS = 1e-15
HEAD_DIM = 32
#: A stage's first block widens its hidden layer by this factor more than its other blocks.
FIRST_BLOCK_EXPAND = 4


@dataclass(frozen=True)
class EfficientViTConfig:
    """What differs between the sizes.

    Attributes
    ----------
    widths, depths
        Channels of each stage and its blocks behind the one that reduces the resolution.
    blocks
        Kind of each stage's blocks: "res", "fused" (3×3 – 1×1), "mb" (1×1 – depthwise 3×3 – 1×1) or
        "att" (linear attention, then "mb").
    expand
        Width of the hidden layer of each stage's blocks, relative to the stage.
    aggregation
        Kernel of the depthwise convolution in front of the second scale of the attention.
    neck_depth, neck_expand
        Fused blocks of the neck.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    blocks: tuple[str, ...]
    expand: tuple[int, ...]
    aggregation: int
    neck_depth: int
    neck_expand: int


def _large(depths: tuple[int, ...], neck_depth: int) -> EfficientViTConfig:
    return EfficientViTConfig(
        widths=(32, 64, 128, 256, 512),
        depths=depths,
        blocks=("res", "fused", "fused", "mb", "att"),
        expand=(1, 4, 4, 4, 6),
        aggregation=5,
        neck_depth=neck_depth,
        neck_expand=1,
    )


def _extra_large(depths: tuple[int, ...], neck_depth: int) -> EfficientViTConfig:
    return EfficientViTConfig(
        widths=(32, 64, 128, 256, 512, 1024),
        depths=depths,
        blocks=("res", "fused", "fused", "fused", "att", "att"),
        expand=(1, 4, 4, 4, 4, 6),
        aggregation=3,
        neck_depth=neck_depth,
        neck_expand=4,
    )


CONFIGS = {
    "l0": _large((1, 1, 1, 4, 4), 4),
    "l1": _large((1, 1, 1, 6, 6), 8),
    "l2": _large((1, 2, 2, 8, 8), 12),
    "xl0": _extra_large((0, 1, 1, 2, 3, 3), 6),
    "xl1": _extra_large((1, 2, 2, 4, 6, 6), 12),
}


class ConvLayer(nn.Module):
    """Convolution, batch normalisation, GELU; the last two as asked; names ``conv``, ``norm``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        norm: bool = True,
        bias: bool = False,
        act: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPS) if norm else None
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return F.gelu(x, approximate="tanh") if self.act else x

    def folded(self) -> nn.Module:
        """Return the same without batch normalisation."""
        if self.norm is None:
            return self
        conv = fold_conv_bn(self.conv, self.norm)
        return nn.Sequential(conv, nn.GELU(approximate="tanh")) if self.act else conv


class ResBlock(nn.Module):
    """Two 3×3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, kernel=3, act=True)
        self.conv2 = ConvLayer(channels, channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = self.conv2(self.conv1(x))
        return y


class FusedMBConv(nn.Module):
    """3×3 expansion, 1×1 projection."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int = 1) -> None:
        super().__init__()
        hidden = inputs * expand
        self.spatial_conv = ConvLayer(inputs, hidden, kernel=3, stride=stride, act=True)
        self.point_conv = ConvLayer(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.point_conv(self.spatial_conv(x))
        return y


class MBConv(nn.Module):
    """1×1 expansion, depthwise 3×3, 1×1 projection; only the last has a normalisation."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int = 1) -> None:
        super().__init__()
        hidden = inputs * expand
        self.inverted_conv = ConvLayer(inputs, hidden, norm=False, bias=True, act=True)
        self.depth_conv = ConvLayer(
            hidden, hidden, kernel=3, stride=stride, groups=hidden, norm=False, bias=True, act=True
        )
        self.point_conv = ConvLayer(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.point_conv(self.depth_conv(self.inverted_conv(x)))
        return y


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ReLU attention in time linear in the pixels.

    With non-negative q and k the scores factor: ``(q k^T) v = q (k^T v)``, and the normaliser is
    ``q`` times the sum of ``k`` (Cai et al. 2023, Eq. 2 and 3).

    Parameters
    ----------
    q, k, v
        (B, G, N, D) float32; q and k >= 0.

    Returns
    -------
    Tensor
        (B, G, N, D).
    """
    keys = k.transpose(-1, -2)  # (B, G, D, N)
    normaliser = q @ keys.sum(dim=-1, keepdim=True)  # (B, G, N, 1)
    return (q @ (keys @ v)) / (normaliser + ATTENTION_EPS)


def quadratic_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute `linear_attention` through the (N, N) scores; cheaper where N <= D."""
    scores = q @ k.transpose(-1, -2)  # (B, G, N, N)
    scores = scores / (scores.sum(dim=-1, keepdim=True) + ATTENTION_EPS)
    return scores @ v


class LiteMLA(nn.Module):
    """Multi-scale linear attention: heads on the projections and on their local aggregation."""

    def __init__(self, channels: int, aggregation: int) -> None:
        super().__init__()
        heads = channels // HEAD_DIM
        self.qkv = ConvLayer(channels, 3 * channels, norm=False)
        self.aggreg = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(
                        3 * channels,
                        3 * channels,
                        aggregation,
                        padding=aggregation // 2,
                        groups=3 * channels,
                        bias=False,
                    ),
                    nn.Conv2d(3 * channels, 3 * channels, 1, groups=3 * heads, bias=False),
                )
            ]
        )
        self.proj = ConvLayer(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        height, width = x.shape[-2:]
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, *(scale(qkv) for scale in self.aggreg)], dim=1)
        # In channels-last memory: (B, 6C, H, W) -> (B, N, 2C/D, 3D) without a copy; per head the
        # channels are query, key, value.
        exact = torch.promote_types(x.dtype, torch.float32)  # never less
        tokens = qkv.permute(0, 2, 3, 1).flatten(1, 2).to(exact)
        per_head = torch.unflatten(tokens, -1, (-1, 3 * HEAD_DIM)).transpose(1, 2)  # (B, G, N, 3D)
        q, k, v = per_head.chunk(3, dim=-1)
        attend = linear_attention if height * width > HEAD_DIM else quadratic_attention
        y = attend(q.relu(), k.relu(), v)
        y = y.transpose(1, 2).flatten(2).to(x.dtype)  # (B, N, 2C)
        projected: Tensor = self.proj(torch.unflatten(y, 1, (height, width)).permute(0, 3, 1, 2))
        return projected


class Residual(nn.Module):
    """``x + main(x)``."""

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = x + self.main(x)
        return y


class Direct(nn.Module):
    """``main(x)``: the first block of a stage, under the same names as its other blocks."""

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2)."""
        y: Tensor = self.main(x)
        return y


class AttentionBlock(nn.Module):
    """Multi-scale linear attention, then a convolutional block, each with a skip connection."""

    def __init__(self, channels: int, expand: int, aggregation: int) -> None:
        super().__init__()
        self.context_module = Residual(LiteMLA(channels, aggregation))
        self.local_module = Residual(MBConv(channels, channels, expand))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = self.local_module(self.context_module(x))
        return y


class OpSequential(nn.Module):
    """Modules in a row, under the name ``op_list`` of the checkpoints."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Apply one after the other."""
        for module in self.op_list:
            x = module(x)
        return x


def _block(kind: str, channels: int, expand: int, aggregation: int) -> nn.Module:
    """One block that keeps the resolution."""
    if kind == "att":
        return AttentionBlock(channels, expand, aggregation)
    if kind == "res":
        return Residual(ResBlock(channels))
    block = FusedMBConv if kind == "fused" else MBConv
    return Residual(block(channels, channels, expand))


class Backbone(nn.Module):
    """Stages at strides 2, 4, 8 …; returns the output of the last three."""

    def __init__(self, config: EfficientViTConfig) -> None:
        super().__init__()
        stages = []
        inputs = 3
        for width, depth, kind, expand in zip(
            config.widths, config.depths, config.blocks, config.expand, strict=True
        ):
            first: nn.Module
            if kind == "res":
                first = ConvLayer(inputs, width, kernel=3, stride=2, act=True)
            else:
                block = FusedMBConv if kind == "fused" else MBConv
                first = Direct(block(inputs, width, expand * FIRST_BLOCK_EXPAND, stride=2))
            others = (_block(kind, width, expand, config.aggregation) for _ in range(depth))
            stages.append(OpSequential([first, *others]))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> the last three maps, coarsest first."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[:-4:-1]


class Neck(nn.Module):
    """Three maps, projected, enlarged bicubically and added; then fused blocks.

    Parameters
    ----------
    inputs
        Channels of the maps, coarsest first.
    outputs
        Channels of the embedding.
    depth, expand
        Fused blocks.
    grid_side
        Side of the embedding.
    """

    def __init__(
        self, inputs: tuple[int, ...], outputs: int, depth: int, expand: int, grid_side: int
    ) -> None:
        super().__init__()
        self.input_ops = nn.ModuleList(OpSequential([ConvLayer(n, outputs)]) for n in inputs)
        self.middle = OpSequential(
            Residual(FusedMBConv(outputs, outputs, expand)) for _ in range(depth)
        )
        self.output_ops = nn.ModuleList(
            [OpSequential([ConvLayer(outputs, outputs, norm=False, bias=True)])]
        )
        self.grid_side = grid_side

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuse the maps to (B, C, grid, grid)."""
        size = (self.grid_side, self.grid_side)
        total: Tensor | None = None
        for project, features in zip(self.input_ops, maps, strict=True):
            x = project(features)
            if x.shape[-2:] != size:
                x = F.interpolate(x, size, mode="bicubic", align_corners=False)
            total = x if total is None else total + x
        fused: Tensor = self.output_ops[0](self.middle(total))
        return fused


class EfficientViT(nn.Module):
    """Encoder of EfficientViT-SAM: (B, 3, S, S) -> {"image": (B, embed_dim, grid, grid)}."""

    def __init__(
        self, config: EfficientViTConfig, embed_dim: int = 256, grid_side: int = 64
    ) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.neck = Neck(
            config.widths[:-4:-1], embed_dim, config.neck_depth, config.neck_expand, grid_side
        )
        self.norm = LayerNorm2d(embed_dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, S, S) normalised RGB; S is a multiple of the coarsest stride."""
        x = x.contiguous(memory_format=torch.channels_last)
        return {"image": self.norm(self.neck(self.backbone(x)))}
