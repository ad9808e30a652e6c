"""EfficientSAM: plain vision transformer, prompts of exactly six tokens, decoder with GELU.

Source: Xiong et al. 2023, "EfficientSAM: Leveraged Masked Image Pretraining for Efficient Segment
Anything". Module names are those of the official checkpoints (yformer/EfficientSAM, Apache-2.0), so
that these load strictly; code is our own.

What differs from SAM: a box is two points; a prompt has six tokens, shorter ones are padded, longer
ones are cut; a background point is its position alone; there is no mask prompt, and nothing is
added to the image for its absence; every activation is GELU; the tokens attend to each other with a
residual in the first layer as well; the up-scaling has a group normalisation of one group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.encoders.plain_vit import VIT_SMALL, VIT_TINY, PlainViT, PlainViTSize
from litesam.models.mask_decoder import TokenMaskDecoder
from litesam.models.prompt_encoder import PointEncoder
from litesam.models.sam import Sam
from litesam.models.transformer import TwoWayAttentionBlock, TwoWayTransformer

if TYPE_CHECKING:
    from litesam.types import ModelSpec

#: Tokens of every prompt.
TOKENS = 6
#: Labels of points: those of SAM, and the corners of a box.
_PADDING, _FOREGROUND, _TOP_LEFT, _BOTTOM_RIGHT = -1, 1, 2, 3
#: Coordinate of a padding point.
_NOWHERE = -1.0


class GeluMLP(nn.Module):
    """Linear layers with GELU between them; names as upstream (``layers.N.0`` and ``fc``)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        widths = [inputs] + [hidden] * (depth - 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, hidden), nn.GELU()) for a in widths[:-1]
        )
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.fc(x)
        return result


class SixTokenPromptEncoder(PointEncoder):
    """Points and boxes of P objects → (P, 6, C) tokens. Parameters as in `PointEncoder`."""

    def __init__(self, embed_dim: int = 256, input_px: int = 1024, grid_side: int = 64) -> None:
        super().__init__(embed_dim, input_px, grid_side)
        self.invalid_points = nn.Embedding(1, embed_dim)
        self.point_embeddings = nn.Embedding(1, embed_dim)
        self.bbox_top_left_embeddings = nn.Embedding(1, embed_dim)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, embed_dim)

    def sparse_tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> Tensor:
        """Encode points and boxes.

        Parameters
        ----------
        points
            (P, N, 2) (x, y) model pixels, integer = pixel centre; or None.
        labels
            (P, N) 1 foreground, 0 background, -1 padding.
        boxes
            (P, 4) (x0, y0, x1, y1) model pixels, or None.

        Returns
        -------
        Tensor
            (P, 6, C): the corners of the box, the points, then padding. As in the official code,
            points beyond the sixth token are left out.

        Raises
        ------
        ValueError
            If there are neither points nor boxes.
        """
        places, kinds = [], []
        if boxes is not None:
            places.append(boxes.reshape(-1, 2, 2))
            kinds.append(boxes.new_tensor((_TOP_LEFT, _BOTTOM_RIGHT)).expand(len(boxes), 2))
        if points is not None and labels is not None:
            places.append(points)
            kinds.append(labels.to(points.dtype))
        if not places:
            raise ValueError("Got neither points nor boxes; a prompt needs one of them.")
        place = _to_six(torch.cat(places, dim=1).transpose(1, 2), _NOWHERE).transpose(1, 2)
        kind = _to_six(torch.cat(kinds, dim=1), _PADDING)[..., None]  # (P, 6, 1)
        tokens = self.point_positions(torch.where(kind == _PADDING, _NOWHERE, place))
        for label, embedding in (
            (_PADDING, self.invalid_points),
            (_FOREGROUND, self.point_embeddings),
            (_TOP_LEFT, self.bbox_top_left_embeddings),
            (_BOTTOM_RIGHT, self.bbox_bottom_right_embeddings),
        ):
            tokens = torch.where(kind == label, tokens + embedding.weight, tokens)
        return tokens

    def dense_embedding(self, masks: Tensor | None) -> Tensor:
        """Return zero, (1, 1, 1, 1): nothing is said about single pixels.

        Raises
        ------
        ValueError
            If there are mask prompts.
        """
        if masks is not None:
            raise ValueError("Got mask prompts; EfficientSAM has no input for them.")
        return self.invalid_points.weight.new_zeros((1, 1, 1, 1))


def _to_six(values: Tensor, padding: float) -> Tensor:
    """Cut or pad the last axis."""
    return F.pad(values[..., :TOKENS], (0, max(0, TOKENS - values.shape[-1])), value=padding)


class GeluMaskDecoder(TokenMaskDecoder):
    """EfficientSAM's decoder: that of SAM with other MLPs and another up-scaling."""

    def __init__(self, transformer: TwoWayTransformer) -> None:
        super().__init__(transformer, mlp=GeluMLP)
        channels = transformer.channels
        self.final_output_upscaling_layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
                    nn.GroupNorm(1, channels // 4),
                    nn.GELU(),
                ),
                nn.Sequential(
                    nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
                    nn.GELU(),
                ),
            ]
        )

    def upscale(self, image: Tensor) -> Tensor:
        """Enlarge the updated image: (P, C, h, w) -> (P, C/8, 4h, 4w)."""
        for layer in self.final_output_upscaling_layers:
            image = layer(image)
        return image


class ResidualBlock(TwoWayAttentionBlock):
    """Two-way block whose tokens attend to each other with a residual in every layer.

    After the first layer the positions become part of the tokens; in SAM they are added to queries
    and keys only, and the first layer has no residual.
    """

    def attend_tokens(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Let the tokens (P, T, C) attend to each other."""
        if not self.skip_first_layer_pe:
            tokens = tokens + token_pe
        attended: Tensor = self.self_attn(tokens, tokens, tokens)
        return tokens + attended


def _block_mlp(channels: int, hidden: int) -> nn.Module:
    return GeluMLP(channels, hidden, channels, depth=2)


def _build(spec: ModelSpec, size: PlainViTSize) -> Sam:
    channels, grid_side, _ = spec.feature_shapes["image"]
    return Sam(
        PlainViT(size, grid_side, channels),
        SixTokenPromptEncoder(channels, spec.input_px, grid_side),
        GeluMaskDecoder(TwoWayTransformer(channels=channels, mlp=_block_mlp, block=ResidualBlock)),
    )


def build_vitt(spec: ModelSpec) -> Sam:
    """Build EfficientSAM-Ti with random weights."""
    return _build(spec, VIT_TINY)


def build_vits(spec: ModelSpec) -> Sam:
    """Build EfficientSAM-S with random weights."""
    return _build(spec, VIT_SMALL)
