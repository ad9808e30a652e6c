"""Lite-SAM's prompt encoder: SAM's tokens, and the same prompts drawn as maps.

In SAM a click reaches the image only through attention between its token and the positional
encoding. A small decoder that is trained for hours, not weeks, finds the place of a prompt much
sooner when it is also drawn where it is, as networks for interactive segmentation do (clicks as
discs: Sofiiuk et al. 2022, "Reviving Iterative Training with Mask Guidance"). So the dense prompt
of SAM, which carries an earlier mask, gets three more channels: clicks on the object, clicks beside
it, and the box. ``docs/decisions/0003-lite-sam-architecture.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import LayerNorm2d
from litesam.models.prompt_encoder import PromptEncoder
from litesam.types import OUTSIDE_LOGIT

if TYPE_CHECKING:
    from litesam.types import IntArray

#: Radius (standard deviation) of a drawn click, pixels of the logits.
CLICK_SIGMA = 2.5
#: Less than this of a click's curve is nothing, so that no product of two is subnormal, which would
#: slow all that follows.
_FAINTEST = 1e-15
#: Earlier logits are divided by this and cut to [-1, 1].
LOGIT_RANGE = 8.0
#: What the logits lose for each side of a given box that a pixel lies outside of it.
FADE_PER_SIDE = 30.0


@dataclass(frozen=True, slots=True)
class WindowPrompts:
    """Prompts of P objects as tensors in model pixels.

    Attributes
    ----------
    points
        (P, N, 2) (x, y), or None.
    labels
        (P, N) 1 foreground, 0 background, -1 padding.
    boxes
        (P, 4) (x0, y0, x1, y1), or None.
    mask_logits
        (P, s, s) earlier logits cut to the windows, or None.
    binding
        Whether objects end at their boxes.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    mask_logits: Tensor | None = None
    binding: bool = False

    def __len__(self) -> int:
        for part in (self.points, self.boxes, self.mask_logits):
            if part is not None:
                return part.shape[0]
        return 0

    def take(self, rows: IntArray) -> WindowPrompts:
        """Prompts of some of the objects."""
        parts = (self.points, self.labels, self.boxes, self.mask_logits)
        index = torch.from_numpy(rows)
        points, labels, boxes, masks = (p if p is None else p[index.to(p.device)] for p in parts)
        return WindowPrompts(points, labels, boxes, masks, self.binding)

    def in_order(self, number: int) -> WindowPrompts:
        """Prompts with ``number`` clicks each: without padding, and the first one on the object
        before all others.
        """
        points, labels = self.points, self.labels
        assert points is not None
        assert labels is not None
        on = labels == 1
        first = on & (on.cumsum(dim=1) == 1)
        rank = torch.where(first, 0, torch.where(labels == -1, 2, 1))
        order = rank.argsort(dim=1, stable=True)[:, :number]
        points = points.gather(1, order[..., None].expand(-1, -1, 2))
        return replace(self, points=points, labels=labels.gather(1, order))


class MapPromptEncoder(PromptEncoder):
    """SAM's prompt encoder with four map channels: earlier logits, foreground, background, box."""

    def __init__(
        self,
        embed_dim: int = 256,
        input_px: int = 512,
        grid_side: int = 64,
        mask_channels: int = 32,
    ) -> None:
        super().__init__(embed_dim, input_px, grid_side, mask_channels)
        self.mask_downscaling[0] = nn.Conv2d(4, mask_channels // 4, kernel_size=2, stride=2)
        self.mask_downscaling[1] = LayerNorm2d(mask_channels // 4)

    def dense_windows(self, prompts: WindowPrompts, corners: Tensor, side: int) -> Tensor:
        """Draw prompts into windows of the logits and embed them.

        Parameters
        ----------
        prompts
            P prompts.
        corners
            (P, 2) model pixel (x, y) of each window's top-left.
        side
            Side s of the windows, pixels of the logits.

        Returns
        -------
        Tensor
            (P, C, s / 4, s / 4).
        """
        scale = self.input_px // self.mask_side
        # Centre of pixel i of the window, model pixels: corner + i * scale + (scale - 1) / 2.
        steps = torch.arange(side, device=corners.device) * scale + (scale - 1) / 2
        x = corners[:, 0, None] + steps  # (P, s)
        y = corners[:, 1, None] + steps
        maps = torch.zeros(len(prompts), 4, side, side, device=corners.device)
        if prompts.mask_logits is not None:
            maps[:, 0] = (prompts.mask_logits / LOGIT_RANGE).clamp(-1.0, 1.0)
        if prompts.points is not None and prompts.labels is not None:
            # exp(-(dx² + dy²) / 2σ²) is a product, so a click is an outer product of two curves.
            across = _bell(x[:, None] - prompts.points[..., :1], CLICK_SIGMA * scale)  # (P, N, s)
            down = _bell(y[:, None] - prompts.points[..., 1:], CLICK_SIGMA * scale)
            for channel, label in ((1, 1), (2, 0)):
                chosen = (prompts.labels == label)[..., None]
                maps[:, channel] = ((down * chosen).transpose(1, 2) @ across).clamp(max=1.0)
        if prompts.boxes is not None:
            x0, y0, x1, y1 = prompts.boxes[:, :, None].unbind(1)  # (P, 1)
            inside_x = ((x - x0) / scale + 0.5).clamp(0, 1) * ((x1 - x) / scale + 0.5).clamp(0, 1)
            inside_y = ((y - y0) / scale + 0.5).clamp(0, 1) * ((y1 - y) / scale + 0.5).clamp(0, 1)
            maps[:, 3] = inside_y[:, :, None] * inside_x[:, None, :]
        embedded: Tensor = self.mask_downscaling(maps)
        return embedded


def _bell(distance: Tensor, sigma: float) -> Tensor:
    return F.threshold(torch.exp(-(distance**2) / (2.0 * sigma**2)), _FAINTEST, 0.0)


def boxes_of_masks(logits: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """Boxes of masks, and which masks are empty.

    Parameters
    ----------
    logits
        (P, h, w).
    pixel
        Model pixels per pixel of the logits.

    Returns
    -------
    tuple
        Boxes (P, 4) (x0, y0, x1, y1), model pixels from the top left of the logits, and (P,) bool.
    """
    positive = logits > 0
    edges = []
    for axis in (1, 2):  # columns for x, rows for y
        line = positive.any(dim=axis)
        first = line.float().argmax(dim=1)
        last = line.shape[1] - line.flip(1).float().argmax(dim=1)
        edges.append((first * pixel, last * pixel))
    (x0, x1), (y0, y1) = edges
    return torch.stack((x0, y0, x1, y1), dim=1), ~positive.flatten(1).any(dim=1)


def boxes_with_clicks(boxes: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Grow boxes (P, 4) so that they hold all clicks on their object, (P, N, 2) and (P, N)."""
    beside = (labels != 1)[..., None]
    low = points.masked_fill(beside, torch.inf).amin(dim=1) - 0.5
    high = points.masked_fill(beside, -torch.inf).amax(dim=1) + 0.5
    return torch.cat((torch.minimum(boxes[:, :2], low), torch.maximum(boxes[:, 2:], high)), dim=1)


def fade_outside(logits: Tensor, boxes: Tensor, pixel: float) -> Tensor:
    """Logits (P, M, h, w) that fall with the distance from a box (P, 4), so that masks end at it.

    Distances along x and y add up and are measured in sides of the box (the square root of its
    area): a tenth of a side outside, only a logit above a tenth of `FADE_PER_SIDE` is still object.
    Inside nothing changes.

    Parameters
    ----------
    logits
        (P, M, h, w).
    boxes
        (x0, y0, x1, y1), model pixels from the top left of the logits.
    pixel
        Model pixels per pixel of the logits.
    """
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)  # (P, 1)
    beyond = []
    for low, high, count in ((y0, y1, logits.shape[-2]), (x0, x1, logits.shape[-1])):
        centres = (torch.arange(count, device=boxes.device) + 0.5) * pixel
        beyond.append((low - centres).maximum(centres - high).clamp(min=0.0))
    side = ((x1 - x0) * (y1 - y0)).clamp(min=pixel**2).sqrt()
    down, across = (FADE_PER_SIDE * distance / side for distance in beyond)
    fade = down[:, None, :, None] + across[:, None, None, :]
    return logits - fade.clamp(max=-OUTSIDE_LOGIT)


def contradicted(logits: Tensor, points: Tensor, labels: Tensor, pixel: float) -> Tensor:
    """Which clicks (P, N) a mask contradicts: those on the object that it leaves out, and those
    beside the object that it holds. Clicks outside of the logits and padding are not.

    Parameters
    ----------
    logits
        (P, h, w).
    points, labels
        (P, N, 2) (x, y) model pixels from the top left of the logits, and (P, N).
    pixel
        Model pixels per pixel of the logits.
    """
    values, inside = logits_at(logits, points, pixel)
    return ((values > 0) != (labels == 1)) & inside & (labels != -1)


def logits_at(logits: Tensor, points: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """Logits (P, N) at places, see `contradicted`, and which of these lie inside."""
    height, width = logits.shape[-2:]
    x, y = ((points + 0.5) / pixel).floor().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return logits.flatten(1).gather(1, index), inside
