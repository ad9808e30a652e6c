"""Small layers that several networks share."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.folding import fold_conv_bn


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, h, w); no copy of channels-last memory."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel's channels."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with ReLU between them; names as in SAM's decoder (``layers.N``)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        last: Tensor = self.layers[-1](x)
        return last


class ConvBN(nn.Module):
    """Convolution without bias + batch normalisation; checkpoint names ``c`` and ``bn``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise (B, C, H, W)."""
        normalised: Tensor = self.bn(self.c(x))
        return normalised

    def folded(self) -> nn.Conv2d:
        """Return the equivalent single convolution."""
        return fold_conv_bn(self.c, self.bn)


def sam_neck(channels: int, embed_dim: int) -> nn.Sequential:
    """Return the neck of SAM's encoders: 1×1, 3×3, each normalised; names ``0`` to ``3``."""
    return nn.Sequential(
        nn.Conv2d(channels, embed_dim, kernel_size=1, bias=False),
        LayerNorm2d(embed_dim),
        nn.Conv2d(embed_dim, embed_dim, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(embed_dim),
    )
