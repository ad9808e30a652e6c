"""AutoPPN, the automatic prompt proposal network of Lite-SAM.

It sees the image embedding and predicts, for each of three size groups, how central every place is
in its object (confidence) and the object's box. Source: Fu et al. 2024 (arXiv 2407.08965), Sec. 3:
stem MSPM, soft confidence from the distance transform, three size groups; the rest is decided in
``docs/decisions/0003-lite-sam-architecture.md``.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.pooling_mixer import PoolingBlock

#: Upper bounds of the size groups: longest side of the object's box / side of the input (small,
#: medium, large).
GROUP_BOUNDS = (0.05, 0.25, float("inf"))
#: Side of the input that AutoPPN's pixels refer to. For a model with another frame of prompts they
#: are larger or smaller by the ratio of the two.
FRAME_PX = 512
#: Pixels of that input that one unit of box regression stands for, per group.
BOX_UNITS = (16.0, 64.0, 256.0)
#: Cells to each side of a peak that have a say in its box.
_VOTING_REACH = 2


class AutoPPN(nn.Module):
    """Prompt proposals from an image embedding.

    Parameters
    ----------
    embed_dim
        Channels of the embedding.
    width
        Channels inside.
    upscale
        Output cells per embedding cell, each axis: small objects that touch need a finer grid than
        the embedding's.
    """

    def __init__(
        self, embed_dim: int = 256, width: int = 96, ratio: float = 3.0, upscale: int = 2
    ) -> None:
        super().__init__()
        self.upscale = upscale
        self.groups = len(GROUP_BOUNDS)
        self.reduce = nn.Conv2d(embed_dim, width, kernel_size=1)
        self.stem = PoolingBlock(width, ratio)
        self.head = nn.Conv2d(width, self.groups * 5 * upscale**2, kernel_size=1)
        bias = self.head.bias
        assert bias is not None  # for mypy: the layer has one
        with torch.no_grad():  # most places are no object's centre
            bias.view(self.groups, 5, -1)[:, 0] = -3.0

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Predict confidence and boxes.

        Parameters
        ----------
        embedding
            (B, C, h, w).

        Returns
        -------
        tuple
            Confidence logits (B, G, H, W) and box distances (B, G, 4, H, W) from each cell's centre
            to the left, top, right and bottom side, model pixels, with (H, W) = upscale * (h, w).
        """
        x = self.head(self.stem(self.reduce(embedding)))
        x = torch.unflatten(F.pixel_shuffle(x, self.upscale), 1, (self.groups, 5))
        units = x.new_tensor(BOX_UNITS).view(1, -1, 1, 1, 1)
        return x[:, :, 0], F.softplus(x[:, :, 1:]) * units


def decode_proposals(
    confidence: Tensor, distances: Tensor, stride: float, threshold: float, top_n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the maps of one image into point and box prompts: Point-NMS, then top-N.

    A cell is kept if it is the peak of its 3×3 neighbourhood in its group. Its box is the mean of
    those that the cells around it see (`voted_boxes`). Of peaks whose boxes overlap by more than
    0.6 (IoU) the best stays: the others are the same object seen by another group or from another
    place.

    Parameters
    ----------
    confidence
        Probabilities (G, H, W).
    distances
        (G, 4, H, W), see `AutoPPN.forward`.
    stride
        Model pixels per cell.
    threshold
        Smallest confidence kept.
    top_n
        Largest number of proposals.

    Returns
    -------
    tuple
        Points (N, 2) (x, y), boxes (N, 4) (x0, y0, x1, y1), both model pixels, and confidence (N,),
        best first.
    """
    peaks = F.max_pool2d(confidence[None], 3, stride=1, padding=1)[0] == confidence
    group, row, column = torch.nonzero(peaks & (confidence > threshold), as_tuple=True)
    scores = confidence[group, row, column]
    order = scores.argsort(descending=True, stable=True)[: 4 * top_n]
    group, row, column, scores = group[order], row[order], column[order], scores[order]
    # Integer coordinates are pixel centres: cell i reaches from i * stride - 0.5 to
    # (i + 1) * stride - 0.5.
    points = torch.stack((column, row), dim=1).float() * stride + (stride - 1) / 2
    boxes = voted_boxes(confidence, distances, stride, (group, row, column))
    keep = _same_object_suppression(boxes, top_n)
    return points[keep], boxes[keep], scores[keep]


def voted_boxes(
    confidence: Tensor, distances: Tensor, stride: float, cells: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Boxes that some cells see, each the mean of what the cells around it see of the same object.

    Cells of one object see its box from different places and err differently. Those within
    `_VOTING_REACH` cells have a say if their box overlaps the cell's own by more than half (IoU),
    weighted with their squared confidence ("box voting", Gidaris and Komodakis 2015,
    arXiv 1505.01749).

    Parameters
    ----------
    confidence
        Probabilities (G, H, W).
    distances
        (G, 4, H, W), see `AutoPPN.forward`.
    stride
        Model pixels per cell.
    cells
        Group, row and column (N,) of each.

    Returns
    -------
    Tensor
        (N, 4) boxes (x0, y0, x1, y1), model pixels.
    """
    group, row, column = cells
    height, width = confidence.shape[-2:]
    around = torch.arange(-_VOTING_REACH, _VOTING_REACH + 1, device=confidence.device)
    rows = row[:, None, None] + around[:, None]
    columns = column[:, None, None] + around
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    groups = group[:, None, None]
    places = torch.stack((columns.expand_as(inside), rows.expand_as(inside)), dim=-1)
    places = places * stride + (stride - 1) / 2
    sides = distances[groups, :, rows, columns]  # (N, K, K, 4)
    boxes = torch.cat((places - sides[..., :2], places + sides[..., 2:]), dim=-1)
    own = boxes[:, _VOTING_REACH, _VOTING_REACH][:, None, None]
    same = (_box_iou(boxes, own) > 0.5) & inside
    weights = (same * confidence[groups, rows, columns] ** 2)[..., None]
    total = weights.sum(dim=(1, 2))
    return torch.where(total > 0, (boxes * weights).sum(dim=(1, 2)) / total, own[:, 0, 0])


def _box_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes (..., 4) (x0, y0, x1, y1)."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0.0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-6)


def boxes_at(
    confidence: Tensor, distances: Tensor, points: Tensor, images: Tensor, stride: float
) -> Tensor:
    """Box of the object under each point, as the most confident size group sees it.

    Parameters
    ----------
    confidence
        (B, G, H, W) logits or probabilities.
    distances
        (B, G, 4, H, W), see `AutoPPN.forward`.
    points
        (P, 2) (x, y) model pixels.
    images
        (P,) int, which image of the batch each point belongs to.
    stride
        Model pixels per cell.

    Returns
    -------
    Tensor
        (P, 4) (x0, y0, x1, y1) model pixels; each holds its point.
    """
    height, width = confidence.shape[-2:]
    column = ((points[:, 0] + 0.5) / stride).long().clamp(0, width - 1)
    row = ((points[:, 1] + 0.5) / stride).long().clamp(0, height - 1)
    group = confidence[images, :, row, column].argmax(dim=1)
    sides = distances[images, group, :, row, column]  # (P, 4)
    centres = torch.stack((column, row), dim=1).to(points) * stride + (stride - 1) / 2
    low = torch.minimum(centres - sides[:, :2], points - 0.5)
    high = torch.maximum(centres + sides[:, 2:], points + 0.5)
    return torch.cat((low, high), dim=1)


def _same_object_suppression(boxes: Tensor, top_n: int, box_iou: float = 0.6) -> Tensor:
    """Greedy suppression, best first: boxes that overlap more than ``box_iou`` are one object.

    Returns the indices of the first ``top_n`` boxes that stay.
    """
    low, high = boxes[:, :2].numpy(force=True), boxes[:, 2:].numpy(force=True)
    area = (high - low).prod(axis=1)
    alive = np.ones(len(area), dtype=np.bool_)
    keep: list[int] = []
    for i in range(len(area)):
        if not alive[i]:
            continue
        keep.append(i)
        if len(keep) == top_n:
            break
        later = slice(i + 1, None)
        sides = np.minimum(high[later], high[i]) - np.maximum(low[later], low[i])
        overlap = sides.clip(min=0).prod(axis=1)
        union = (area[later] + area[i] - overlap).clip(min=1e-6)
        alive[later] &= overlap / union <= box_iou
    return torch.tensor(keep, dtype=torch.int64, device=boxes.device)
