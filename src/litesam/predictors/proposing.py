"""AutoPPN's maps of one embedding → places and boxes in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.models.auto_ppn import FRAME_PX, decode_proposals
from litesam.types import Proposals

if TYPE_CHECKING:
    from torch import Tensor

    from litesam.frames import Frame


def propose_prompts(
    maps: tuple[Tensor, Tensor],
    frame: Frame,
    *,
    top_n: int,
    confidence_threshold: float,
) -> Proposals:
    """Read from AutoPPN's maps where objects are.

    Parameters
    ----------
    maps
        Confidence logits (1, G, H, W) and box distances (1, G, 4, H, W), see `AutoPPN.forward`.
    frame
        Frame of the embedding that they were made of.
    top_n
        Largest number of proposals.
    confidence_threshold
        Smallest confidence.

    Returns
    -------
    Proposals
        In image pixels, inside the frame's region, the most confident first.
    """
    confidence, distances = maps
    probability = confidence[0].sigmoid()
    stride = frame.input_yx[0] / probability.shape[-1]
    # Nothing is proposed in the padding.
    rows, columns = (int(-(-side // stride)) for side in frame.content_yx)
    points, boxes, scores = decode_proposals(
        probability[:, :rows, :columns],
        distances[0, :, :, :rows, :columns] * (frame.input_yx[0] / FRAME_PX),
        stride,
        confidence_threshold,
        top_n,
    )
    low = np.asarray(frame.origin_yx, dtype=np.float32)
    size = np.asarray(frame.size_yx, dtype=np.float32)
    places = np.clip(frame.points_to_image(points.cpu().numpy()), low, low + size - 1)
    extents = frame.boxes_to_image(boxes.cpu().numpy()).reshape(-1, 2, 2)
    extents = np.clip(extents, low, low + size)
    # A box at the rim of the image keeps at least one pixel.
    extents[:, 0] = np.minimum(extents[:, 0], low + size - 1)
    extents[:, 1] = np.maximum(extents[:, 1], extents[:, 0] + 1)
    return Proposals(places, extents.reshape(-1, 4), scores.cpu().numpy())
