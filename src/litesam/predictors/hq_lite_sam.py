"""Predictor of Lite-SAM with its HQ token: Lite-SAM's windows, one refined mask for each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam.models.lite_sam_hq import FINER
from litesam.predictors.details import RecentDetails
from litesam.predictors.lite_sam import LiteSamPredictor

if TYPE_CHECKING:
    from torch import Tensor

    from litesam.models.lite_sam_hq import LiteSAMHQ
    from litesam.models.prompt_maps import WindowPrompts
    from litesam.types import Embedding, ModelSpec


class HqLiteSamPredictor(LiteSamPredictor):
    """Lite-SAM with HQ as two calls; see `litesam.predictors.base.Predictor`.

    As with HQ-SAM every prompt gives one mask, with ``multimask`` too: then the one of highest
    predicted IoU of the three is refined, otherwise the single one. The predicted IoU is that of
    the mask before. The logits have the resolution of the network's input, twice that of mask
    prompts; as such, they are averaged.

    Parameters
    ----------
    spec, network, device, weights_hash, encoder_hash
        As in `litesam.predictors.networks.NetworkPredictor`.
    hq_only
        Every mask is the HQ token's; otherwise those of large objects are, and those whose
        predicted IoU is low (`LiteSAMHQ.choose`).
    """

    _network: LiteSAMHQ
    _finer = FINER

    def __init__(
        self,
        spec: ModelSpec,
        network: LiteSAMHQ,
        device: str,
        weights_hash: str,
        encoder_hash: str | None = None,
        *,
        hq_only: bool = False,
    ) -> None:
        super().__init__(spec, network, device, weights_hash, encoder_hash)
        self.hq_only = hq_only
        self._recent = RecentDetails()

    def _window_logits(
        self,
        embedding: Embedding,
        image: Tensor,
        origins: Tensor,
        side: int,
        prompts: WindowPrompts,
        masks: slice,
    ) -> tuple[Tensor, Tensor]:
        plain, refined, iou = self._network.decode_parts(
            image,
            self._recent.get(embedding, lambda: self._details(embedding, image)),
            self._positions,
            origins,
            side,
            prompts,
            multimask=masks.start > 0,
        )
        if not self.hq_only:
            refined = self._network.choose(plain, refined, iou)
        return refined, iou

    def _details(self, embedding: Embedding, image: Tensor) -> Tensor:
        pixels = self._tensor(embedding.features["picture"])[None].float()
        picture = (pixels - self._mean) / self._std
        height, width = embedding.frame.content_yx
        # The padding is zero exactly.
        picture[:, :, height:] = 0.0
        picture[:, :, :, width:] = 0.0
        return self._network.details(image, picture)
