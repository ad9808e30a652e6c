"""Losses of Lite-SAM.

Masks: focal 20 : dice 1, and the squared error of the predicted IoU (Kirillov et al. 2023, Appendix
A; Lin et al. 2017; Milletari et al. 2016). Proposals: hard-mined squared error of the confidence
and smooth L1 of the boxes, for each size group by itself (Fu et al. 2024, arXiv 2407.08965, Sec.
3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from litesam.models.auto_ppn import BOX_UNITS

FOCAL_WEIGHT = 20.0


def mask_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.5) -> Tensor:
    """Return ``20 * focal + dice`` of each mask.

    Parameters
    ----------
    logits
        (P, M, h, w).
    target
        (P, 1, h, w) share of the pixel that belongs to the object, in [0, 1].
    gamma, alpha
        Of the focal part: how little certain pixels count, and the share of the object's pixels
        against the background's. With the 0.25 that is usual for detectors a pixel at the outline
        that is as likely in as out gets a negative logit, and masks are too small until the network
        is sure of every outline, which takes far more steps than we have.

    Returns
    -------
    Tensor
        (P, M).
    """
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    balance = alpha * target + (1 - alpha) * (1 - target)
    focal = (balance * (probability - target).abs() ** gamma * error).mean(dim=(-2, -1))
    overlap = (probability * target).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return FOCAL_WEIGHT * focal + dice


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU (P, M) of thresholded masks with a (P, 1, h, w) target."""
    mask = logits > 0
    truth = target.expand_as(logits) >= 0.5
    overlap = (mask & truth).sum(dim=(-2, -1))
    return overlap / (mask | truth).sum(dim=(-2, -1)).clamp(min=1)


def confidence_loss(
    logits: Tensor, target: Tensor, valid: Tensor, negatives_per_positive: float = 3.0
) -> Tensor:
    """Hard-mined squared error of AutoPPN's confidence, mean over the size groups.

    All cells of a group's objects count; of the background only the ``negatives_per_positive``
    times as many with the largest error (at least 64 per group). Cells of other groups' objects
    count like background but are not mined: they would be all that is mined, and hold the
    confidence down before the network can tell sizes apart.

    Parameters
    ----------
    logits, target, valid
        (B, G, h, w).
    """
    error = (logits.sigmoid() - target) ** 2
    objects = target.amax(dim=1) > 0  # (B, h, w)
    losses = []
    for group in range(logits.shape[1]):
        own = (target[:, group] > 0) & valid[:, group]
        other = objects & ~own & valid[:, group]
        background = error[:, group][~objects & valid[:, group]]
        count = int(own.sum())
        hard = background.topk(
            min(len(background), max(64, int(negatives_per_positive * count)))
        ).values
        parts = []
        picked = torch.cat((error[:, group][own], hard))
        if len(picked):
            parts.append(picked.mean())
        if other.any():
            parts.append(0.25 * error[:, group][other].mean())
        if parts:
            losses.append(torch.stack(parts).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def presence_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy between centrality and the confidence of all groups together.

    The groups' own losses say little until sizes can be told apart; this one teaches from the first
    step where objects are.

    Parameters
    ----------
    logits, target, valid
        (B, G, h, w).
    """
    together = logits.sigmoid().sum(dim=1).clamp(1e-4, 1 - 1e-4)
    wanted = target.amax(dim=1)
    error = F.binary_cross_entropy(together, wanted, reduction="none")
    cells = valid.any(dim=1)
    return error[cells].mean() if cells.any() else logits.sum() * 0.0


def box_loss(distances: Tensor, sides: Tensor, groups: Tensor, central: Tensor) -> Tensor:
    """Smooth L1 of the boxes at central cells, in units of each group, plus one minus the IoU of
    the two boxes; mean over the groups present.

    The smooth L1 alone lets large boxes be too small: an error of 5 % of the side costs little
    there, and the decoder cuts masks at their box.

    Parameters
    ----------
    distances
        (B, G, 4, h, w) prediction, model pixels.
    sides
        (B, 4, h, w) truth.
    groups
        (B, h, w) int group of each cell, -1 background.
    central
        (B, h, w) bool, cells that count.
    """
    losses = []
    for group, unit in enumerate(BOX_UNITS):
        cells = central & (groups == group)
        if cells.any():
            predicted = distances[:, group].permute(0, 2, 3, 1)[cells]
            truth = sides.permute(0, 2, 3, 1)[cells]
            smooth = F.smooth_l1_loss(predicted / unit, truth / unit, beta=0.1)
            losses.append(smooth + 0.5 * (1.0 - _same_centre_iou(predicted, truth)).mean())
    return torch.stack(losses).mean() if losses else distances.sum() * 0.0


def _same_centre_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """IoU (N,) of boxes given as distances (N, 4) left, top, right, bottom from a common place."""
    low = torch.minimum(predicted[:, :2], truth[:, :2])
    high = torch.minimum(predicted[:, 2:], truth[:, 2:])
    overlap = (low + high).clamp(min=0.0).prod(dim=1)
    areas = [(sides[:, :2] + sides[:, 2:]).prod(dim=1) for sides in (predicted, truth)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-6)
