"""MSPM, the multi-scale pooling module of Lite-SAM, and its block with a convolutional MLP.

Source: Fu et al. 2024, "Lite-SAM Is Actually What You Need for Segment Everything" (arXiv
2407.08965), Sec. 3, after PoolFormer (Yu et al. 2022). The paper fixes: multi-scale average pooling
as the token mixer, a convolutional MLP, a skip connection around each. What it leaves open is
decided here, see ``docs/decisions/0003-lite-sam-architecture.md``: windows of 3, 5 and 7, a learned
weight of each window per channel, the identity subtracted as in PoolFormer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultiScalePooling(nn.Module):
    """Weighted sum of average poolings minus the input, as one depthwise convolution.

    A sum of box filters is a box-filter-shaped kernel: the windows are added up into one
    ``max(windows)``-sized depthwise kernel per channel, which is several times faster on a CPU than
    pooling once per window. Pixels outside the image count as zeros.
    """

    boxes: Tensor

    def __init__(self, channels: int, windows: Sequence[int] = (3, 5, 7)) -> None:
        super().__init__()
        side = max(windows)
        boxes = torch.zeros(len(windows) + 1, side, side)
        for box, window in zip(boxes, windows, strict=False):
            margin = (side - window) // 2
            box[margin : side - margin, margin : side - margin] = 1.0 / window**2
        boxes[-1, side // 2, side // 2] = -1.0
        self.register_buffer("boxes", boxes, persistent=False)
        initial = torch.full((channels, len(windows) + 1), 1.0 / len(windows))
        initial[:, -1] = 1.0
        self.weight = nn.Parameter(initial)
        self.padding = side // 2

    def forward(self, x: Tensor) -> Tensor:
        """Mix the neighbourhood of every pixel of (B, C, h, w)."""
        kernel = torch.tensordot(self.weight, self.boxes, dims=1)[:, None]  # (C, 1, k, k)
        if x.is_cpu and torch.is_autocast_enabled("cpu"):
            # On a CPU the gradient of such a convolution takes three times as long in bfloat16.
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), kernel.float(), padding=self.padding, groups=x.shape[1])
        return F.conv2d(x, kernel, padding=self.padding, groups=x.shape[1])


class ConvMLP(nn.Module):
    """1×1 expansion, depthwise 3×3, GELU, 1×1 projection."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = nn.Conv2d(channels, hidden, kernel_size=1)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.project = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        result: Tensor = self.project(self.act(self.depthwise(self.expand(x))))
        return result


class PoolingBlock(nn.Module):
    """``x + MSPM(norm(x))``, then ``x + ConvMLP(norm(x))``, each with a learned scale per channel.

    The norm is a batch norm: normalising each pixel by itself would throw away how bright it is,
    which in microscopy is most of what a pixel says.
    """

    def __init__(self, channels: int, ratio: float = 3.0) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.mixer = MultiScalePooling(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = ConvMLP(channels, ratio)
        self.scale1 = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.scale2 = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        x = x + self.scale1 * self.mixer(self.norm1(x))
        result: Tensor = x + self.scale2 * self.mlp(self.norm2(x))
        return result
