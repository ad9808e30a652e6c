"""HQ-SAM: the container of SAM with the HQ decoder, on the encoders of SAM and MobileSAM.

Source: Ke et al. 2023, "Segment Anything in High Quality". Encoder, prompt encoder and the common
part of the decoder are those of SAM, frozen in training; so models with and without HQ share
embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam.models.encoders.tiny_vit import TinyViT
from litesam.models.encoders.vit import VIT_B, VIT_H, VIT_L
from litesam.models.mask_decoder_hq import MaskDecoderHQ
from litesam.models.prompt_encoder import PromptEncoder
from litesam.models.sam import Sam, build_vit, in_channels_last
from litesam.models.transformer import TwoWayTransformer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from litesam.types import ModelSpec


class SamHQ(Sam):
    """SAM with the HQ decoder; ``details`` once for each image, then ``decode_hq``."""

    mask_decoder: MaskDecoderHQ

    def details(self, image: Tensor, early: Tensor) -> Tensor:
        """Fine features (1, C/8, 4h, 4w) of an image; see `MaskDecoderHQ.details`."""
        return self.mask_decoder.details(image, early)

    @staticmethod
    def join(plain: Tensor, refined: Tensor) -> Tensor:
        """Logits of the mask with HQ: the sum (Ke et al. 2023, Sec. 3.2)."""
        return refined + plain

    def decode_hq(
        self,
        image: Tensor,
        details: Tensor,
        image_pe: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        *,
        multimask: bool,
        hq_only: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts to one mask each.

        Parameters
        ----------
        image, image_pe, points, labels, boxes, masks
            As in `Sam.decode`.
        details
            Result of `details` of the same image.
        multimask, hq_only
            See `MaskDecoderHQ.decode_hq`.

        Returns
        -------
        tuple
            Logits (P, 1, 4h, 4w) and predicted IoU (P, 1).
        """
        return self.mask_decoder.decode_hq(
            image,
            details,
            image_pe,
            self.prompt_encoder.sparse_tokens(points, labels, boxes),
            self.prompt_encoder.dense_embedding(masks),
            multimask=multimask,
            hq_only=hq_only,
        )


def build_hq_tiny(spec: ModelSpec) -> SamHQ:
    """Build the light HQ-SAM with random weights: MobileSAM's encoder with the HQ decoder."""
    return _sam_hq(spec, TinyViT(spec.feature_shapes["image"][0]))


def build_hq_vit_b(spec: ModelSpec) -> SamHQ:
    """Build HQ-SAM with ViT-B."""
    return _sam_hq(spec, build_vit(spec, VIT_B))


def build_hq_vit_l(spec: ModelSpec) -> SamHQ:
    """Build HQ-SAM with ViT-L."""
    return _sam_hq(spec, build_vit(spec, VIT_L))


def build_hq_vit_h(spec: ModelSpec) -> SamHQ:
    """Build HQ-SAM with ViT-H."""
    return _sam_hq(spec, build_vit(spec, VIT_H))


def _sam_hq(spec: ModelSpec, image_encoder: nn.Module) -> SamHQ:
    channels, grid_side, _ = spec.feature_shapes["image"]
    transformer = TwoWayTransformer(channels=channels)
    return in_channels_last(
        SamHQ(
            image_encoder,
            PromptEncoder(channels, input_px=spec.frame_px, grid_side=grid_side),
            MaskDecoderHQ(transformer, spec.feature_shapes["early"][0]),
        )
    )
