"""The networks of the SAM family: image encoder, prompt encoder and mask decoder in one container.

Module names are those of the official checkpoints, so that these load strictly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litesam.models.encoders.tiny_vit import TinyViT
from litesam.models.mask_decoder import MaskDecoder
from litesam.models.prompt_encoder import PromptEncoder
from litesam.models.transformer import TwoWayTransformer

if TYPE_CHECKING:
    from litesam.types import ModelSpec


class Sam(nn.Module):
    """SAM's three parts; ``encode`` runs the first, ``decode`` the other two.

    Parameters
    ----------
    image_encoder
        (B, 3, S, S) -> {"image": (B, C, h, w), …}.
    prompt_encoder, mask_decoder
        SAM's; see their modules.
    """

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, S, S) normalised RGB."""
        features: dict[str, Tensor] = self.image_encoder(x)
        return features

    def decode(
        self,
        image: Tensor,
        image_pe: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts in model pixels, (x, y).

        Parameters
        ----------
        image
            Image embedding (1, C, h, w).
        image_pe
            `PromptEncoder.dense_positions`, (1, C, h, w).
        points, labels
            (P, N, 2) and (P, N), or None.
        boxes
            (P, 4), or None.
        masks
            (P, 4h, 4w) logits, or None.
        multimask
            Three masks (tokens 1–3) instead of one (token 0).

        Returns
        -------
        tuple
            Logits (P, M, 4h, 4w) and predicted IoU (P, M).
        """
        logits: Tensor
        iou: Tensor
        logits, iou = self.mask_decoder(
            image,
            image_pe,
            self.prompt_encoder.sparse_tokens(points, labels, boxes),
            self.prompt_encoder.dense_embedding(masks),
            slice(1, None) if multimask else slice(0, 1),
        )
        return logits, iou


def build_mobile_sam(spec: ModelSpec) -> Sam:
    """Build MobileSAM with random weights: TinyViT-5M, SAM's prompt encoder and mask decoder."""
    channels, grid_side, _ = spec.feature_shapes["image"]
    network = Sam(
        TinyViT(channels),
        PromptEncoder(channels, input_px=spec.input_px, grid_side=grid_side),
        MaskDecoder(TwoWayTransformer(channels=channels)),
    )
    # mypy: torch declares `Module.to(memory_format=...)` without a return type.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
