"""Predictor of the SAM family: SAM's own semantics of prompts, one encoder and one decoder call.

Source: Kirillov et al. 2023, "Segment Anything", and the behaviour of its reference predictor
(Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from litesam.models.sam import Sam
from litesam.predictors.base import check_embedding, check_prompts, plain_batches
from litesam.predictors.networks import NetworkPredictor
from litesam.types import Masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from litesam.types import Embedding, IntArray, PromptBatch, Proposals

#: Prompts that go through the decoder at once; bounds the memory of large batches (about 17 MB a
#: prompt).
_CHUNK = 32


class SamPredictor(NetworkPredictor[Sam]):
    """A SAM-like network as two pure calls; see `litesam.predictors.base.Predictor`."""

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts against one embedding.

        Parameters
        ----------
        embedding
            Result of `encode` of the same model and weights.
        prompts
            P prompts, (y, x) pixels of the image; moved to the model frame here.
        multimask
            Return M = 3 candidates per prompt instead of M = 1. Use for single, ambiguous clicks.

        Returns
        -------
        Masks
            Logits (P, M, 4h, 4w) float32, mask = logits > 0; predicted IoU (P, M).

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        PromptError
            If a prompt lies outside the embedding's region or a mask prompt has the wrong size.
        """
        check_embedding(embedding, self.spec, self.encoder_hash)
        prompts = check_prompts(prompts, embedding.frame, self._low_res_yx)
        parts = []
        with torch.inference_mode():
            image = self._image(embedding)
            for indices in plain_batches(len(prompts), _CHUNK):
                chunk = prompts.take(indices)
                logits, iou = self._decode_chunk(embedding, image, chunk, multimask)
                parts.append((logits.cpu().numpy(), iou.cpu().numpy()))
        return Masks(
            logits=np.concatenate([logits for logits, _ in parts]),
            predicted_iou=np.concatenate([iou for _, iou in parts]),
            frame=embedding.frame,
            low_res_yx=self._low_res_yx,
        )

    def _decode_chunk(
        self, embedding: Embedding, image: Tensor, prompts: PromptBatch, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, M, 4h, 4w) and predicted IoU (P, M); ``image`` is that of the embedding."""
        points, labels, boxes, masks = self._prompt_tensors(prompts, embedding.frame)
        return self._network.decode(
            image, self._positions, points, labels, boxes, masks, multimask=multimask
        )

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Return what `decode` returns: this family always looks at the whole frame."""
        return self.decode(embedding, prompts, multimask=multimask)

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of at most ``batch_size`` prompts, in order."""
        return plain_batches(len(prompts), batch_size)

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals | None:
        """Return None: this family has no proposals of its own."""
        return None
