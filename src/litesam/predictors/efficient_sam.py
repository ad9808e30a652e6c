"""Predictor of EfficientSAM: a squashed picture, at most six points, bicubic masks.

Source: Xiong et al. 2023, "EfficientSAM", and the behaviour of its reference implementation
(Apache-2.0).

The reference implementation counts a logit of exactly 0 to the mask and sorts the candidates by
predicted IoU. Here, as for all models, a mask is where logits are above 0 and the candidates keep
the order of the network; `Masks.best` takes the first one of the sorted order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from litesam.predictors.base import check_prompt_kinds
from litesam.predictors.sam import SamPredictor

if TYPE_CHECKING:
    from torch import Tensor

    from litesam.frames import Frame
    from litesam.predictors.base import RgbArray
    from litesam.types import Embedding, Masks, PromptBatch


class EfficientSamPredictor(SamPredictor):
    """EfficientSAM as two pure calls; see `litesam.predictors.base.Predictor`."""

    def preprocess(self, rgb: RgbArray, frame: Frame) -> Tensor:
        """Squash and normalise (H, W, 3) uint8 to the network's input (1, 3, S, S).

        Bilinear on floating-point pixels without antialiasing, unlike SAM: pictures larger than the
        input lose pixels between the samples.
        """
        pixels = torch.from_numpy(np.array(rgb))  # a copy: torch wants it writable
        x = pixels.to(self.device).permute(2, 0, 1)[None].float().contiguous()
        if frame.size_yx != frame.content_yx:
            x = F.interpolate(x, frame.content_yx, mode="bilinear", align_corners=False)
        return (x - self._mean) / self._std

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts against one embedding.

        Takes and returns what `SamPredictor.decode` does. A background point has no learned
        embedding in this network; its place alone is what the decoder knows of it.

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        PromptError
            If a prompt lies outside the embedding's region, has more than six points (a box counts
            as two; the reference implementation drops the rest without a word), or is a mask.
        """
        check_prompt_kinds(prompts, self.spec)
        return super().decode(
            embedding, self._without_surplus_padding(prompts), multimask=multimask
        )

    def _without_surplus_padding(self, prompts: PromptBatch) -> PromptBatch:
        """Points before padding, so that no point is beyond the last token of its prompt."""
        if prompts.points is None or prompts.labels is None or self.spec.max_points is None:
            return prompts
        most = self.spec.max_points - (0 if prompts.boxes is None else 2)
        if prompts.points.shape[1] <= most:
            return prompts
        order = np.argsort(prompts.labels == -1, axis=1, kind="stable")[:, :most]
        return replace(
            prompts,
            points=np.take_along_axis(prompts.points, order[..., None], axis=1),
            labels=np.take_along_axis(prompts.labels, order, axis=1),
        )
