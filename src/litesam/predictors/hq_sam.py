"""Predictor of HQ-SAM: SAM's prompts, one refined mask for each.

Source: Ke et al. 2023, "Segment Anything in High Quality", and the behaviour of its reference
predictor (Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from litesam.predictors.details import RecentDetails
from litesam.predictors.sam import SamPredictor

if TYPE_CHECKING:
    from torch import Tensor

    from litesam.models.sam_hq import SamHQ
    from litesam.types import Embedding, ModelSpec, PromptBatch


class HqSamPredictor(SamPredictor):
    """HQ-SAM as two calls; see `litesam.predictors.base.Predictor`.

    Every prompt gives one mask, with ``multimask`` too: then the one of highest predicted IoU of
    SAM's three is refined, otherwise SAM's single one. The predicted IoU is that of SAM's mask.

    What the HQ decoder takes from the image alone is computed at the first decode of an embedding
    and kept for the next ones of the same object.

    Parameters
    ----------
    spec, network, device, weights_hash, encoder_hash
        As in `litesam.predictors.networks.NetworkPredictor`.
    hq_only
        Give the masks of the HQ token alone instead of its logits added to SAM's.
    """

    _network: SamHQ

    def __init__(
        self,
        spec: ModelSpec,
        network: SamHQ,
        device: str,
        weights_hash: str,
        encoder_hash: str | None = None,
        *,
        hq_only: bool = False,
    ) -> None:
        super().__init__(spec, network, device, weights_hash, encoder_hash)
        self.hq_only = hq_only
        self._recent = RecentDetails()

    def _decode_chunk(
        self, embedding: Embedding, image: Tensor, prompts: PromptBatch, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        points, labels, boxes, masks = self._prompt_tensors(prompts, embedding.frame)
        return self._network.decode_hq(
            image,
            self._recent.get(embedding, lambda: self._details(embedding, image)),
            self._positions,
            points,
            labels,
            boxes,
            masks,
            multimask=multimask,
            hq_only=self.hq_only,
        )

    def _details(self, embedding: Embedding, image: Tensor) -> Tensor:
        early = self._tensor(embedding.features["early"])[None].float()
        early = early.contiguous(memory_format=torch.channels_last)
        return self._network.details(image, early)
