"""The networks of the SAM family: image encoder, prompt encoder and mask decoder in one container.

Module names are those of the official checkpoints, so that these load strictly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from litesam.models.encoders.tiny_vit import TinyViT
from litesam.models.encoders.vit import VIT_B, VIT_H, VIT_L, ViT, ViTSize
from litesam.models.mask_decoder import MaskDecoder, TokenMaskDecoder
from litesam.models.prompt_encoder import PointEncoder, PromptEncoder
from litesam.models.transformer import TwoWayTransformer

if TYPE_CHECKING:
    from litesam.types import ModelSpec


NetworkT = TypeVar("NetworkT", bound=nn.Module)


class Sam(nn.Module):
    """SAM's three parts; ``encode`` runs the first, ``decode`` the other two.

    Parameters
    ----------
    image_encoder
        (B, 3, S, S) -> {"image": (B, C, h, w), …}.
    prompt_encoder, mask_decoder
        SAM's or another of their kind; see their modules.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PointEncoder,
        mask_decoder: TokenMaskDecoder,
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


def assemble(spec: ModelSpec, image_encoder: nn.Module) -> Sam:
    """Put an encoder together with SAM's prompt encoder and mask decoder."""
    channels, grid_side, _ = spec.feature_shapes["image"]
    return in_channels_last(
        Sam(
            image_encoder,
            PromptEncoder(channels, input_px=spec.frame_px, grid_side=grid_side),
            MaskDecoder(TwoWayTransformer(channels=channels)),
        )
    )


def in_channels_last(network: NetworkT) -> NetworkT:
    """Lay out the weights of convolutions as channels-last, in which they run on CPUs best."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            # mypy: torch declares `Module.to(memory_format=...)` without a return type.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def build_mobile_sam(spec: ModelSpec) -> Sam:
    """Build MobileSAM with random weights: TinyViT-5M, SAM's prompt encoder and mask decoder."""
    return assemble(spec, TinyViT(spec.feature_shapes["image"][0]))


def build_sam_vit_b(spec: ModelSpec) -> Sam:
    """Build SAM with ViT-B."""
    return assemble(spec, build_vit(spec, VIT_B))


def build_sam_vit_l(spec: ModelSpec) -> Sam:
    """Build SAM with ViT-L."""
    return assemble(spec, build_vit(spec, VIT_L))


def build_sam_vit_h(spec: ModelSpec) -> Sam:
    """Build SAM with ViT-H."""
    return assemble(spec, build_vit(spec, VIT_H))


def build_vit(spec: ModelSpec, size: ViTSize) -> ViT:
    """Build SAM's vision transformer for the spec's grid."""
    channels, grid_side, _ = spec.feature_shapes["image"]
    return ViT(size, grid_side, channels)
