"""One-stage instance segmentation network of FastSAM: boxes, confidences, mask coefficients and
prototypes in one pass.

Written from the names and shapes of the tensors in the published files, from reference outputs and
from the papers below; no code of FastSAM or of the detector that it builds on was used.

* The whole: Zhao et al. 2023, "Fast Segment Anything", Sec. 3.2 (a YOLOv8-seg network).
* Split-and-merge blocks: Wang et al. 2020, "CSPNet"; pyramid pooling: He et al. 2015, "SPP-net",
  as a cascade of equal pools; the two-way pyramid: Liu et al. 2018, "PANet".
* Boxes as expected distances over bins: Li et al. 2020, "Generalized Focal Loss", Sec. 3.2.
* Masks as sums of prototypes: Bolya et al. 2019, "YOLACT", Sec. 3.

Parameter names are those of the published files (``model.N.…``), hence short ones such as cv1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.folding import fold_conv_bn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.types import ModelSpec

#: Pixels per cell of the three levels.
STRIDES = (8, 16, 32)
#: Not PyTorch's default: the published statistics belong to it.
_EPS = 1e-3
_PYRAMID_POOL = 5


@dataclass(frozen=True, slots=True)
class YoloShape:
    """Sizes of one variant.

    Attributes
    ----------
    stem, widths
        Channels of the stem, and of the stages at strides 4, 8, 16 and 32.
    depths
        Residual units of the same stages.
    neck_depth
        Units of each block of the pyramid.
    bins
        Bins of each distance from a cell to a side of its box.
    box_width, score_width, coefficient_width
        Channels inside the three branches of the head.
    coefficients
        Number of mask coefficients and of prototypes.
    prototypes
        Whether there is the branch of prototypes; a pure detector has none.
    """

    stem: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    neck_depth: int
    bins: int
    box_width: int
    score_width: int
    coefficient_width: int
    coefficients: int = 32
    prototypes: bool = True


#: FastSAM-s and FastSAM-x.
SMALL = YoloShape(32, (64, 128, 256, 512), (1, 2, 2, 1), 1, 16, 64, 128, 32)
LARGE = YoloShape(80, (160, 320, 640, 640), (3, 6, 6, 3), 3, 26, 104, 320, 80)


@dataclass(frozen=True, slots=True)
class RawInstances:
    """What the network says about every cell, before anything is chosen.

    Attributes
    ----------
    levels
        Head outputs of the three strides, (B, 4 * bins + 1, h, w): distances, then the logit.
    boxes
        (B, A, 4) corners (x0, y0, x1, y1), input pixels; cells of stride 8, 16, 32, row by row.
    scores
        (B, A) in [0, 1].
    coefficients
        (B, A, K).
    prototypes
        (B, K, H / 4, W / 4), or None for a pure detector.
    """

    levels: tuple[Tensor, ...]
    boxes: Tensor
    scores: Tensor
    coefficients: Tensor
    prototypes: Tensor | None


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C, H / stride, W / stride)."""
        return F.silu(self.bn(self.conv(x)), inplace=True)

    def folded(self) -> nn.Module:
        """Return the same with the normalisation inside the convolution."""
        return nn.Sequential(fold_conv_bn(self.conv, self.bn), nn.SiLU(inplace=True))


class _Unit(nn.Module):
    """Two 3×3 convolutions, with or without a skip connection."""

    def __init__(self, channels: int, skip: bool) -> None:
        super().__init__()
        self.cv1 = ConvUnit(channels, channels, 3)
        self.cv2 = ConvUnit(channels, channels, 3)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.skip else y


class _SplitMerge(nn.Module):
    """Half of the channels go through units in a row; both halves and all units are merged."""

    def __init__(self, channels_in: int, channels: int, depth: int, *, skip: bool) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = ConvUnit(channels_in, 2 * half)
        self.cv2 = ConvUnit((2 + depth) * half, channels)
        self.m = nn.ModuleList(_Unit(half, skip) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, dim=1))
        for unit in self.m:
            parts.append(unit(parts[-1]))
        merged: Tensor = self.cv2(torch.cat(parts, dim=1))
        return merged


class _PyramidPooling(nn.Module):
    """The input beside three pools of growing size, each the pool of the one before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = ConvUnit(channels, half)
        self.cv2 = ConvUnit(4 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], _PYRAMID_POOL, 1, _PYRAMID_POOL // 2))
        merged: Tensor = self.cv2(torch.cat(parts, dim=1))
        return merged


class _Expectation(nn.Module):
    """Expected bin of a distribution over bins; the weights are the bins' values 0, 1, 2 …"""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float32).reshape(1, bins, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, bins, 4, A) logits → (B, 4, A) in units of a cell."""
        expected: Tensor = self.conv(x.softmax(dim=1))
        return expected[:, 0]


class _Prototypes(nn.Module):
    """The finest level, enlarged twice, as K prototype masks."""

    def __init__(self, channels: int, width: int, count: int) -> None:
        super().__init__()
        self.cv1 = ConvUnit(channels, width, 3)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.cv2 = ConvUnit(width, width, 3)
        self.cv3 = ConvUnit(width, count)

    def forward(self, x: Tensor) -> Tensor:
        prototypes: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return prototypes


def _branch(channels: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        ConvUnit(channels, width, 3), ConvUnit(width, width, 3), nn.Conv2d(width, out, 1)
    )


class _Head(nn.Module):
    """Three branches on each of the three levels, and the prototypes."""

    def __init__(self, shape: YoloShape) -> None:
        super().__init__()
        channels = shape.widths[1:]
        self.bins = shape.bins
        self.cv2 = nn.ModuleList(_branch(c, shape.box_width, 4 * shape.bins) for c in channels)
        self.cv3 = nn.ModuleList(_branch(c, shape.score_width, 1) for c in channels)
        self.dfl = _Expectation(shape.bins)
        if shape.prototypes:
            self.proto = _Prototypes(channels[0], shape.widths[1], shape.coefficients)
        self.cv4 = nn.ModuleList(
            _branch(c, shape.coefficient_width, shape.coefficients) for c in channels
        )

    def forward(self, features: tuple[Tensor, ...]) -> RawInstances:
        levels = tuple(
            torch.cat((box(x), score(x)), dim=1)
            for x, box, score in zip(features, self.cv2, self.cv3, strict=True)
        )
        coefficients = [branch(x).flatten(2) for x, branch in zip(features, self.cv4, strict=True)]
        cells = torch.cat([level.flatten(2) for level in levels], dim=2)  # (B, 4 * bins + 1, A)
        batch, _, count = cells.shape
        distances = cells[:, :-1].reshape(batch, 4, self.bins, count).transpose(1, 2)
        return RawInstances(
            levels=levels,
            boxes=_boxes(self.dfl(distances), levels),
            scores=cells[:, -1].sigmoid(),
            coefficients=torch.cat(coefficients, dim=2).transpose(1, 2),
            prototypes=self.proto(features[0]) if hasattr(self, "proto") else None,
        )


def _boxes(distances: Tensor, levels: tuple[Tensor, ...]) -> Tensor:
    """(B, 4, A) distances left, top, right, bottom in cells → (B, A, 4) corners in input pixels."""
    centres, strides = [], []
    for level, stride in zip(levels, STRIDES, strict=True):
        height, width = level.shape[2:]
        y = torch.arange(height, device=level.device, dtype=level.dtype) + 0.5
        x = torch.arange(width, device=level.device, dtype=level.dtype) + 0.5
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)  # (2, h * w): x, y
        centres.append(grid)
        strides.append(torch.full_like(grid[0], float(stride)))
    centre, stride_ = torch.cat(centres, dim=1), torch.cat(strides)
    low, high = centre - distances[:, :2], centre + distances[:, 2:]
    return (torch.cat((low, high), dim=1) * stride_).transpose(1, 2)


class YoloSeg(nn.Module):
    """The network: a backbone of five stages, a two-way pyramid, and the head.

    The numbers are the places in the published files; those without parameters are left out.
    """

    def __init__(self, shape: YoloShape) -> None:
        super().__init__()
        self.shape = shape
        c2, c3, c4, c5 = shape.widths
        d2, d3, d4, d5 = shape.depths
        n = shape.neck_depth
        blocks: dict[int, nn.Module] = {
            0: ConvUnit(3, shape.stem, 3, 2),
            1: ConvUnit(shape.stem, c2, 3, 2),
            2: _SplitMerge(c2, c2, d2, skip=True),
            3: ConvUnit(c2, c3, 3, 2),
            4: _SplitMerge(c3, c3, d3, skip=True),
            5: ConvUnit(c3, c4, 3, 2),
            6: _SplitMerge(c4, c4, d4, skip=True),
            7: ConvUnit(c4, c5, 3, 2),
            8: _SplitMerge(c5, c5, d5, skip=True),
            9: _PyramidPooling(c5),
            12: _SplitMerge(c5 + c4, c4, n, skip=False),
            15: _SplitMerge(c4 + c3, c3, n, skip=False),
            16: ConvUnit(c3, c3, 3, 2),
            18: _SplitMerge(c3 + c4, c4, n, skip=False),
            19: ConvUnit(c4, c4, 3, 2),
            21: _SplitMerge(c4 + c5, c5, n, skip=False),
            22: _Head(shape),
        }
        self.model = nn.ModuleDict({str(number): block for number, block in blocks.items()})

    def forward(self, x: Tensor) -> RawInstances:
        """Look at a batch of images.

        Parameters
        ----------
        x
            (B, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
        """
        at = self.model
        x3 = at["4"](at["3"](at["2"](at["1"](at["0"](x)))))  # stride 8
        x4 = at["6"](at["5"](x3))  # stride 16
        x5 = at["9"](at["8"](at["7"](x4)))  # stride 32
        # down the pyramid, from coarse to fine …
        p4 = at["12"](torch.cat((_enlarged(x5), x4), dim=1))
        p3 = at["15"](torch.cat((_enlarged(p4), x3), dim=1))
        # … and up again
        p4 = at["18"](torch.cat((at["16"](p3), p4), dim=1))
        p5 = at["21"](torch.cat((at["19"](p4), x5), dim=1))
        raw: RawInstances = at["22"]((p3, p4, p5))
        return raw


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


# ----------------------------------------------------------------------------------------- building


def build_s(spec: ModelSpec) -> YoloSeg:
    """Build the network of FastSAM-s."""
    return YoloSeg(SMALL)


def build_x(spec: ModelSpec) -> YoloSeg:
    """Build the network of FastSAM-x."""
    return YoloSeg(LARGE)


def shape_of(state: Mapping[str, Tensor]) -> YoloShape:
    """Return the sizes that the tensors of a file tell, whatever the variant.

    Raises
    ------
    KeyError
        If they are not those of such a network.
    """

    def width(name: str) -> int:
        return int(state[f"model.{name}.weight"].shape[0])

    def depth(stage: int) -> int:
        found = (re.match(rf"model\.{stage}\.m\.(\d+)\.", name) for name in state)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    return YoloShape(
        stem=width("0.conv"),
        widths=(width("1.conv"), width("3.conv"), width("5.conv"), width("7.conv")),
        depths=(depth(2), depth(4), depth(6), depth(8)),
        neck_depth=depth(12),
        bins=int(state["model.22.dfl.conv.weight"].shape[1]),
        box_width=width("22.cv2.0.0.conv"),
        score_width=width("22.cv3.0.0.conv"),
        coefficient_width=width("22.cv4.0.0.conv"),
        coefficients=width("22.cv4.0.2"),
        prototypes="model.22.proto.cv1.conv.weight" in state,
    )
