"""Predictor of EdgeSAM: SAM's semantics, but candidates are judged by their stability.

Source: Zhou et al. 2023, "EdgeSAM" (arXiv 2312.06660). The network's own estimate of the IoU is not
good enough to choose by: the reference predictor replaces it by the stability score of the
low-resolution logits in batched calls, hence in its automatic mask generator, and can do so in
single ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from litesam.merge import stability_score
from litesam.predictors.sam import SamPredictor

if TYPE_CHECKING:
    from litesam.types import Embedding, Masks, PromptBatch

#: Shift of the threshold 0 to both sides, logits.
STABILITY_OFFSET = 1.0


class EdgeSamPredictor(SamPredictor):
    """EdgeSAM as two pure calls; ``predicted_iou`` of its masks is their stability score.

    So everything that ranks or filters by ``predicted_iou`` (the best of three candidates, the
    threshold of everything mode) goes by stability here, in single and batched calls alike.
    """

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts against one embedding.

        Takes and raises what `SamPredictor.decode` does.

        Returns
        -------
        Masks
            Logits (P, M, 4h, 4w) float32, mask = logits > 0. ``predicted_iou`` (P, M) is the
            stability score: the IoU of ``logits > 1`` with ``logits > -1``, of the whole
            low-resolution frame; 0 where no logit exceeds -1.
        """
        masks = self.decode_with_iou_head(embedding, prompts, multimask=multimask)
        return replace(masks, predicted_iou=stability_score(masks.logits, STABILITY_OFFSET))

    def decode_with_iou_head(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Return the masks of `decode` with the network's own, unreliable ``predicted_iou``."""
        return super().decode(embedding, prompts, multimask=multimask)
